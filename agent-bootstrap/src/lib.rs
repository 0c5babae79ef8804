//! `agent-bootstrap`: the program on every instance. See `docs/agent-bootstrap.md`.

pub mod boot;
pub mod cli;
pub mod config;
pub mod disk;
pub mod doctor;
pub mod failure;
pub mod fix_permissions;
pub mod git_credential;
pub mod hooks;
pub mod job_scope;
pub mod layout;
pub mod logs;
pub mod registry;
pub mod secrets;
pub mod units;
pub mod watch;
