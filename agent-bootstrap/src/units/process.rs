//! A process that is known by its id and start time, so that a number that was given to another one does not fool us.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Processes of one line that are looked at: whoever nests them deeper hides from us.
const LONGEST_LINE: usize = 128;

/// A process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (field 22 of `/proc/<pid>/stat`).
    pub started: u64,
}

impl Process {
    /// The process that has this id now; `None` where there is none (or only a zombie).
    #[must_use]
    pub fn running(pid: i32) -> Option<Self> {
        Self::with_parent(pid).map(|(process, _)| process)
    }

    /// The process that has this id now, its parent, and so on up to the first process, which is left out.
    #[must_use]
    pub fn line(pid: i32) -> Vec<Self> {
        let mut line = Vec::new();
        let mut above = pid;
        while let Some((process, parent)) = Self::with_parent(above)
            && line.len() < LONGEST_LINE
        {
            line.push(process);
            above = parent;
        }
        line
    }

    fn with_parent(pid: i32) -> Option<(Self, i32)> {
        if pid <= 1 {
            return None;
        }
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
        // The second field is the name in parentheses and may hold anything, parentheses too.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some((Self { pid, started }, parent))
    }

    /// Is it still there?
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::running(self.pid) == Some(self)
    }

    /// Asks it to finish (SIGTERM). One that is gone already is no error.
    ///
    /// # Errors
    /// When this process may not.
    pub fn terminate(self) -> std::io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Sends it a signal. One that is gone already is no error.
    ///
    /// # Errors
    /// When this process may not.
    pub fn signal(self, signal: Signal) -> std::io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

/// The text is no process (`<pid> <start>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no process id and start time")]
pub struct NoProcess;

impl FromStr for Process {
    type Err = NoProcess;

    fn from_str(text: &str) -> Result<Self, NoProcess> {
        let (pid, started) = text.trim().split_once(' ').ok_or(NoProcess)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| NoProcess)?,
            started: started.parse().map_err(|_| NoProcess)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_and_another_start_time_is_another_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::running(child.id().try_into().unwrap()).unwrap();
        assert!(process.is_alive());
        assert_eq!(process.to_string().parse(), Ok(process));
        assert!(!Process { started: process.started + 1, ..process }.is_alive());
        Process { started: process.started + 1, ..process }.terminate().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a signal went to a process that is not meant");
        process.terminate().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        process.terminate().unwrap();
    }

    #[test]
    fn a_line_goes_from_a_process_up_to_the_first() {
        let own = Process::running(std::process::id().try_into().unwrap()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let line = Process::line(child.id().try_into().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((line[0].pid, line[1]), (child.id().try_into().unwrap(), own));
        assert!(line.iter().all(|process| process.pid > 1), "{line:?}");
        assert_eq!(Process::line(0), []);
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        while Process::running(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn ids_of_no_process_are_refused() {
        for pid in [-1, 0, 1] {
            assert_eq!(Process::running(pid), None);
        }
        assert_eq!("12".parse::<Process>(), Err(NoProcess));
    }
}
