//! Whole jobs: the real agent, a real shell and git, and a small server in this process. Tests are named after the
//! rows of the compliance list for agents.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod agent;
mod checkout;
mod execution;
mod hooks;
mod rig;
mod server;
mod tools;
