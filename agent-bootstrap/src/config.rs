//! Configuration of the job hooks: the job's environment and the instance's settings file, read once into types.
//!
//! A job's environment is hostile: whoever can change a pipeline file can set variables. So a name belongs to one of
//! two classes. *Open* names are a job's own affair: its environment wins, the settings file only adds a default.
//! *Guarded* names decide whose secrets a job may see and what runs: on an instance with a settings file they come
//! from that file alone. Without a settings file the environment is all there is, and is taken as it is.

pub mod environment;
pub mod job;
pub mod settings;

pub use environment::Environment;
pub use job::{EnvFormat, JobConfig, PullRequest, SecretsConfig};
pub use settings::Settings;

use crate::failure::Failure;

/// Looks a variable up by its name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A setting that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name.
    pub name: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// All faults of a configuration in one line, exit code 78.
#[must_use]
pub fn failure(faults: &[Fault]) -> Failure {
    let list: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.name, f.detail)).collect();
    Failure::config(format!("configuration: {}", list.join("; ")))
}
