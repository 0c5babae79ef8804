//! An agent for the CI's agent API: takes jobs and runs them with hooks as the open-source agent does.
//!
//! # Layout
//! - [`agent`]: the long-lived side: registration, pings, heartbeats, one job at a time, log upload.
//! - [`bootstrap`]: the process of one job: hooks, checkout, command, redaction, cancel.
//! - [`tool`]: what a job reaches as `buildkite-agent` on its PATH.
//! - [`config`]: settings from file, environment and flags, read once.
//! - [`log`]: the pure parts of a job log: redaction and times.
//! - [`processes`]: finding and ending what a job left behind.

pub mod agent;
pub mod bootstrap;
pub mod config;
pub mod log;
pub mod processes;
pub mod tool;
pub mod vars;

/// What servers see as this agent's version; the API has features by version, and this one behaves like 3.137.
pub const VERSION: &str = concat!("3.137.0-tidemark.", env!("CARGO_PKG_VERSION"));

/// The name of this program in HTTP.
#[must_use]
pub fn user_agent() -> String {
    format!("build-agent/{VERSION} ({}; {})", std::env::consts::OS, go_arch())
}

/// The machine's architecture under the name that the API uses.
#[must_use]
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
