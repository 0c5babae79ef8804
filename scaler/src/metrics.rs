//! The counts as CloudWatch metrics, under the names that dashboards and alarms already use.

use std::time::{Duration, SystemTime};

use aws::cloudwatch::primitives::DateTime;
use aws::cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws::{CallError, Session, cloudwatch};
use jiff::Timestamp;

use crate::tick::{Counts, Metrics, Problem, Troubles};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Buildkite";

/// Publishes to CloudWatch.
#[derive(Debug, Clone)]
pub struct CloudWatchMetrics {
    client: cloudwatch::Client,
}

impl CloudWatchMetrics {
    /// Publishes in the session's region.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self { client: session.cloudwatch() }
    }
}

impl Metrics for CloudWatchMetrics {
    async fn publish(
        &self,
        queue: &str,
        counts: &Counts,
        troubles: Troubles,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let data = data(queue, counts, troubles, at);
        self.client
            .put_metric_data()
            .namespace(NAMESPACE)
            .set_metric_data(Some(data))
            .send()
            .await
            .map_err(|e| CallError::new(&e, "cloudwatch:PutMetricData", format!("namespace {NAMESPACE}")))?;
        Ok(())
    }
}

/// Names and values. Percentages and counts come from one answer of the CI, so they fit together.
fn values(counts: &Counts, troubles: Troubles) -> [(&'static str, f64, StandardUnit); 10] {
    let Counts { jobs, agents, .. } = counts;
    // Far below 2^53, where f64 still counts exactly.
    #[expect(clippy::cast_precision_loss, reason = "counts of jobs, agents and boots")]
    let count = |n: u64| n as f64;
    let busy = if agents.total == 0 { 0.0 } else { 100.0 * count(agents.busy) / count(agents.total) };
    [
        ("ScheduledJobsCount", count(jobs.scheduled), StandardUnit::Count),
        ("RunningJobsCount", count(jobs.running), StandardUnit::Count),
        ("WaitingJobsCount", count(jobs.waiting), StandardUnit::Count),
        ("UnfinishedJobsCount", count(counts.unfinished), StandardUnit::Count),
        ("IdleAgentCount", count(agents.idle), StandardUnit::Count),
        ("BusyAgentCount", count(agents.busy), StandardUnit::Count),
        ("TotalAgentCount", count(agents.total), StandardUnit::Count),
        ("BusyAgentPercentage", busy, StandardUnit::Percent),
        ("BootsFailing", count(troubles.boots_failing), StandardUnit::Count),
        ("CapacityShort", count(troubles.capacity_short), StandardUnit::Count),
    ]
}

/// Each metric twice: by `Queue`, and by `Org` and `Queue`, since two organizations may have a queue of one name.
fn data(queue: &str, counts: &Counts, troubles: Troubles, at: Timestamp) -> Vec<MetricDatum> {
    let by_queue = Dimension::builder().name("Queue").value(queue).build();
    let by_org = Dimension::builder().name("Org").value(&counts.organization).build();
    let when = u64::try_from(at.as_second()).unwrap_or(0);
    let when = DateTime::from(SystemTime::UNIX_EPOCH + Duration::from_secs(when));
    [vec![by_queue.clone()], vec![by_org, by_queue]]
        .into_iter()
        .flat_map(|dimensions| {
            values(counts, troubles).map(|(name, value, unit)| {
                MetricDatum::builder()
                    .metric_name(name)
                    .set_dimensions(Some(dimensions.clone()))
                    .timestamp(when)
                    .unit(unit)
                    .value(value)
                    .build()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Jobs;
    use crate::tick::Agents;

    #[test]
    fn every_name_under_both_dimension_sets() {
        let counts = Counts {
            organization: "acme".into(),
            jobs: Jobs { scheduled: 3, running: 2, waiting: 1 },
            unfinished: 6,
            agents: Agents { idle: 1, busy: 3, total: 4 },
            poll_after: None,
        };
        let lines: Vec<String> =
            data("default", &counts, Troubles { boots_failing: 4, capacity_short: 7 }, Timestamp::UNIX_EPOCH)
                .iter()
                .map(|d| {
                    let dimensions: Vec<String> = d
                        .dimensions()
                        .iter()
                        .map(|d| format!("{}={}", d.name().unwrap_or(""), d.value().unwrap_or("")))
                        .collect();
                    format!(
                        "{} {} {}",
                        dimensions.join(","),
                        d.metric_name().unwrap_or(""),
                        d.value().unwrap_or(-1.0)
                    )
                })
                .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn no_agents_are_zero_percent_busy() {
        let counts = Counts {
            organization: "acme".into(),
            jobs: Jobs::default(),
            unfinished: 0,
            agents: Agents::default(),
            poll_after: None,
        };
        assert!(values(&counts, Troubles::default()).iter().all(|(_, value, _)| *value == 0.0));
    }
}
