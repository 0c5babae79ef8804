//! The job's own folder (mode 0700) and what it records, so that pre-exit undoes exactly what was done.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::layout::Layout;

/// A job's folder. Removed in pre-exit.
#[derive(Debug, Clone)]
pub struct JobFolder(PathBuf);

impl JobFolder {
    /// The folder of a job, whether it exists or not.
    #[must_use]
    pub fn of(layout: &Layout, job_id: &str) -> Self {
        Self(layout.job(job_id))
    }

    /// A folder that is private already.
    #[must_use]
    pub fn in_private_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, readable for this user alone.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to somebody else.
    pub fn create(&self) -> Result<(), Failure> {
        let jobs = self.0.parent().unwrap_or(&self.0);
        let fault = |error: std::io::Error| {
            Failure::failed(format!(
                "job folder: {}: {error}; {} must belong to the agent's user",
                self.0.display(),
                jobs.display()
            ))
        };
        std::fs::create_dir_all(jobs).map_err(fault)?;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(fault)?,
        }
        // Somebody else's folder, or a link to one, must not receive secrets.
        let found = std::fs::symlink_metadata(&self.0).map_err(fault)?;
        let is_ours =
            found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0;
        if is_ours {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "job folder: {} is not a private folder of this user: remove it",
            self.0.display()
        )))
    }

    /// Writes a file of mode 0600.
    ///
    /// # Errors
    /// With the file's path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .and_then(|mut file| file.write_all(bytes));
        written.map_err(|error| Failure::failed(format!("job folder: {}: {error}", path.display())))?;
        Ok(path)
    }

    /// A file's content, `None` when there is none or it cannot be read.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(name)).ok()
    }

    /// Removes the folder. That it does not exist is no failure.
    ///
    /// # Errors
    /// With the folder's path.
    pub fn remove(&self) -> Result<(), Failure> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("job folder: removing {}: {error}", self.0.display())))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn folder_and_files_are_private_and_go_away_twice() {
        let root = tempfile::tempdir().unwrap();
        let folder = JobFolder::of(&Layout::below(root.path()), "j1");
        folder.create().unwrap();
        folder.create().unwrap();
        let file = folder.write("x", b"secret").unwrap();
        assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.read("x").unwrap(), b"secret");
        folder.remove().unwrap();
        folder.remove().unwrap();
        assert_eq!(folder.read("x"), None);
    }

    #[test]
    fn a_folder_open_to_others_or_a_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path());
        let (open, link) = (JobFolder::of(&layout, "open"), JobFolder::of(&layout, "link"));
        std::fs::create_dir_all(open.path()).unwrap();
        std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink(root.path(), link.path()).unwrap();
        assert!(open.create().unwrap_err().message.contains("not a private folder"));
        assert!(link.create().unwrap_err().message.contains("not a private folder"));
    }
}
