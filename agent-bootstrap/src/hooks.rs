//! The job hooks. Stdout carries only shell-quoted exports and unsets; everything for people goes to stderr.
//!
//! # Layout
//! - [`environment`], [`pre_exit`]: the phases, step by step.
//! - [`exports`]: what is printed, quoted so that bash reads the exact bytes back.
//! - [`job_folder`]: the job's private folder and what it records.
//! - [`ssh_agent`], [`git_config`], [`redactor`]: what the environment hook sets up.
//! - [`builds`]: what containers left in the build folder.
//! - [`repository`]: is a pull request from a fork? Pure.
//! - [`scripts`]: the bash hooks that `boot` installs.

pub mod builds;
pub mod environment;
pub mod exports;
pub mod git_config;
pub mod job_folder;
pub mod pre_exit;
pub mod redactor;
pub mod repository;
pub mod scripts;
pub mod ssh_agent;

use std::io::Write as _;

pub use scripts::HOOK_SCRIPTS;
use zeroize::Zeroizing;

use crate::cli::Phase;
use crate::config::{self, Environment};
use crate::failure::Failure;
use crate::layout::Layout;
use exports::Change;

/// Runs one hook. Nothing is printed for the shell unless everything succeeded.
///
/// # Errors
/// Whatever must stop the job.
pub async fn run(layout: &Layout, phase: Phase) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let text = match phase {
        Phase::Environment => environment::run(layout, &environment).await?,
        Phase::PreCommand => pre_command(layout, &environment).await?,
        Phase::PreExit => {
            pre_exit::run(layout, &environment).await?;
            return Ok(());
        }
    };
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::failed(format!("hook: writing the exports to stdout: {error}")))
}

async fn pre_command(layout: &Layout, environment: &Environment) -> Result<Zeroizing<String>, Failure> {
    let lookup = |name: &str| environment.get(name);
    let job_id = config::job::job_id(&lookup).map_err(|fault| config::failure(&[fault]))?;
    let defaults = config::settings::read_file(&layout.hook_settings())?.unwrap_or_default();
    let layered = |name: &str| environment.get(name).or_else(|| defaults.get(name).cloned());
    let exports = crate::registry::pre_command(layout, &job_id, &layered).await?;
    let changes: Vec<Change> = exports.0.into_iter().map(|(name, value)| Change::set(name, value)).collect();
    Ok(exports::render(&changes))
}
