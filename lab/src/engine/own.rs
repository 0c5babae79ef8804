//! An engine of the lab's own: dockerd in a mount namespace, without bridge and packet filter rules, for all labs that
//! have the same folder.
//!
//! Each lab holds a shared lock on `users.lock`. The keeper above dockerd waits for that lock alone: it gets it when the
//! last lab has ended, however that ended, and then ends dockerd with everything below it. A lab that starts meanwhile
//! waits for its shared lock until the keeper has gone, and starts a new one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::{connect, mounts};
use crate::children::{self, lab_program};

/// The programs of dockerd, and those that start it.
const PROGRAMS: [&str; 4] = ["dockerd", "containerd", "runc", "setsid"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// dockerd needs a second; on a busy machine with a slow disk some more.
const START: Duration = Duration::from_secs(60);
/// dockerd ends within a second or two.
const END: Duration = Duration::from_secs(60);
/// A socket's path has 108 bytes with the zero at its end.
const SOCKET_PATH: usize = 107;

/// `$1` is the data folder. On an overlay Docker could only copy whole images: a file system in a file takes its place.
///
/// dockerd and containerd leave sockets, a key and mounts in these folders: private ones take their place, and go with
/// the last process. What the machine mounts later is still seen.
const START_DOCKERD: &str = r#"
set -e
trap 'echo "lab: dockerd ended with $?"' EXIT
for folder in /etc/docker /run/docker /run/containerd; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=711 tidemark "$folder"
done
data=$1; shift
mkdir -p "$data"
if [ "$(stat -f -c %T "$data")" = overlayfs ]; then
    if [ ! -e "$data.ext4" ]; then
        truncate -s 24G "$data.new"
        mkfs.ext4 -q -F -E lazy_itable_init=1 "$data.new"
        mv "$data.new" "$data.ext4"
    fi
    mount -o loop "$data.ext4" "$data" || echo "lab: no loop device: images are copied for each instance"
fi
dockerd "--data-root=$data" "$@"
"#;

/// Starts the engine of `folder` if it does not run, and holds it: its socket, and the lock that keeps it.
pub(super) async fn start(folder: &Path, usual: &Path) -> Result<(PathBuf, Flock<File>)> {
    let here = possible();
    here.with_context(|| format!("{} does not answer, and an own engine is impossible", usual.display()))?;
    let socket = folder.join("docker.sock");
    ensure!(
        socket.as_os_str().len() <= SOCKET_PATH,
        "the path {} is too long for a socket ({SOCKET_PATH} bytes)",
        socket.display()
    );
    let users = users_file(folder);
    let in_use = tokio::task::spawn_blocking(move || use_it(&users)).await??;
    let starting = folder.join("start.lock");
    let starting = tokio::task::spawn_blocking(move || lock(&starting, FlockArg::LockExclusive)).await??;
    if connect(&socket).await.is_err() {
        keep(folder, &socket)?;
        wait(folder, &socket).await?;
    }
    drop(starting);
    Ok((socket, in_use))
}

/// The file that each user of an own engine holds.
pub(super) fn users_file(folder: &Path) -> PathBuf {
    folder.join("users.lock")
}

/// Becomes a user of the engine; waits while an earlier one is being ended.
pub(super) fn use_it(users: &Path) -> Result<Flock<File>> {
    lock(users, FlockArg::LockShared)
}

/// Waits for a lock on a file, which is made if need be.
pub(crate) fn lock(file: &Path, how: FlockArg) -> Result<Flock<File>> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file);
    let open = open.with_context(|| format!("open {}", file.display()))?;
    Flock::lock(open, how).map_err(|(_, error)| error).with_context(|| format!("lock {}", file.display()))
}

