//! After the job: what the environment hook started is stopped and removed. Harmless twice, and without a job.

use super::job_folder::JobFolder;
use super::ssh_agent;
use crate::config::{self, Environment};
use crate::failure::Failure;
use crate::layout::Layout;

/// Tries every step, whatever fails before it.
///
/// # Errors
/// The first step's failure, the others' in the same line.
pub async fn run(layout: &Layout, environment: &Environment) -> Result<(), Failure> {
    let Ok(job_id) = config::job::job_id(&|name| environment.get(name)) else {
        // Without a job nothing was started under its name.
        return Ok(());
    };
    let cleaned = clean(&JobFolder::of(layout, &job_id));
    if let Some(reason) = crate::watch::client::job_finished(layout, &job_id).await {
        eprintln!("watch: {reason}");
    }
    cleaned
}

/// Stops the job's ssh-agent and removes its folder.
///
/// # Errors
/// As [`run`].
pub fn clean(job: &JobFolder) -> Result<(), Failure> {
    let failures: Vec<Failure> =
        [ssh_agent::stop(job), job.remove()].into_iter().filter_map(Result::err).collect();
    let Some(first) = failures.first() else { return Ok(()) };
    let lines: Vec<&str> = failures.iter().map(|f| f.message.as_str()).collect();
    Err(Failure { code: first.code, message: lines.join("; ") })
}
