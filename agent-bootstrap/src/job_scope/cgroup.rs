//! A job's cgroup below the agent's own: `job-<pid>-<start>`, named by the `job-scope` that made it.
//!
//! Needs a folder that this user may write: systemd gives a unit with `Delegate=` and `User=` its cgroup, on version 2
//! and on the `name=systemd` hierarchy of version 1. No controllers are used, so the rule of version 2 that inner
//! cgroups hold no processes does not matter.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::units::process::Process;

/// How long the processes of a cgroup may take to go after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

/// A job's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes one; `None` where this user may not. What jobs left whose `job-scope` was killed is ended first.
    #[must_use]
    pub fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let process = Process::running(i32::try_from(std::process::id()).ok()?)?;
        places(&mounts, &own).into_iter().find_map(|parent| {
            end_stale(&parent);
            let folder = parent.join(format!("job-{}-{}", process.pid, process.started));
            std::fs::create_dir(&folder).ok()?;
            Some(Self { folder })
        })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it, with all its processes if so told; one with processes stays otherwise.
    pub fn end(&self, with_processes: bool) {
        if with_processes && let Err(error) = end(&self.folder) {
            eprintln!(
                "job-scope: {}: {error}; see what `cat cgroup.procs` there names",
                self.folder.display()
            );
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Moves this process into a cgroup.
///
/// # Errors
/// When the user may not.
pub fn enter(folder: &Path) -> io::Result<()> {
    std::fs::write(folder.join("cgroup.procs"), "0")
}

/// Ends all processes in a cgroup and those below, and removes those below.
fn end(folder: &Path) -> io::Result<()> {
    let begun = Instant::now();
    while let Some(left) = processes(folder)? {
        // All at once where the kernel can (5.14); else again and again, for those that fork meanwhile.
        if std::fs::write(folder.join("cgroup.kill"), "1").is_err() {
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("processes {left:?} do not end")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for below in folders(folder) {
        end(&below)?;
        std::fs::remove_dir(&below)?;
    }
    Ok(())
}

/// The processes in a cgroup and below it; `None` where there is none.
fn processes(folder: &Path) -> io::Result<Option<Vec<Pid>>> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs"))?;
    let mut found: Vec<Pid> = text.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect();
    for below in folders(folder) {
        found.extend(processes(&below)?.unwrap_or_default());
    }
    Ok((!found.is_empty()).then_some(found))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Ends the cgroups of jobs whose `job-scope` is gone.
fn end_stale(parent: &Path) {
    for folder in folders(parent) {
        let name = folder.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("job-"));
        let maker = name.and_then(|n| n.replacen('-', " ", 1).parse::<Process>().ok());
        if maker.is_some_and(|maker| !maker.is_alive()) {
            Cgroup { folder }.end(true);
        }
    }
}

/// Where this process is: its folder in version 2, else in systemd's hierarchy of version 1. Pure.
fn places(mounts: &str, own: &str) -> Vec<PathBuf> {
    let within = |controller: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()? == controller).then(|| parts.next()).flatten()
        })
    };
    let unified = mounted(mounts, "cgroup2", "").into_iter().zip(std::iter::repeat(within("")));
    let named = mounted(mounts, "cgroup", NAMED).into_iter().zip(std::iter::repeat(within(NAMED)));
    unified
        .chain(named)
        .filter_map(|((root, mount), own)| {
            // A mount may show only a part of the hierarchy (a container's).
            let below = Path::new(own?).strip_prefix(root).ok()?;
            Some(Path::new(mount).join(below))
        })
        .collect()
}

const NAMED: &str = "name=systemd";

/// What of a hierarchy is mounted, and where: lines of mountinfo (proc(5)) of this kind and, if any, with this option.
fn mounted<'a>(mounts: &'a str, kind: &str, option: &str) -> Vec<(&'a str, &'a str)> {
    let fits = |line: &'a str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_kind = right.next()? == kind;
        let has_option = option.is_empty() || right.nth(1)?.split(',').any(|o| o == option);
        let mut left = left.split(' ').skip(3);
        (is_kind && has_option).then_some((left.next()?, left.next()?))
    };
    mounts.lines().filter_map(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_folder_is_found_on_both_versions() {
        let two = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let one = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let part = "40 31 0:37 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let agent = "/system.slice/system-tidemark\\x2dagent.slice/tidemark-agent@1.service";
        for (mounts, own, expected) in [
            (two, format!("0::{agent}\n"), vec![format!("/sys/fs/cgroup{agent}")]),
            (
                one,
                format!("9:name=systemd:{agent}\n1:cpu:/\n0::/\n"),
                vec![format!("/sys/fs/cgroup/systemd{agent}")],
            ),
            (part, "0::/docker/abc/x.service\n".to_owned(), vec!["/sys/fs/cgroup/x.service".to_owned()]),
            (part, "0::/elsewhere\n".to_owned(), vec![]),
            ("", format!("0::{agent}\n"), vec![]),
            (two, String::new(), vec![]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(places(mounts, &own), expected, "{mounts} {own}");
        }
    }
}
