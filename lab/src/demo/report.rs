//! What the demo leaves behind: `report.json`, who did what when.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole report.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seconds from the first queued job to the group's return to zero.
    pub elapsed_s: f64,
    /// What the jobs ran on: processes, or containers of which AMI.
    pub instances: String,
    /// Every job, in the order of its queueing.
    pub jobs: Vec<JobLine>,
    /// The group over time: one line for each change.
    pub capacity: Vec<CapacityLine>,
    /// What CloudWatch in the lab holds.
    pub metrics: Vec<MetricLine>,
    /// Calls by action and caller.
    pub aws_calls: Vec<CallLine>,
    /// Allows of the template's policies that nothing used.
    pub unused_allows: Vec<String>,
}

/// One job.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JobLine {
    /// The job's id.
    pub id: String,
    /// Its pipeline's slug.
    pub pipeline: String,
    /// Its queue.
    pub queue: String,
    /// The instance that ran it.
    pub instance: String,
    /// The agent that ran it.
    pub agent: String,
    /// Seconds from queued to started.
    pub wait_s: f64,
    /// Seconds from started to finished.
    pub run_s: f64,
    /// The job's exit status.
    pub exit_status: String,
}

/// The group from one moment on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityLine {
    /// Seconds since the first job was queued.
    pub t_s: f64,
    /// Desired capacity.
    pub desired: u32,
    /// Instances in service.
    pub in_service: u32,
    /// Why it changed.
    pub reason: String,
}

/// One metric that CloudWatch holds.
#[derive(Debug, Clone, Serialize)]
pub struct MetricLine {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// How many data points.
    pub samples: f64,
    /// The highest of them.
    pub maximum: f64,
}

/// How often somebody called something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CallLine {
    /// For example `s3:GetObject`.
    pub action: String,
    /// Role or user.
    pub caller: String,
    /// Calls.
    pub count: u64,
    /// Those that were denied.
    pub denied: u64,
}
