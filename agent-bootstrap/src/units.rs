//! The unit manager: how agents are started and stopped. systemd on an AMI, plain processes in the lab.

pub mod process;
pub mod processes;
pub mod systemd;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::failure::Failure;
use crate::layout::Layout;

use process::Process;
pub use processes::Processes;
pub use systemd::Systemd;

/// An agent to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUnit {
    /// Counts from 1.
    pub number: u32,
    /// Its name at the CI.
    pub name: String,
    /// The agent program.
    pub program: PathBuf,
}

/// Starts and stops agents, each known by its number.
pub trait UnitManager {
    /// Starts an agent that does not run; does nothing where it runs.
    ///
    /// # Errors
    /// Names the unit and what to look at.
    fn start(&self, unit: &AgentUnit) -> Result<(), Failure>;

    /// Tells an agent to finish its job and leave, without waiting for it.
    ///
    /// # Errors
    /// Names the unit.
    fn stop(&self, number: u32) -> Result<(), Failure>;

    /// Tells an agent to cancel its job and leave. Harmless twice.
    ///
    /// # Errors
    /// Names the unit.
    fn cancel(&self, number: u32) -> Result<(), Failure>;

    /// Tells the shipping of logs to send what is left and to end, without waiting for it.
    ///
    /// # Errors
    /// Names the unit.
    fn stop_logs(&self) -> Result<(), Failure>;

    /// Starts the shipping of logs that was told to end; does nothing where it runs.
    ///
    /// # Errors
    /// Names the unit.
    fn start_logs(&self) -> Result<(), Failure>;

    /// Does the shipping of logs run (it may be sending its last)?
    ///
    /// # Errors
    /// When that cannot be told.
    fn ships_logs(&self) -> Result<bool, Failure>;

    /// Does the agent run (it may be leaving)?
    ///
    /// # Errors
    /// When that cannot be told: unknown is not stopped.
    fn is_active(&self, number: u32) -> Result<bool, Failure>;

    /// The processes of those of the agents that run.
    ///
    /// # Errors
    /// When that cannot be told.
    fn processes(&self, agents: &[AgentUnit]) -> Result<Vec<Process>, Failure>;
}

/// The machine under the agents.
pub trait Machine {
    /// Switches it off, where it is this instance's own.
    ///
    /// # Errors
    /// When it stays on.
    fn power_off(&self) -> Result<(), Failure>;

    /// Restarts a service of it, and waits until that is done.
    ///
    /// # Errors
    /// Names the service and what to look at.
    fn restart<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What starts agents on this machine, and the machine itself, `TIDEMARK_UNIT_MANAGER` deciding.
///
/// # Errors
/// When the variable names none.
pub fn of_machine(layout: &Layout, name: Option<&str>) -> Result<Box<dyn UnitManager>, Failure> {
    Ok(match Kind::named(name)? {
        Kind::Systemd => Box::new(Systemd::new(layout.clone())),
        Kind::Processes => Box::new(Processes::new(layout.clone())),
    })
}

/// The machine, by the same name.
///
/// # Errors
/// When the variable names none.
pub fn machine(layout: &Layout, name: Option<&str>) -> Result<Box<dyn Machine>, Failure> {
    Ok(match Kind::named(name)? {
        Kind::Systemd => Box::new(Systemd::new(layout.clone())),
        Kind::Processes => Box::new(Processes::new(layout.clone())),
    })
}

enum Kind {
    Systemd,
    Processes,
}

impl Kind {
    fn named(name: Option<&str>) -> Result<Self, Failure> {
        match name.filter(|n| !n.is_empty()) {
            None | Some("systemd") => Ok(Self::Systemd),
            Some("processes") => Ok(Self::Processes),
            Some(other) => Err(Failure::config(format!(
                "TIDEMARK_UNIT_MANAGER: `{other}` is neither systemd nor processes"
            ))),
        }
    }
}
