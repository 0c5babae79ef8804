//! Finds a job's processes in `/proc` and ends them: a cancelled job leaves nothing running.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pid: i32,
    /// Clock ticks from boot to its start.
    started: u64,
}

/// One line of `/proc/<pid>/stat`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    process: Process,
    parent: i32,
    is_zombie: bool,
}

/// Rounds of looking and ending; each round ends all that is seen, so only a fork bomb needs more than two.
const ROUNDS: u32 = 200;

/// All living descendants of `ancestor`.
#[must_use]
pub fn descendants(ancestor: Pid) -> BTreeSet<Process> {
    below(ancestor.as_raw(), &all_stats())
}

/// Sends SIGKILL to the descendants of `ancestor` that are not in `spared` until there is none.
pub fn end_descendants(ancestor: Pid, spared: &BTreeSet<Process>) {
    for _ in 0..ROUNDS {
        let living: Vec<Process> = descendants(ancestor).difference(spared).copied().collect();
        if living.is_empty() {
            return;
        }
        end_all(&living);
        std::thread::sleep(Duration::from_millis(5));
    }
    tracing::error!("processes of the job cannot be ended; look for ones in state D");
}

/// Ends `top`, which collects its orphans, with all its descendants. It is held first, so that it starts no more.
pub fn end_tree(top: Pid) {
    // Errors mean that it is gone already.
    let _ = kill(top, Signal::SIGSTOP);
    end_descendants(top, &BTreeSet::new());
    let _ = kill(top, Signal::SIGKILL);
}

/// Ends every process whose environment holds `marker` (`NAME=value`): orphans of a job whose own process died.
pub fn end_marked(marker: &str) {
    let own: i32 = std::process::id().try_into().unwrap_or_default();
    let is_marked = |stat: &Stat| {
        let environment = std::fs::read(format!("/proc/{}/environ", stat.process.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes())
    };
    let found =
        all_stats().into_iter().filter(|stat| !stat.is_zombie && stat.process.pid != own && is_marked(stat));
    end_all(&found.map(|stat| stat.process).collect::<Vec<_>>());
}

fn end_all(processes: &[Process]) {
    for process in processes {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

fn below(ancestor: i32, stats: &[Stat]) -> BTreeSet<Process> {
    let mut children: BTreeMap<i32, Vec<&Stat>> = BTreeMap::new();
    for stat in stats {
        children.entry(stat.parent).or_default().push(stat);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![ancestor]);
    while let Some(parent) = open.pop() {
        for stat in children.remove(&parent).unwrap_or_default() {
            open.push(stat.process.pid);
            if !stat.is_zombie {
                found.insert(stat.process);
            }
        }
    }
    found
}

fn all_stats() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// The name in brackets may hold anything, brackets too: the fields count from its last bracket.
fn parse_stat(line: &str) -> Option<Stat> {
    let pid = line.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        process: Process { pid, started: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names() {
        let line = "77 (a) S (b) Z 12 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let expected = Stat { process: Process { pid: 77, started: 4242 }, parent: 12, is_zombie: true };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn descendants_are_found_through_zombies() {
        let stat = |pid, parent, is_zombie| Stat { process: Process { pid, started: 1 }, parent, is_zombie };
        let stats = [stat(2, 1, false), stat(3, 2, true), stat(4, 3, false), stat(9, 8, false)];
        let found: Vec<i32> = below(1, &stats).iter().map(|process| process.pid).collect();
        assert_eq!(found, [2, 4]);
    }
}
