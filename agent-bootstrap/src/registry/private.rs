//! Files and folders that only their owner may read.
//!
//! The credential helper may run as root (under `sudo`) in folders of the agents' user. What it makes there belongs
//! to the owner of the folder it is in, so that the next job can still read it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Makes `path` (and what is missing above it) with mode 0700, and takes others' rights from an existing one, whose
/// owner stays: boot gave it to the agents' user.
pub fn folder(path: &Path) -> io::Result<()> {
    let is_new = fs::symlink_metadata(path).is_err();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "is no folder"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    if let Some(parent) = path.parent().filter(|_| is_new) {
        belong(&File::open(path)?, parent)?;
    }
    Ok(())
}

/// Replaces `path` in one step; readers see the old or the new content, never a part.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("has no folder"))?;
    // Made with mode 0600, under a name nobody can guess, never through a link.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    belong(file.as_file(), folder)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Waits until nobody else holds `path`'s lock; dropping the file gives it back.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if let Some(folder) = path.parent() {
        belong(&file, folder)?;
    }
    file.lock()?;
    Ok(file)
}

/// Gives `file` to the owner of `folder`; only root has to, and only root can.
fn belong(file: &File, folder: &Path) -> io::Result<()> {
    let (is, owner) = (file.metadata()?, fs::metadata(folder)?);
    if is.uid() == owner.uid() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        folder(&made).unwrap();
        write(&made.join("f"), b"1").unwrap();
        write(&made.join("f"), b"2").unwrap();
        assert_eq!((mode(&made), mode(&made.join("f"))), (0o700, 0o600));
        assert_eq!(fs::read(made.join("f")).unwrap(), b"2");
        fs::set_permissions(&made, Permissions::from_mode(0o755)).unwrap();
        folder(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }

    #[test]
    fn a_folder_that_boot_gave_to_the_agents_stays_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("ecr");
        folder(&given).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&given, Some(4321), Some(4322)).unwrap();
        }
        let before = fs::metadata(&given).unwrap().uid();
        folder(&given).unwrap();
        assert_eq!(fs::metadata(&given).unwrap().uid(), before);
        write(&given.join("token"), b"1").unwrap();
        assert_eq!(fs::metadata(given.join("token")).unwrap().uid(), before);
    }

    #[test]
    fn a_link_in_the_folders_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        assert!(folder(&dir.path().join("link")).is_err());
    }
}
