//! The counts as CloudWatch metrics, under the names that dashboards and alarms already use.

use std::time::{Duration, SystemTime};

use aws::cloudwatch::primitives::DateTime;
use aws::cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws::{CallError, Session, cloudwatch};
use jiff::Timestamp;

use crate::gap::void_from;
use crate::ports::{Counts, Metrics, Problem, Publication, Troubles};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Buildkite";

/// Data in one call: of the 1,000 that AWS takes and the 1 MB, which their names may fill sooner.
const MOST_DATA: usize = 500;

/// Publishes to CloudWatch.
#[derive(Debug, Clone)]
pub struct CloudWatchMetrics {
    client: cloudwatch::Client,
    every: Duration,
}

impl CloudWatchMetrics {
    /// Publishes in the session's region, so far apart: what a gap says is void at the end of the next period.
    #[must_use]
    pub fn new(session: &Session, every: Duration) -> Self {
        Self { client: session.cloudwatch(), every }
    }

    fn of_queue(&self, told: &Publication, at: Timestamp) -> Vec<MetricDatum> {
        let mut data = data(&told.queue, &told.counts, told.troubles, at);
        data.extend(of_scaler(told, at));
        data.extend(told.gaps.iter().flat_map(|(group, gap)| gap_of(group, *gap, at, self.every)));
        data
    }
}

impl Metrics for CloudWatchMetrics {
    async fn publish(&self, queues: &[Publication], at: Timestamp) -> Result<(), Problem> {
        let data: Vec<MetricDatum> = queues.iter().flat_map(|queue| self.of_queue(queue, at)).collect();
        for data in data.chunks(MOST_DATA) {
            let call =
                self.client.put_metric_data().namespace(NAMESPACE).set_metric_data(Some(data.to_vec()));
            let namespace = || format!("namespace {NAMESPACE}");
            call.send().await.map_err(|e| CallError::new(&e, "cloudwatch:PutMetricData", namespace()))?;
        }
        Ok(())
    }
}

/// Names and values. Percentages and counts come from one answer of the CI, so they fit together.
fn values(counts: &Counts, troubles: Troubles) -> [(&'static str, f64, StandardUnit); 11] {
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
        ("PhantomInstances", count(troubles.phantom_instances), StandardUnit::Count),
    ]
}

/// What the scaler knows of itself and its instances, each once.
fn of_scaler(told: &Publication, at: Timestamp) -> impl Iterator<Item = MetricDatum> {
    let one = move |name: &str, value: f64, unit: StandardUnit| {
        let by_queue = Dimension::builder().name("Queue").value(&told.queue).build();
        let datum = MetricDatum::builder().metric_name(name).dimensions(by_queue);
        datum.timestamp(time(at)).unit(unit).value(value).build()
    };
    let latency = one("DecisionLatency", told.decision.as_secs_f64() * 1e3, StandardUnit::Milliseconds);
    let cost = told.hourly_cost.map(|cost| one("EstimatedHourlyCost", cost, StandardUnit::None));
    std::iter::once(latency).chain(cost)
}

/// Each metric twice: by `Queue`, and by `Org` and `Queue`, since two organizations may have a queue of one name. But for
/// the oldest job's wait, which is there only where the source knows it, and once.
fn data(queue: &str, counts: &Counts, troubles: Troubles, at: Timestamp) -> Vec<MetricDatum> {
    let wait = counts.oldest_wait(at).map(|wait| {
        let wait = MetricDatum::builder().metric_name("OldestJobWaitSeconds").value(wait.as_secs_f64());
        let by_queue = Dimension::builder().name("Queue").value(queue).build();
        wait.dimensions(by_queue).timestamp(time(at)).unit(StandardUnit::Seconds).build()
    });
    let by_queue = Dimension::builder().name("Queue").value(queue).build();
    let by_org = Dimension::builder().name("Org").value(&counts.organization).build();
    let when = time(at);
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
        .chain(wait)
        .collect()
}

