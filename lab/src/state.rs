//! What a running `lab up` leaves in its folder so that the other verbs find it: a lock while it lives, and a file
//! that says where everything is.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// `lab.json`, mode 0600: it holds the lab user's credentials, which are worth nothing outside of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process of `lab up`.
    pub pid: i32,
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// Variables for awscli and the `build-server` client.
    pub environment: BTreeMap<String, String>,
    /// The deployed stack's name.
    pub stack: String,
    /// Its group's name.
    pub group: String,
}

impl State {
    fn file(folder: &Path) -> PathBuf {
        folder.join("lab.json")
    }

    /// Writes it for the other verbs.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let file = Self::file(folder);
        let part = folder.join("lab.json.part");
        let mut open = OpenOptions::new();
        let open = open.write(true).create(true).truncate(true).mode(0o600).open(&part);
        open.with_context(|| format!("write {}", part.display()))?
            .write_all(&serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&part, &file).with_context(|| format!("write {}", file.display()))
    }

    /// The state of the lab that runs in `folder`.
    ///
    /// # Errors
    /// None runs there, or it is still starting.
    pub fn of_running(folder: &Path) -> Result<Self> {
        if !is_running(folder)? {
            bail!("no lab runs in {}: start one with `lab up --dir {}`", folder.display(), folder.display());
        }
        Self::read(folder)?.with_context(|| format!("the lab in {} is still starting", folder.display()))
    }

    /// What the file says, whether the lab runs or not.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let file = Self::file(folder);
        match std::fs::read(&file) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
        }
    }

    /// Removes the file; harmless when there is none.
    pub fn remove(folder: &Path) {
        let _ = std::fs::remove_file(Self::file(folder));
    }
}

/// Holds a folder for one lab as long as it lives: the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Hold {
    _lock: Flock<File>,
}

impl Hold {
    /// Takes the folder.
    ///
    /// # Errors
    /// Another lab has it; its process is named.
    pub fn take(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("make the lab's folder {}", folder.display()))?;
        match lock(folder)? {
            Some(lock) => Ok(Self { _lock: lock }),
            None => {
                let pid = State::read(folder).ok().flatten().map(|s| format!(" (process {})", s.pid));
                bail!(
                    "a lab runs already in {}{}: `lab down --dir {}` ends it",
                    folder.display(),
                    pid.unwrap_or_default(),
                    folder.display()
                )
            }
        }
    }
}

/// Does a lab run in this folder?
///
/// # Errors
/// The folder cannot be read.
pub fn is_running(folder: &Path) -> Result<bool> {
    Ok(folder.is_dir() && lock(folder)?.is_none())
}

/// The lock, or `None` when somebody holds it.
fn lock(folder: &Path) -> Result<Option<Flock<File>>> {
    let file = folder.join("lab.lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
    let open = open.with_context(|| format!("open {}", file.display()))?;
    match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            pid: 7,
            endpoint: "http://127.0.0.1:1".into(),
            environment: BTreeMap::new(),
            stack: "ci".into(),
            group: "ci-instances".into(),
        }
    }

    #[test]
    fn one_lab_a_folder_and_a_second_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::take(folder.path()).unwrap();
        state().write(folder.path()).unwrap();
        let refused = Hold::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("a lab runs already") && refused.contains("(process 7)"), "{refused}");
        assert_eq!(State::of_running(folder.path()).unwrap(), state());
        drop(hold);
        assert!(State::of_running(folder.path()).unwrap_err().to_string().contains("no lab runs in"));
        Hold::take(folder.path()).unwrap();
    }

    #[test]
    fn only_the_owner_reads_the_state() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        state().write(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join("lab.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
