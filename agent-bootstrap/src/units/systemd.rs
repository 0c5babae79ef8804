//! Agents as systemd units `tidemark-agent@N.service` (`units/` of this crate holds their texts).

use std::process::{Command, Output};

use futures::future::BoxFuture;

use super::process::Process;
use super::{AgentUnit, Machine, UnitManager};
use crate::boot::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;

/// Agents as systemd units.
#[derive(Debug, Clone)]
pub struct Systemd {
    layout: Layout,
}

impl Systemd {
    /// Agents of the instance with these paths.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }
}

/// Ships the journal.
const LOGS: &str = "tidemark-logs.service";

fn unit(number: u32) -> String {
    format!("tidemark-agent@{number}.service")
}

fn systemctl(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("systemctl").args(arguments).output()
}

fn succeed(arguments: &[&str], unit: &str) -> Result<(), Failure> {
    answer(arguments, unit).map(drop)
}

fn answer(arguments: &[&str], unit: &str) -> Result<Output, Failure> {
    judge(systemctl(arguments), arguments, unit)
}

fn judge(output: std::io::Result<Output>, arguments: &[&str], unit: &str) -> Result<Output, Failure> {
    let output = output.map_err(|e| not_there(arguments, &e))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    Err(Failure::failed(format!("systemctl {}: {said}; see `journalctl -u {unit}`", arguments.join(" "))))
}

fn not_there(arguments: &[&str], error: &std::io::Error) -> Failure {
    Failure::failed(format!("systemctl {}: {error}", arguments.join(" ")))
}

impl UnitManager for Systemd {
    fn start(&self, agent: &AgentUnit) -> Result<(), Failure> {
        let unit = unit(agent.number);
        let environment = self.layout.run().join(format!("agent-{}.env", agent.number));
        let text = format!(
            "BUILDKITE_AGENT_NAME={}\nTIDEMARK_AGENT_PROGRAM={}\n",
            agent.name,
            agent.program.display()
        );
        files::file(&environment, text.as_bytes(), 0o644, Owner::own())?;
        succeed(&["start", &unit], &unit)
    }

    fn stop(&self, number: u32) -> Result<(), Failure> {
        let unit = unit(number);
        // The stop may last as long as a job does.
        succeed(&["stop", "--no-block", &unit], &unit)
    }

    fn cancel(&self, number: u32) -> Result<(), Failure> {
        if !self.is_active(number)? {
            return Ok(());
        }
        let unit = unit(number);
        succeed(&["kill", "--kill-whom=main", "--signal=QUIT", &unit], &unit)
    }

    fn stop_logs(&self) -> Result<(), Failure> {
        // One that was killed waits to be started again. A stop would end that wait, and what was logged since the kill
        // would never be sent. A mere start would wait with it.
        match state(LOGS)?.as_str() {
            "activating" => succeed(&["restart", LOGS], LOGS)?,
            "deactivating" => {
                return Err(Failure::try_again(format!("{LOGS} was killed and is about to start again")));
            }
            _ => {}
        }
        succeed(&["stop", "--no-block", LOGS], LOGS)
    }

    fn start_logs(&self) -> Result<(), Failure> {
        succeed(&["start", "--no-block", LOGS], LOGS)
    }

    fn ships_logs(&self) -> Result<bool, Failure> {
        runs(LOGS)
    }

    fn is_active(&self, number: u32) -> Result<bool, Failure> {
        runs(&unit(number))
    }

    fn processes(&self, agents: &[AgentUnit]) -> Result<Vec<Process>, Failure> {
        let units: Vec<String> = agents.iter().map(|agent| unit(agent.number)).collect();
        let mut question = vec!["show", "--property=MainPID", "--value"];
        question.extend(units.iter().map(String::as_str));
        let answer = answer(&question, "tidemark-agent@*")?;
        Ok(main_processes(&String::from_utf8_lossy(&answer.stdout)))
    }
}

/// One line for each unit, empty ones in between; 0 for one that does not run.
fn main_processes(answer: &str) -> Vec<Process> {
    answer.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Process::running).collect()
}

fn state(unit: &str) -> Result<String, Failure> {
    let question = ["show", "--property=ActiveState", "--value", unit];
    let output = systemctl(&question).map_err(|e| not_there(&question, &e))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A unit that does not exist does not run.
fn runs(unit: &str) -> Result<bool, Failure> {
    match state(unit)?.as_str() {
        "inactive" | "failed" => Ok(false),
        "active" | "activating" | "deactivating" | "reloading" => Ok(true),
        other => Err(Failure::failed(format!("systemctl show {unit}: unknown state `{other}`"))),
    }
}

impl Machine for Systemd {
    fn power_off(&self) -> Result<(), Failure> {
        // Boot itself is a unit: a poweroff that waits for all jobs would wait for its own caller.
        succeed(&["poweroff", "--no-block"], "systemd-logind")
    }

    fn restart<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let run = |verb: &'static str| {
                let mut command = tokio::process::Command::new("systemctl");
                command.args([verb, service]).kill_on_drop(true);
                async move { command.output().await }
            };
            // A boot that was cut off again and again restarted it as often: systemd would call that too quick. One that
            // never failed has nothing to be forgotten, which is no error.
            run("reset-failed").await.map_err(|e| not_there(&["reset-failed", service], &e))?;
            judge(run("restart").await, &["restart", service], service).map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processes_of_running_units_are_read_from_one_answer() {
        let own = Process::running(std::process::id().try_into().unwrap()).unwrap();
        // As systemd 252 and 257 write it for several units.
        assert_eq!(main_processes(&format!("0\n\n{}\n\n0\n", own.pid)), [own]);
        assert_eq!(main_processes("0\n"), []);
    }
}
