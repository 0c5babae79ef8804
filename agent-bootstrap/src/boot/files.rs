//! Files and folders of an instance, each with its mode and owner, written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};

use crate::failure::Failure;

/// The user that agents run as on an AMI.
pub const AGENT_USER: &str = "buildkite-agent";

/// Whom the agents' files belong to: the agents' user where this process may give files away, else itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(Option<(Uid, Gid)>);

impl Owner {
    /// The agents' user, if there is one and this process is root.
    #[must_use]
    pub fn of_agents() -> Self {
        let user = Uid::effective().is_root().then(|| User::from_name(AGENT_USER).ok().flatten()).flatten();
        Self(user.map(|u| (u.uid, u.gid)))
    }

    /// A user of the machine, if this process is root.
    #[must_use]
    pub fn of(uid: Uid, gid: Gid) -> Self {
        Self(Uid::effective().is_root().then_some((uid, gid)))
    }

    /// This process's own user.
    #[must_use]
    pub fn own() -> Self {
        Self(None)
    }
}

/// Makes a folder and those above it; the last one gets the mode and the owner.
///
/// # Errors
/// Names the folder.
pub fn folder(path: &Path, mode: u32, owner: Owner) -> Result<(), Failure> {
    open_folder(path, mode, owner).map(drop)
}

/// The same, and opens it. A link is no folder: whoever may write above it could lead us, who may be root, elsewhere.
///
/// # Errors
/// Names the folder.
pub fn open_folder(path: &Path, mode: u32, owner: Owner) -> Result<File, Failure> {
    let make = || -> std::io::Result<File> {
        std::fs::create_dir_all(path)?;
        let no_link = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let folder = OpenOptions::new().read(true).custom_flags(no_link).open(path)?;
        folder.set_permissions(std::fs::Permissions::from_mode(mode))?;
        give(&folder, owner, true)?;
        Ok(folder)
    };
    make().map_err(|e| Failure::failed(format!("folder {}: {e}", path.display())))
}

/// Writes a file through a neighbour that is renamed, so that a reader sees the old or the new one. One that only root
/// may change belongs to root, and the owner's group reads it.
///
/// # Errors
/// Names the file.
pub fn file(path: &Path, content: &[u8], mode: u32, owner: Owner) -> Result<(), Failure> {
    write(path, content, mode, owner, mode & 0o200 == 0)
}

/// Writes a file that belongs to the owner, whoever else may change it.
///
/// # Errors
/// Names the file.
pub fn own_file(path: &Path, content: &[u8], mode: u32, owner: Owner) -> Result<(), Failure> {
    write(path, content, mode, owner, true)
}

fn write(path: &Path, content: &[u8], mode: u32, owner: Owner, wholly: bool) -> Result<(), Failure> {
    // Always the same neighbour: what a killed boot left there is written over, not left beside it.
    let neighbour = path.with_file_name(format!(".new-{}", path.file_name().unwrap_or_default().display()));
    let write = || -> std::io::Result<()> {
        absent(&neighbour)?;
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&neighbour)?;
        new.write_all(content)?;
        give(&new, owner, wholly)?;
        new.set_permissions(std::fs::Permissions::from_mode(mode))?;
        new.sync_all()?;
        std::fs::rename(&neighbour, path)
    };
    write().map_err(|e| Failure::failed(format!("file {}: {e}", path.display())))
}

/// Removes a file that may not be there.
fn absent(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path)
        .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Folders belong to the owner; files that only root may change are merely readable for the owner's group.
fn give(open: &File, owner: Owner, wholly: bool) -> std::io::Result<()> {
    let Some((uid, gid)) = owner.0 else { return Ok(()) };
    std::os::unix::fs::fchown(open, wholly.then_some(uid.as_raw()), Some(gid.as_raw()))
}