/// Waits until an engine that nobody uses any more has ended. Another lab's use ends the wait, and so does too long a
/// time: nothing depends on it, but who ends a lab finds nothing of it.
pub(super) fn until_ended(folder: &Path) {
    if !users_file(folder).exists() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < END && std::os::unix::net::UnixStream::connect(folder.join("docker.sock")).is_ok()
    {
        if is_used(&users_file(folder)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The keeper holds its lock to the very end of everything below it.
    while begun.elapsed() < END && try_lock(&users_file(folder), FlockArg::LockSharedNonblock).is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Labs share the lock; the keeper, or nobody, holds it alone.
fn is_used(users: &Path) -> bool {
    try_lock(users, FlockArg::LockExclusiveNonblock).is_none()
        && try_lock(users, FlockArg::LockSharedNonblock).is_some()
}

fn try_lock(file: &Path, how: FlockArg) -> Option<Flock<File>> {
    Flock::lock(File::open(file).ok()?, how).ok()
}

fn possible() -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "it needs root");
    let folders: Vec<PathBuf> = std::env::split_paths(PATH).collect();
    let missing = PROGRAMS.iter().filter(|name| !folders.iter().any(|f| f.join(name).is_file()));
    let missing: Vec<&str> = missing.copied().collect();
    ensure!(missing.is_empty(), "{} is not installed: run `make setup`", missing.join(", "));
    Ok(())
}

/// Starts the keeper with dockerd below it. `setsid --fork`: this lab is not its parent, for it may outlive this lab.
fn keep(folder: &Path, socket: &Path) -> Result<()> {
    let mut log = OpenOptions::new();
    let log = log.create(true).write(true).truncate(true).mode(0o600).open(folder.join("dockerd.log"));
    let log = log.context("write dockerd.log")?;
    // A socket of an engine that was ended the hard way.
    let _ = std::fs::remove_file(socket);
    let mut keeper = Command::new("setsid");
    let lab = lab_program()?;
    keeper.arg("--fork").arg(&lab).args(children::while_used(&users_file(folder)));
    keeper.arg(&lab).args([mounts::VERB, "sh", "-c", START_DOCKERD, "dockerd"]);
    keeper.arg(folder.join("data"));
    keeper.arg(format!("--host=unix://{}", socket.display()));
    keeper.args(["--exec-root=/run/docker", "--pidfile=/run/docker/docker.pid"]);
    // Instances have no network but what the lab gives them, and builds have the machine's.
    keeper.args([
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]);
    keeper.env_clear().env("PATH", PATH).current_dir(folder);
    keeper.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = keeper.status().context("start of dockerd: setsid")?;
    ensure!(started.success(), "start of dockerd: setsid: {started}");
    Ok(())
}

async fn wait(folder: &Path, socket: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        if connect(socket).await.is_ok() {
            return Ok(());
        }
        let log = std::fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
        if let Some(reason) = reason_of_end(&log) {
            bail!("dockerd does not start: {reason} (log: {})", folder.join("dockerd.log").display());
        }
        if begun.elapsed() > START {
            let last = log.lines().last().unwrap_or("no output");
            bail!("dockerd is silent for {} s: {last}", START.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Why dockerd, or a program before it, ended: the line before the script's own, or that of the program before the
/// script.
fn reason_of_end(log: &str) -> Option<&str> {
    let lines: Vec<&str> = log.lines().collect();
    if let Some(end) = lines.iter().position(|line| line.starts_with("lab: dockerd ended")) {
        return Some(lines[end.saturating_sub(1)]);
    }
    let before = format!("lab: {}:", mounts::VERB);
    lines.into_iter().find(|line| line.starts_with(&before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_an_engine_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        until_ended(folder.path());
        assert!(begun.elapsed() < END, "an engine of the machine's own leaves no lock in the folder");
    }

    #[test]
    fn the_reason_is_what_was_said_before_the_end() {
        for (log, reason) in [
            ("time=1 level=info msg=\"Starting up\"\n", None),
            ("lab: no loop device: images are copied for each instance\n", None),
            (
                "time=1 level=info\nfailed to start daemon: no overlay\nlab: dockerd ended with 1\n",
                Some("failed to start daemon: no overlay"),
            ),
            (
                "mount: /run/docker: permission denied.\nlab: dockerd ended with 32\n",
                Some("mount: /run/docker: permission denied."),
            ),
            (
                "lab: with-own-mounts: mounts of its own: EPERM: Operation not permitted\n",
                Some("lab: with-own-mounts: mounts of its own: EPERM: Operation not permitted"),
            ),
        ] {
            assert_eq!(reason_of_end(log), reason, "{log}");
        }
    }
}
