//! Agents as plain processes in sessions of their own: pid files below `run/tidemark/agents`, logs below
//! `var/log/tidemark`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::process::Process;
use super::{AgentUnit, UnitManager};
use crate::boot::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;

/// Agents as plain processes.
#[derive(Debug, Clone)]
pub struct Processes {
    layout: Layout,
}

impl Processes {
    /// Agents of the instance with these paths.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    fn pid_file(&self, number: u32) -> PathBuf {
        self.layout.run().join("agents").join(format!("{number}.pid"))
    }

    fn running(&self, number: u32) -> Result<Option<Process>, Failure> {
        let path = self.pid_file(number);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.parse().ok().filter(|p: &Process| p.is_alive())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::failed(format!("agent {number}: {}: {error}", path.display()))),
        }
    }

    fn spawn(&self, unit: &AgentUnit) -> std::io::Result<Process> {
        let logs = self.layout.logs();
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("agent-{}.log", unit.number));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // setsid replaces itself by the agent, which so keeps the id, and no terminal's hang-up reaches it.
        let child = Command::new("setsid")
            .arg(&unit.program)
            .args(["start", "--config"])
            .arg(self.layout.agent_config())
            .env("BUILDKITE_AGENT_NAME", &unit.name)
            .env("TIDEMARK_ROOT", self.layout.root())
            .env("HOME", self.layout.agent_home())
            .env("PATH", path_with_own_folder())
            .current_dir(self.layout.agent_home())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        i32::try_from(child.id())
            .ok()
            .and_then(Process::running)
            .ok_or_else(|| std::io::Error::other("it ended at once; see its log"))
    }
}

impl UnitManager for Processes {
    fn start(&self, unit: &AgentUnit) -> Result<(), Failure> {
        if self.running(unit.number)?.is_some() {
            return Ok(());
        }
        let pid_file = self.pid_file(unit.number);
        let folder = self.layout.run().join("agents");
        files::folder(&folder, 0o755, Owner::own())?;
        let process = self.spawn(unit).map_err(|e| {
            Failure::failed(format!("agent {}: start of {}: {e}", unit.number, unit.program.display()))
        })?;
        files::file(&pid_file, process.to_string().as_bytes(), 0o644, Owner::own())
    }

    fn stop(&self, number: u32) -> Result<(), Failure> {
        let Some(process) = self.running(number)? else { return Ok(()) };
        let told = self.layout.run().join("agents").join(format!("{number}.told"));
        // A second SIGTERM would cancel the job.
        if std::fs::read_to_string(&told).is_ok_and(|text| text.parse() == Ok(process)) {
            return Ok(());
        }
        files::file(&told, process.to_string().as_bytes(), 0o644, Owner::own())?;
        process.terminate().map_err(|e| Failure::failed(format!("agent {number}: stop of {process}: {e}")))
    }

    fn cancel(&self, number: u32) -> Result<(), Failure> {
        let Some(process) = self.running(number)? else { return Ok(()) };
        let cancelled = process.signal(Signal::SIGQUIT);
        cancelled.map_err(|e| Failure::failed(format!("agent {number}: cancel of {process}: {e}")))
    }

    /// There is no journal to be shipped where there is no systemd.
    fn stop_logs(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn ships_logs(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    fn is_active(&self, number: u32) -> Result<bool, Failure> {
        Ok(self.running(number)?.is_some())
    }
}

/// Our programs first, so that hooks find `agent-bootstrap` and Docker finds the credential helper.
fn path_with_own_folder() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::current_exe().ok().and_then(|p| p.parent().map(PathBuf::from));
    let folders = own.into_iter().chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).unwrap_or(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that notes each signal, and leaves at QUIT.
    const AGENT: &str = "#!/bin/bash
        trap 'echo TERM >> signals' TERM
        trap 'echo QUIT >> signals; exit' QUIT
        echo ready >> signals
        while :; do sleep 0.02; done
    ";

    #[test]
    fn an_agent_is_told_to_finish_once_and_cancels_at_quit() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path());
        files::folder(&layout.agent_home(), 0o755, Owner::own()).unwrap();
        let program = root.path().join("agent");
        files::file(&program, AGENT.as_bytes(), 0o755, Owner::own()).unwrap();
        let units = Processes::new(layout.clone());
        units.start(&AgentUnit { number: 1, name: "a".into(), program }).unwrap();
        let signals = || std::fs::read_to_string(layout.agent_home().join("signals")).unwrap_or_default();
        let until = |wanted: &str| {
            let begun = std::time::Instant::now();
            while signals() != wanted {
                assert!(begun.elapsed().as_secs() < 20, "{:?} is not {wanted:?}", signals());
                std::thread::yield_now();
            }
        };
        until("ready\n");
        units.stop(1).unwrap();
        until("ready\nTERM\n");
        units.stop(1).unwrap();
        // Another manager, as after a restart of `watch`.
        Processes::new(layout.clone()).stop(1).unwrap();
        units.cancel(1).unwrap();
        until("ready\nTERM\nQUIT\n");
        while units.is_active(1).unwrap() {
            std::thread::yield_now();
        }
        units.cancel(1).unwrap();
        units.stop(1).unwrap();
    }
}