/// Makes or renews a link to `target`.
///
/// # Errors
/// Names the link.
pub fn link(path: &Path, target: &Path) -> Result<(), Failure> {
    if std::fs::read_link(path).is_ok_and(|to| to == target) {
        return Ok(());
    }
    let neighbour = path.with_extension("new");
    absent(&neighbour)
        .and_then(|()| std::os::unix::fs::symlink(target, &neighbour))
        .and_then(|()| std::fs::rename(&neighbour, path))
        .map_err(|e| Failure::failed(format!("link {}: {e}", path.display())))
}

/// The full path of a program: as given if it has a slash, else beside this program, else on `PATH`.
#[must_use]
pub fn program(name: &str, search: &[PathBuf]) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| is_executable(p));
    }
    search.iter().map(|folder| folder.join(name)).find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Whom a path belongs to, and its mode.
    fn of(path: &Path) -> (u32, u32, u32) {
        let found = path.metadata().unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    }

    #[test]
    fn folders_are_given_away_and_files_only_to_the_group() {
        let root = tempfile::tempdir().unwrap();
        let (jobs, config) = (root.path().join("run/jobs"), root.path().join("agent.cfg"));
        let (own, group) = (Uid::effective().as_raw(), Gid::effective().as_raw());
        folder(&jobs, 0o700, Owner::own()).unwrap();
        file(&config, b"token", 0o640, Owner::own()).unwrap();
        assert_eq!((of(&jobs), of(&config)), ((own, group, 0o700), (own, group, 0o640)));
        if !Uid::effective().is_root() {
            return; // Only root gives anything away.
        }
        let agents = Owner(Some((Uid::from_raw(4321), Gid::from_raw(4322))));
        folder(&jobs, 0o700, agents).unwrap();
        file(&config, b"token", 0o640, agents).unwrap();
        file(&root.path().join("read-only"), b"x", 0o440, agents).unwrap();
        assert_eq!((of(&jobs), of(&config)), ((4321, 4322, 0o700), (0, 4322, 0o640)));
        own_file(&root.path().join("own"), b"x", 0o600, Owner::of(Uid::from_raw(4321), Gid::from_raw(4322)))
            .unwrap();
        assert_eq!(of(&root.path().join("read-only")), (4321, 4322, 0o440));
        assert_eq!(of(&root.path().join("own")), (4321, 4322, 0o600));
        assert_eq!(of(jobs.parent().unwrap()).0, own, "only the last folder is given away");
    }

    #[test]
    fn nothing_is_given_away_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (target, builds) = (root.path().join("etc"), root.path().join("home/builds"));
        folder(&target, 0o700, Owner::own()).unwrap();
        folder(builds.parent().unwrap(), 0o755, Owner::own()).unwrap();
        std::os::unix::fs::symlink(&target, &builds).unwrap();
        let before = of(&target);
        let fault = folder(&builds, 0o755, Owner::of(Uid::from_raw(4321), Gid::from_raw(4322))).unwrap_err();
        assert!(fault.message.contains("home/builds"), "{fault}");
        assert_eq!(of(&target), before);
    }

    #[test]
    fn a_link_is_renewed_and_a_program_is_found_in_order() {
        let root = tempfile::tempdir().unwrap();
        let helper = root.path().join("helper");
        for target in ["old", "new", "new"] {
            link(&helper, Path::new(target)).unwrap();
            assert_eq!(std::fs::read_link(&helper).unwrap(), Path::new(target));
        }
        let folders = [root.path().join("a"), root.path().join("b")];
        for each in &folders {
            folder(each, 0o755, Owner::own()).unwrap();
        }
        file(&folders[0].join("agent"), b"", 0o644, Owner::own()).unwrap();
        assert_eq!(program("agent", &folders), None, "a file that nobody may execute is no program");
        file(&folders[1].join("agent"), b"", 0o755, Owner::own()).unwrap();
        assert_eq!(program("agent", &folders), Some(folders[1].join("agent")));
        assert_eq!(program("./agent", &folders), None, "a path is not looked up");
    }
}
