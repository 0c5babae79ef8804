//! Agents as plain processes in sessions of their own: pid files below `run/tidemark/agents`, logs below
//! `var/log/tidemark`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures::future::BoxFuture;
use nix::sys::signal::Signal;

use super::process::Process;
use super::{AgentUnit, Machine, UnitManager};
use crate::boot::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::secrets::env_file;

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
        named_in(&self.pid_file(number), &format!("agent {number}"))
    }

    fn shipping(&self) -> Result<Option<Process>, Failure> {
        named_in(&self.layout.logs_pid_file(), "logs")
    }

    /// As a unit's `EnvironmentFile` would have it.
    fn environment(&self) -> std::io::Result<Vec<(String, String)>> {
        let path = self.layout.agent_environment();
        let bytes = std::fs::read(&path)
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(e) })?;
        let variables = env_file::parse(&bytes, &|_| None)
            .map_err(|_| std::io::Error::other(format!("{} is not as boot wrote it", path.display())))?;
        Ok(variables.iter().map(|v| (v.name.clone(), v.value.to_string())).collect())
    }

    /// By this very program, into the same log.
    fn spawn_logs(&self) -> std::io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.layout.logs().join("logs.log"))?;
        let mut logs = Command::new(std::env::current_exe()?);
        logs.arg("--root").arg(self.layout.root()).args(["logs", "--unit-manager", "processes"]);
        logs.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().map(drop)
    }

    fn spawn(
        &self,
        unit: &AgentUnit,
        write_pid: impl FnOnce(Process) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let logs = self.layout.logs();
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("agent-{}.log", unit.number));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // The shell waits for its pid file to be written (a line on its stdin) and replaces itself by the agent, which
        // so keeps the id; a boot that dies in between leaves no agent that nobody knows. No terminal's hang-up
        // reaches it.
        let mut child = Command::new("setsid")
            .args(["sh", "-c", "read -r _ && exec \"$@\" < /dev/null", "sh"])
            .arg(&unit.program)
            .args(["start", "--config"])
            .arg(self.layout.agent_config())
            .envs(self.environment()?)
            .env("BUILDKITE_AGENT_NAME", &unit.name)
            .env("TIDEMARK_ROOT", self.layout.root())
            .env("HOME", self.layout.agent_home())
            .env("PATH", path_with_own_folder())
            .current_dir(self.layout.agent_home())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let ended = || std::io::Error::other("it ended at once; see its log");
        let process = i32::try_from(child.id()).ok().and_then(Process::running).ok_or_else(ended)?;
        write_pid(process)?;
        child.stdin.take().ok_or_else(ended)?.write_all(b"\n")
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
        let write_pid = |process: Process| {
            files::file(&pid_file, process.to_string().as_bytes(), 0o644, Owner::own())
                .map_err(|failure| std::io::Error::other(failure.message))
        };
        self.spawn(unit, write_pid).map_err(|e| {
            Failure::failed(format!("agent {}: start of {}: {e}", unit.number, unit.program.display()))
        })
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

    fn stop_logs(&self) -> Result<(), Failure> {
        let Some(process) = self.shipping()? else { return Ok(()) };
        process.terminate().map_err(|e| Failure::failed(format!("logs: stop of {process}: {e}")))
    }

    fn start_logs(&self) -> Result<(), Failure> {
        if self.shipping()?.is_some() {
            return Ok(());
        }
        self.spawn_logs().map_err(|e| Failure::failed(format!("logs: start: {e}")))
    }

    fn ships_logs(&self) -> Result<bool, Failure> {
        Ok(self.shipping()?.is_some())
    }

    fn is_active(&self, number: u32) -> Result<bool, Failure> {
        Ok(self.running(number)?.is_some())
    }

    fn processes(&self, agents: &[AgentUnit]) -> Result<Vec<Process>, Failure> {
        agents.iter().filter_map(|agent| self.running(agent.number).transpose()).collect()
    }
}

/// The machine and its services belong to others.
impl Machine for Processes {
    fn power_off(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn restart<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        let none = Failure::config(format!("{service}: an instance of processes has no services of its own"));
        Box::pin(std::future::ready(Err(none)))
    }
}

/// The process that a pid file names, if it runs.
fn named_in(path: &Path, what: &str) -> Result<Option<Process>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.parse().ok().filter(|p: &Process| p.is_alive())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("{what}: {}: {error}", path.display()))),
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
    #[test]
    fn the_shipping_of_logs_is_known_by_its_pid_file_and_told_to_end() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path());
        let units = Processes::new(layout.clone());
        assert_eq!(units.ships_logs(), Ok(false));
        units.stop_logs().unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::running(child.id().try_into().unwrap()).unwrap();
        files::folder(&layout.run(), 0o755, Owner::own()).unwrap();
        files::file(&layout.logs_pid_file(), process.to_string().as_bytes(), 0o644, Owner::own()).unwrap();
        assert_eq!(units.ships_logs(), Ok(true));
        units.stop_logs().unwrap();
        child.wait().unwrap();
        assert_eq!(units.ships_logs(), Ok(false));
        units.stop_logs().unwrap();
    }
}
