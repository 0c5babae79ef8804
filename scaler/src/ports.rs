//! What a tick needs of the world: job counts, groups, metrics. Each port has one real adapter, and a contract suite
//! (`tests/contracts`) that fakes pass, too.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::brake::Seen;
use crate::decide::Jobs;
use crate::reading::Reading;
use crate::sharing::TaggedGroup;
use lifecycle::boots::Boot;

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

/// A job that waits for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnableJob {
    /// Since when.
    pub since: Timestamp,
    /// Higher is dispatched first.
    pub priority: i64,
}

/// What a CI answered of a queue. An answer that makes no sense is a [`Problem`], never zeros; one that is old or does not
/// cover the whole queue says so in `reading`.
///
/// Every source fills what it can. Buildkite and build-server: `metrics/queue` all but `paused` and `runnable`, the Stacks
/// API those too. GitHub Actions would list queued jobs of self-hosted labels (`created_at`, pages and rate limits as
/// `complete` and `poll_after`, no priority and no pause) and its self-hosted agents with their `busy`; GitLab pending jobs
/// by tag (`queued_duration`, keyset pages, no priority) and its agents with `paused`.
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
    /// Jobs that were announced and have not come ([`crate::hint`]).
    pub expected: u32,
    /// How fresh and how complete this is.
    pub reading: Reading,
    /// Does the CI give out no jobs of the queue for now? None where the source does not know.
    pub paused: Option<bool>,
    /// The scheduled jobs, one by one; none where the source only counts them.
    pub runnable: Option<Vec<RunnableJob>>,
    /// Scheduled jobs that no agent of this stack can run: not among `jobs`.
    pub unmatched: u64,
    /// How long the CI asks us to wait before the next read.
    pub poll_after: Option<Duration>,
}

impl Counts {
    /// For how long the oldest job that an agent could run has waited: zero where no job waits, none where the source
    /// does not know, or while the queue is paused, when no job can run.
    #[must_use]
    pub fn oldest_wait(&self, now: Timestamp) -> Option<SignedDuration> {
        let runnable = self.runnable.as_ref().filter(|_| self.paused != Some(true))?;
        let oldest = runnable.iter().map(|job| job.since).min();
        Some(oldest.map_or(SignedDuration::ZERO, |since| now.duration_since(since).max(SignedDuration::ZERO)))
    }
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

/// What is done with one Auto Scaling group.
pub trait Group {
    /// How its last boots ended, the last to end first.
    fn boots(&self) -> impl Future<Output = Result<Vec<Boot>, Problem>> + Send;
    /// Sets desired capacity.
    fn set_desired(&self, desired: u32) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Auto Scaling groups of this account and region, described many at a time.
pub trait Groups {
    /// All groups that are tagged with one of these queues, anybody's.
    fn tagged(&self, queues: &[String]) -> impl Future<Output = Result<Vec<TaggedGroup>, Problem>> + Send;
    /// Limits, desired capacity and instances of the groups with these names, in their order.
    fn named(&self, names: &[String]) -> impl Future<Output = Vec<Result<Seen, Problem>>> + Send;
}

/// What troubles the groups of a queue; nothing when all is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Boots in a row that failed, of the group that has most of them.
    pub boots_failing: u64,
    /// Instances that jobs need beyond what the groups may have, or can get.
    pub capacity_short: u64,
    /// Instances that boot for longer than they may.
    pub phantom_instances: u64,
}

/// What is published of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The queue.
    pub queue: String,
    /// Its counts.
    pub counts: Counts,
    /// What troubles its groups.
    pub troubles: Troubles,
    /// The longest tick since the last publication: from the question for jobs until capacity was set.
    pub decision: Duration,
    /// What its instances cost in an hour, where their prices are known.
    pub hourly_cost: Option<f64>,
    /// In alarms mode the gap of each group.
    pub gaps: Vec<(String, i64)>,
}

/// Where metrics go.
pub trait Metrics {
    /// Publishes what was seen of these queues at one time.
    fn publish(
        &self,
        queues: &[Publication],
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Problem>> + Send;
}
