//! `GET metrics` and `GET metrics/queue?name=…`: how many jobs and agents there are.

mod client;

use std::collections::BTreeMap;

pub use client::{AllAnswer, MetricsClient, QueueAnswer};
use serde::{Deserialize, Serialize};

/// Answer header: whole seconds that a client waits at least before it asks again.
pub const POLL_DURATION_HEADER: &str = "Buildkite-Agent-Metrics-Poll-Duration";

/// Jobs of an organization or a queue, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// Ready to run, no agent yet.
    pub scheduled: u64,
    /// Assigned or running.
    pub running: u64,
    /// Behind a wait step or a dependency.
    pub waiting: u64,
    /// All three.
    pub total: u64,
}

/// Connected agents of an organization or a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agents {
    /// Without a job.
    pub idle: u64,
    /// With a job.
    pub busy: u64,
    /// Both.
    pub total: u64,
}

/// Whose counts these are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Never empty in a good answer.
    pub slug: String,
}

/// Counts of one queue, the answer of `metrics/queue`. No field has a default: an answer that lacks one tells
/// nothing, and nothing is not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMetrics {
    /// Connected agents.
    pub agents: Agents,
    /// Jobs by state.
    pub jobs: Jobs,
    /// Whose they are.
    pub organization: Organization,
}

/// Totals and the same by queue, in one object as `metrics` answers them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByQueue<T> {
    /// All queues together.
    #[serde(flatten)]
    pub total: T,
    /// Each queue by its name.
    pub queues: BTreeMap<String, T>,
}

/// Answer of `metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllMetrics {
    /// Connected agents.
    pub agents: ByQueue<Agents>,
    /// Jobs by state.
    pub jobs: ByQueue<Jobs>,
    /// Whose they are.
    pub organization: Organization,
}