fn time(at: Timestamp) -> DateTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    DateTime::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A group's gap, and a zero at the time from which on no alarm shall act on it: where newer datapoints fail to come,
/// CloudWatch takes older ones.
fn gap_of(group: &str, gap: i64, at: Timestamp, every: Duration) -> Vec<MetricDatum> {
    let one = |value: f64, at: Timestamp| {
        MetricDatum::builder()
            .metric_name("CapacityGap")
            .dimensions(Dimension::builder().name("AutoScalingGroupName").value(group).build())
            .timestamp(time(at))
            .unit(StandardUnit::Count)
            .value(value)
            .build()
    };
    // Far below 2^53, where f64 still counts exactly.
    #[expect(clippy::cast_precision_loss, reason = "a count of instances")]
    let now = one(gap as f64, at);
    let over = (gap != 0).then(|| void_from(at, every));
    std::iter::once(now).chain(over.map(|over| one(0.0, over))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Jobs;
    use crate::ports::{Agents, RunnableJob};
    use crate::reading::Reading;

    #[test]
    fn a_publication_has_the_scalers_latency_and_what_is_known_of_the_price() {
        let of = |hourly_cost| {
            let told = Publication {
                queue: "linux".into(),
                counts: none(),
                troubles: Troubles::default(),
                decision: Duration::from_micros(41_500),
                hourly_cost,
                gaps: Vec::new(),
            };
            let name = |d: MetricDatum| {
                (
                    d.metric_name().unwrap_or("").to_owned(),
                    d.value().unwrap_or(f64::NAN),
                    d.dimensions().len(),
                )
            };
            of_scaler(&told, Timestamp::UNIX_EPOCH).map(name).collect::<Vec<_>>()
        };
        let latency = ("DecisionLatency".to_owned(), 41.5, 1);
        let cost = ("EstimatedHourlyCost".to_owned(), 1.04, 1);
        assert_eq!(of(Some(1.04)), [latency.clone(), cost]);
        assert_eq!(of(None), std::slice::from_ref(&latency));
    }

    #[test]
    fn every_name_under_both_dimension_sets() {
        let counts = Counts {
            jobs: Jobs { scheduled: 3, running: 2, waiting: 1 },
            unfinished: 6,
            agents: Agents { idle: 1, busy: 3, total: 4 },
            ..none()
        };
        let lines: Vec<String> = data(
            "default",
            &counts,
            Troubles { boots_failing: 4, capacity_short: 7, phantom_instances: 2 },
            Timestamp::UNIX_EPOCH,
        )
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
    fn the_oldest_jobs_wait_is_there_where_it_is_known() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let job = |since| RunnableJob { since: second(since), priority: 0 };
        let wait = |paused, runnable: Option<&[i64]>| {
            let runnable = runnable.map(|jobs| jobs.iter().copied().map(job).collect());
            let data = data("q", &Counts { paused, runnable, ..none() }, Troubles::default(), second(100));
            let of = |d: &&MetricDatum| d.metric_name() == Some("OldestJobWaitSeconds");
            data.iter().find(of).map(|d| (d.dimensions().len(), d.value().unwrap_or(f64::NAN)))
        };
        assert_eq!(wait(Some(false), Some(&[97, 40, 99])), Some((1, 60.0)));
        assert_eq!(wait(None, Some(&[])), Some((1, 0.0)), "nobody waits");
        assert_eq!(wait(None, Some(&[103])), Some((1, 0.0)), "the CI's clock is ahead");
        assert_eq!(wait(Some(false), None), None, "unknown is not zero");
        assert_eq!(wait(Some(true), Some(&[40])), None, "no job of a paused queue can run");
    }

    fn none() -> Counts {
        Counts {
            organization: "acme".into(),
            jobs: Jobs::default(),
            unfinished: 0,
            agents: Agents::default(),
            expected: 0,
            reading: Reading::at(Timestamp::UNIX_EPOCH),
            paused: None,
            runnable: None,
            unmatched: 0,
            poll_after: None,
        }
    }

    #[test]
    fn a_gap_is_followed_by_a_zero_that_voids_it() {
        let of = |gap| {
            let data = gap_of("ci-instances", gap, Timestamp::UNIX_EPOCH, Duration::from_secs(60));
            let one =
                |d: &MetricDatum| (d.timestamp().map_or(-1, DateTime::secs), d.value().unwrap_or(f64::NAN));
            data.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(of(-2), [(0, -2.0), (119, 0.0)]);
        assert_eq!(of(5), [(0, 5.0), (119, 0.0)]);
        assert_eq!(of(0), [(0, 0.0)]);
    }

    #[test]
    fn no_agents_are_zero_percent_busy() {
        assert!(values(&none(), Troubles::default()).iter().all(|(_, value, _)| *value == 0.0));
    }
}
