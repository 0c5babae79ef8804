//! The processes that descend from this one. Orphans of the job do too: this process is their subreaper.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long they may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends them until there is none: one that forks meanwhile is seen in the next round.
pub fn end_descendants() {
    let begun = Instant::now();
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for pid in &left {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if begun.elapsed() > PATIENCE {
            eprintln!("job-scope: processes {left:?} of the job do not end; look for state D");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn descendants() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let stats = pids.filter_map(|pid| {
        let (parent, is_zombie) = parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some((pid, parent, is_zombie))
    });
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    below(own, &stats.collect::<Vec<_>>()).into_iter().map(Pid::from_raw).collect()
}

/// Those below `ancestor`, zombies left out but not what is below them. Pure.
fn below(ancestor: i32, stats: &[(i32, i32, bool)]) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<(i32, bool)>> = BTreeMap::new();
    for (pid, parent, is_zombie) in stats {
        children.entry(*parent).or_default().push((*pid, *is_zombie));
    }
    let (mut found, mut open) = (Vec::new(), vec![ancestor]);
    while let Some(parent) = open.pop() {
        for (pid, is_zombie) in children.remove(&parent).unwrap_or_default() {
            open.push(pid);
            if !is_zombie {
                found.push(pid);
            }
        }
    }
    found
}

/// Parent and whether it is a zombie, of a line of `/proc/<pid>/stat`; the name in it may hold anything.
fn parent(stat: &str) -> Option<(i32, bool)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_zombies_and_odd_names() {
        assert_eq!(parent("77 (a) S (b) Z 12 77 77 0"), Some((12, true)));
        assert_eq!(parent("garbage"), None);
        let stats = [(2, 1, false), (3, 2, true), (4, 3, false), (9, 8, false)];
        assert_eq!(below(1, &stats), [2, 4]);
    }
}
