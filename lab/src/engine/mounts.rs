//! The hidden verb `lab with-own-mounts PROGRAM ARGS…`: a program whose mounts are its own, and go with it.
//!
//! In a chroot a new mount namespace alone does not do for dockerd. The namespace's root is still the machine's, and who
//! enters a namespace made below it (`docker exec` does, and `docker cp`) arrives there, past the chroot: in a
//! container's namespace that is the machine itself. So the chroot becomes the namespace's root first.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chdir, fchdir, pivot_root};

/// The verb's name.
pub(super) const VERB: &str = "with-own-mounts";

/// Runs as such a program when the command line says so; call it first in `main`, before any thread exists.
pub fn own_mounts_when_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    (args.next()?.to_str() == Some(VERB)).then(|| {
        let command: Vec<OsString> = args.collect();
        let Err(error) = run(&command);
        eprintln!("lab: {VERB}: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: &[OsString]) -> Result<Infallible> {
    let (program, arguments) = command.split_first().context("which program?")?;
    let folder = std::env::current_dir().context("find the current folder")?;
    own_mounts()?;
    // By name: the folder that this process was in belongs to the mounts that it had.
    chdir(&folder).with_context(|| format!("go to {}", folder.display()))?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("start {}", program.to_string_lossy()))
}

fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("mounts of its own")?;
    let root = File::open("/").context("open /")?;
    // Who enters a mount namespace, be it the one that it has, goes to the namespace's root.
    let mounts = File::open("/proc/self/ns/mnt").context("open /proc/self/ns/mnt")?;
    setns(&mounts, CloneFlags::CLONE_NEWNS).context("leave the chroot")?;
    // What the machine mounts later is still seen, and what is mounted here is not seen there.
    let private = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keep mounts from the machine")?;
    fchdir(&root).context("go back to the chroot")?;
    let root = std::env::current_dir().context("find the chroot's folder")?;
    if root == Path::new("/") {
        return Ok(());
    }
    // Only what is mounted can become the root, and a chroot may be any folder.
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&root), &root, None::<&str>, bind, None::<&str>)
        .with_context(|| format!("mount the chroot {}", root.display()))?;
    chdir(&root).with_context(|| format!("go to the chroot {}", root.display()))?;
    // The former root comes to lie upon the new one, and goes; see pivot_root(2).
    pivot_root(".", ".").with_context(|| format!("make {} the root", root.display()))?;
    umount2(".", MntFlags::MNT_DETACH).context("unmount the former root")
}
