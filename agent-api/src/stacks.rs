//! The Stacks API: who turns a queue's jobs into agents registers as a stack, and reads the queue's scheduled jobs one by
//! one. Only what a scaler needs of it: nothing here reserves or finishes a job.

mod client;

use std::collections::BTreeMap;

pub use client::{Extent, ScheduledJobs, StacksClient};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest key of a stack, in bytes.
pub const KEY_BYTES: usize = 80;

/// The most jobs of one page.
pub const PAGE_JOBS: u32 = 1000;

/// Body of `POST stacks/register`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRequest {
    /// Unique in the organization: letters, digits, `_` and `-`.
    pub key: String,
    /// `custom` for stacks that are not Buildkite's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// The queue that it means to serve.
    pub queue_key: String,
    /// For people.
    pub metadata: BTreeMap<String, String>,
}

/// Answer of `POST stacks/register`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its organization's id.
    #[serde(default)]
    pub organization_uuid: String,
    /// Its key.
    pub key: String,
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The queue that it means to serve.
    #[serde(default)]
    pub cluster_queue_key: Option<String>,
    /// For people.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it was last heard of.
    #[serde(default)]
    pub last_connected_on: Option<Timestamp>,
    /// `connected`, `disconnected`.
    #[serde(default)]
    pub state: String,
}

/// A job that waits for an agent. What decides has no default: an answer that lacks it tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledJob {
    /// Its id.
    pub id: String,
    /// Higher is dispatched first.
    pub priority: i64,
    /// What its agent must offer, `key=value` each.
    pub agent_query_rules: Vec<String>,
    /// Since when it waits.
    pub scheduled_at: Timestamp,
    /// Its pipeline.
    #[serde(default)]
    pub pipeline: JobPipeline,
    /// Its build.
    #[serde(default)]
    pub build: JobBuild,
    /// Its step.
    #[serde(default)]
    pub step: JobStep,
}

/// A job's pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPipeline {
    /// Its short name.
    #[serde(default)]
    pub slug: Option<String>,
    /// Its id.
    #[serde(default)]
    pub uuid: Option<String>,
}

/// A job's build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBuild {
    /// Its number in the pipeline.
    #[serde(default)]
    pub number: Option<i64>,
    /// What it builds.
    #[serde(default)]
    pub branch: Option<String>,
    /// Its id.
    #[serde(default)]
    pub uuid: Option<String>,
}

/// A job's step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    /// Its key, where it has one.
    #[serde(default)]
    pub key: Option<String>,
}

/// The queue of a page. Buildkite's documentation and its own client name the pause differently: either will do, and
/// where both are there they must say the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterQueue {
    /// Its id.
    #[serde(default)]
    pub id: Option<String>,
    /// Are its jobs given to nobody for now?
    #[serde(default)]
    pub paused: Option<bool>,
    /// The same.
    #[serde(default)]
    pub dispatch_paused: Option<bool>,
}

impl ClusterQueue {
    /// A queue that is told under both names.
    #[must_use]
    pub fn new(id: String, paused: bool) -> Self {
        Self { id: Some(id), paused: Some(paused), dispatch_paused: Some(paused) }
    }

    /// Is it paused? `None` where that is not told, or contradicted.
    #[must_use]
    pub fn is_paused(&self) -> Option<bool> {
        match (self.paused, self.dispatch_paused) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => one.or(other),
        }
    }
}

/// Is there more?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInfo {
    /// Jobs beyond this page.
    pub has_next_page: bool,
    /// Where the next page begins.
    #[serde(default)]
    pub end_cursor: Option<String>,
}

/// Answer of `GET stacks/:key/scheduled-jobs`: one page, the oldest jobs first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledJobsPage {
    /// Its jobs.
    pub jobs: Vec<ScheduledJob>,
    /// Their queue.
    pub cluster_queue: ClusterQueue,
    /// Is there more?
    pub page_info: PageInfo,
}
