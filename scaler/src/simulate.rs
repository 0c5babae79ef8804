//! `scaler simulate`: policies on a virtual clock, over a trace of jobs. Pure but for [`command`], [`trace::command`] and
//! [`history::fetch`].
//!
//! The shipped planner runs here as it runs in the stack; the group and the machines are a model ([`world`]) with AWS's
//! rules: launches take time and vary, protected instances stay, EC2 may have nothing or take back what it gave.

pub mod alarms;
pub mod bound;
pub mod chart;
pub mod command;
pub mod generate;
pub mod history;
pub mod policies;
pub mod report;
pub mod rules;
pub mod sweep;
pub mod trace;
pub mod world;
