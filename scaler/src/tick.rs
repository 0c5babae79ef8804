//! One tick: observe jobs and group, decide, apply, publish, and say why.

pub mod fake_group;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::{Capacity, Jobs, Plan, Policy, Step, decide};

/// Agents of the queue that are connected to the CI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agents {
    /// Without a job.
    pub idle: u64,
    /// With a job.
    pub busy: u64,
    /// Both.
    pub total: u64,
}

/// A complete answer of the CI: a partial one is a [`Problem`], never zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Whose queue it is; a dimension of the metrics.
    pub organization: String,
    /// Jobs by state.
    pub jobs: Jobs,
    /// Jobs of all states.
    pub unfinished: u64,
    /// Connected agents.
    pub agents: Agents,
    /// How long the CI asks us to wait before the next read.
    pub poll_after: Option<Duration>,
}

/// A step of a tick that failed: one line for people, and the exit code it means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Exit code (ARCHITECTURE rule 5).
    pub code: u8,
    /// Step, object and what to do next.
    pub message: String,
}

impl Problem {
    /// A problem with its exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<aws::CallError> for Problem {
    fn from(error: aws::CallError) -> Self {
        Self { code: error.fault.exit_code(), message: error.to_string() }
    }
}

/// Where job counts come from.
pub trait JobCounts {
    /// Reads the counts of one queue.
    fn read(&self, queue: &str) -> impl Future<Output = Result<Counts, Problem>> + Send;
}

/// The Auto Scaling group.
pub trait Group {
    /// Limits, desired capacity and instances.
    fn describe(&self) -> impl Future<Output = Result<Capacity, Problem>> + Send;
    /// Sets desired capacity.
    fn set_desired(&self, desired: u32) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Where metrics go.
pub trait Metrics {
    /// Publishes the counts of one queue at one time.
    fn publish(
        &self,
        queue: &str,
        counts: &Counts,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// What one tick is asked to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The queue whose jobs count.
    pub queue: String,
    /// The group's name, for the record.
    pub group: String,
    /// The owner's wishes.
    pub policy: Policy,
    /// Decide and say, but change and publish nothing.
    pub dry_run: bool,
    /// Publish metrics in this tick.
    pub publish: bool,
}

/// The record of one tick: what was seen, what was decided and why, what became of it. One JSON line each.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When the tick began.
    pub at: Timestamp,
    /// The queue.
    pub queue: String,
    /// The group.
    pub group: String,
    /// Nothing was changed because nothing was to be changed.
    pub dry_run: bool,
    /// Jobs, when the CI answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
    /// Agents, when the CI answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Agents>,
    /// The group, when AWS answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// Instances that jobs and buffer ask for, before the group's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<u32>,
    /// What was decided; absent when something was unknown, which changes nothing.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Why, for people.
    pub reason: String,
    /// Were metrics published?
    pub published: bool,
    /// Everything that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Outcome of a tick: its record, what failed, and what the CI asked for.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// For the decision log.
    pub record: Record,
    /// Empty when all went well.
    pub problems: Vec<Problem>,
    /// How long the CI asks us to wait.
    pub poll_after: Option<Duration>,
}

/// Runs one tick. An unknown (jobs or group) means no step at all; a failed publication does not stop the step.
pub async fn tick<J: JobCounts, G: Group, M: Metrics>(
    order: &Order,
    jobs: &J,
    group: &G,
    metrics: &M,
    at: Timestamp,
) -> Outcome {
    let (counts, capacity) = tokio::join!(jobs.read(&order.queue), group.describe());
    let mut problems = Vec::new();
    let plan = match (&counts, &capacity) {
        (Ok(counts), Ok(capacity)) => Some(decide(&order.policy, &counts.jobs, capacity)),
        _ => None,
    };
    let counts = counts.map_err(|p| problems.push(p)).ok();
    let capacity = capacity.map_err(|p| problems.push(p)).ok();

    if let Some(target) = plan.and_then(|plan| plan.target()).filter(|_| !order.dry_run)
        && let Err(problem) = group.set_desired(target).await
    {
        problems.push(problem);
    }
    let mut published = false;
    if let Some(counts) = counts.as_ref().filter(|_| order.publish && !order.dry_run) {
        match metrics.publish(&order.queue, counts, at).await {
            Ok(()) => published = true,
            Err(problem) => problems.push(problem),
        }
    }
    let record = Record {
        at,
        queue: order.queue.clone(),
        group: order.group.clone(),
        dry_run: order.dry_run,
        jobs: counts.as_ref().map(|c| c.jobs),
        agents: counts.as_ref().map(|c| c.agents),
        capacity,
        needed: plan.map(|p| p.needed),
        step: plan.map(|p| p.step),
        reason: reason(plan.as_ref()),
        published,
        problems: problems.iter().map(ToString::to_string).collect(),
    };
    Outcome { record, problems, poll_after: counts.and_then(|c| c.poll_after) }
}

fn reason(plan: Option<&Plan>) -> String {
    plan.map_or_else(|| "unknown is not zero: nothing is changed".to_owned(), |plan| plan.reason.to_string())
}

#[cfg(test)]
mod tests;
