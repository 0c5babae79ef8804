//! Whose a container is: the process that started it, told apart from a later one with the same number.

use std::path::Path;

use anyhow::{Context, Result};

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// Process ids mean something only in one namespace.
    namespace: String,
    pid: u32,
    /// Clock ticks since the machine's start.
    started: String,
}

impl Owner {
    pub(super) fn this_process() -> Result<Self> {
        Self::of(std::process::id()).context("this process is not in /proc")
    }

    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let namespace = std::fs::read_link(Path::new("/proc/self/ns/pid")).ok()?;
        let namespace = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        Some(Self { namespace, pid, started: started(&stat)?.to_owned() })
    }

    /// From a label. None for what no lab wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('-')?;
        let (pid, started) = rest.split_once('-')?;
        Some(Self { namespace: namespace.to_owned(), pid: pid.parse().ok()?, started: started.to_owned() })
    }

    /// Has this process surely ended? Nobody can tell of one in another namespace.
    pub(super) fn has_ended(&self) -> bool {
        let here = Self::this_process().is_ok_and(|own| own.namespace == self.namespace);
        here && Self::of(self.pid).as_ref() != Some(self)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.namespace, self.pid, self.started)
    }
}

/// The 22nd field of `/proc/<pid>/stat` (proc(5)); the program's name before it may hold spaces and brackets.
fn started(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_from_its_label_and_lives() {
        let own = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&own.to_string()), Some(own.clone()));
        assert!(!own.has_ended());
        assert_eq!(Owner::parse("somebody"), None);
    }

    #[test]
    fn a_later_process_with_the_same_number_is_another_owner() {
        let own = Owner::this_process().unwrap();
        assert!(Owner { started: "1".into(), ..own.clone() }.has_ended());
        let elsewhere = Owner { namespace: "1".into(), started: "1".into(), ..own };
        assert!(!elsewhere.has_ended(), "nobody can tell");
    }

    #[test]
    fn the_start_is_found_behind_any_program_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started(stat), Some("4711"));
    }
}
