//! Gives what containers left in a job's build folder (as root, or as any other user) back to the agents' user.
//!
//! Runs as root, by a sudo rule, for callers that may be a job: whatever lies in the build folder, and whatever changes
//! there meanwhile, it touches nothing outside. No path is ever resolved twice: names are opened one by one, without
//! following symlinks, and only what is open is looked at and given away.
//!
//! # Layout
//! - [`judge`]: what happens to a thing that was found. Pure.
//! - [`walk`]: through all folders, by several threads.

pub mod judge;
pub mod walk;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::Uid;

use crate::failure::Failure;
use crate::layout::Layout;
use judge::Owner;
use walk::Counts;

/// Arguments of `fix-permissions`.
#[derive(Debug, clap::Args)]
pub struct FixPermissionsArgs {
    /// The agent's folder in the builds folder
    agent: String,
    /// The organization's folder in it
    organization: String,
    /// The pipeline's folder in that: all below belongs to the agents' user afterwards
    pipeline: String,
}

/// Folders and threads need descriptors; more than this are never open.
const DESCRIPTORS: u64 = 16_384;

/// Fixes one pipeline's build folder. One that is not there needs nothing.
///
/// # Errors
/// 2 for names that are no names of folders; 1 when something could not be given back.
pub fn run(layout: &Layout, args: &FixPermissionsArgs) -> Result<(), Failure> {
    let names = [&args.agent, &args.organization, &args.pipeline];
    for name in names {
        if !is_folder_name(name) {
            return Err(Failure {
                code: 2,
                message: format!("fix-permissions: {name:?} is no folder's name"),
            });
        }
    }
    // By the sudo rule any job may call this, and would choose what is root here.
    if std::env::var_os("SUDO_UID").is_some() && layout.root() != Path::new("/") {
        return Err(Failure::denied("fix-permissions: --root and TIDEMARK_ROOT are not for callers by sudo"));
    }
    let begun = Instant::now();
    let shown = layout.builds().join(names.map(String::as_str).join("/"));
    let failed = |e: Errno| Failure::failed(format!("fix-permissions: {}: {e}", shown.display()));
    let Some((top, owner)) = open(layout, &names.map(String::as_str)).map_err(failed)? else { return Ok(()) };
    if Uid::from_raw(owner.uid).is_root() && Uid::effective().is_root() && layout.root() == Path::new("/") {
        return Err(Failure::config(format!(
            "fix-permissions: {} belongs to root: run `agent-bootstrap boot`, which gives it to the agents' user",
            layout.builds().display()
        )));
    }
    allow_descriptors();
    let counts = walk::walk(top, owner).map_err(failed)?;
    if counts != (Counts { seen: counts.seen, ..Counts::default() }) {
        eprintln!("fix-permissions: {}: {counts} in {} ms", shown.display(), begun.elapsed().as_millis());
    }
    if counts.failed > 0 {
        return Err(Failure::failed(format!(
            "fix-permissions: {} of {} things in {} could not be given back",
            counts.failed,
            counts.seen,
            shown.display()
        )));
    }
    Ok(())
}

/// One component of a path, and none that a program could take for an option.
fn is_folder_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && !name.contains(['/', '\0'])
}

/// The pipeline's folder and to whom all in it shall belong: the owner of the builds folder. The agents' user owns the
/// folders above too, so each is opened below the one before, and none may be a symlink.
fn open(layout: &Layout, names: &[&str]) -> Result<Option<(OwnedFd, Owner)>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let home = nix::fcntl::open(&layout.agent_home(), flags, Mode::empty());
    let builds = layout.builds();
    let builds = builds.file_name().unwrap_or_default();
    let below = |folder: OwnedFd, name: &std::ffi::OsStr| openat(&folder, name, flags, Mode::empty());
    let Some(builds) = there(home.and_then(|home| below(home, builds)))? else { return Ok(None) };
    let found = fstat(builds.as_fd())?;
    let owner = Owner { uid: found.st_uid, gid: found.st_gid };
    let mut folder = builds;
    for name in names {
        match there(below(folder, name.as_ref()))? {
            Some(next) => folder = next,
            None => return Ok(None),
        }
    }
    Ok(Some((folder, owner)))
}

fn there(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As many descriptors as may be had. Fewer make it fail in a very deep tree, and say so.
fn allow_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard).max(soft), hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_folders_are_taken() {
        for good in ["ci-i-0abc-1", "acme", "my_pipeline.2", "ünï", "..."] {
            assert!(is_folder_name(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "/", "../x", "-R", "--root", "a\0b", &long] {
            assert!(!is_folder_name(bad), "{bad:?}");
        }
    }
}
