//! Who asks, as the kernel knows it: what hooks say is theirs to choose, and what runs as the agents' user may be a
//! hostile job.

use nix::unistd::{Uid, User};
use tokio::net::UnixStream;

use crate::boot::files::AGENT_USER;
use crate::failure::Failure;
use crate::units::process::Process;
use crate::units::{AgentUnit, UnitManager};

/// Whoever is at the other end of a connection, from the moment of connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// What it may say.
    pub standing: Standing,
    /// Its process and those above it.
    pub line: Vec<Process>,
}

/// What somebody may say, by the user that he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Root and the user of `watch`: everything.
    Operator,
    /// The agents' user: that jobs of agents above it start and end.
    Agents,
    /// Everybody else may only ask how things are.
    Stranger,
}

/// The users that are told apart.
#[derive(Debug, Clone, Copy)]
pub struct Users {
    /// The agents' user, where agents have one of their own.
    pub agents: Option<Uid>,
}

impl Users {
    /// Those of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { agents: User::from_name(AGENT_USER).ok().flatten().map(|user| user.uid) }
    }

    fn standing(self, user: Uid) -> Standing {
        if user.is_root() || user == Uid::effective() {
            Standing::Operator
        } else if Some(user) == self.agents {
            Standing::Agents
        } else {
            Standing::Stranger
        }
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn asker(self, stream: &UnixStream) -> std::io::Result<Asker> {
        let peer = stream.peer_cred()?;
        let line = peer.pid().map(Process::line).unwrap_or_default();
        Ok(Asker { standing: self.standing(Uid::from_raw(peer.uid())), line })
    }
}

/// Whose job somebody speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The agent.
    pub agent: Process,
    /// The agent's child that runs the job. The job is over at the latest when this is.
    pub job: Option<Process>,
}

/// The agents' processes, as far as they were asked for.
#[derive(Debug, Default)]
pub struct Agents(Vec<Process>);

impl Agents {
    /// The agent above the asker; `None` if none is.
    ///
    /// # Errors
    /// When it cannot be told which processes are agents.
    pub fn above(
        &mut self,
        asker: &Asker,
        units: &dyn UnitManager,
        agents: &[AgentUnit],
    ) -> Result<Option<Owner>, Failure> {
        if let Some(owner) = self.owner(&asker.line) {
            return Ok(Some(owner));
        }
        if self.0.len() < agents.len() || !self.0.iter().all(|agent| agent.is_alive()) {
            self.0 = units.processes(agents)?;
        }
        Ok(self.owner(&asker.line))
    }

    fn owner(&self, line: &[Process]) -> Option<Owner> {
        let at = line.iter().position(|process| self.0.contains(process))?;
        Some(Owner { agent: line[at], job: at.checked_sub(1).map(|below| line[below]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> Process {
        Process { pid, started: 1 }
    }

    #[test]
    fn the_job_is_the_child_of_the_nearest_agent() {
        let agents = Agents(vec![process(10), process(20)]);
        let owner = |pids: &[i32]| agents.owner(&pids.iter().copied().map(process).collect::<Vec<_>>());
        let of = |agent, job: Option<i32>| Some(Owner { agent: process(agent), job: job.map(process) });
        assert_eq!(owner(&[99, 98, 21, 20, 2]), of(20, Some(21)));
        assert_eq!(owner(&[11, 10]), of(10, Some(11)));
        assert_eq!(owner(&[10]), of(10, None));
        assert_eq!(owner(&[99, 98]), None);
        assert_eq!(owner(&[]), None);
        // The same number at another time is another process.
        let again = [Process { pid: 10, started: 2 }];
        assert_eq!(agents.owner(&again), None);
    }

    #[test]
    fn users_have_their_standing() {
        let users = Users { agents: Some(Uid::from_raw(4321)) };
        assert_eq!(users.standing(Uid::from_raw(0)), Standing::Operator);
        assert_eq!(users.standing(Uid::effective()), Standing::Operator);
        assert_eq!(users.standing(Uid::from_raw(4321)), Standing::Agents);
        assert_eq!(users.standing(Uid::from_raw(4322)), Standing::Stranger);
        assert_eq!(Users { agents: None }.standing(Uid::from_raw(4321)), Standing::Stranger);
    }
}
