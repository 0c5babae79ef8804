//! Job counts of Buildkite, or of anything that speaks its agent API, from either of two sources.
//!
//! The metrics count jobs and agents, of one queue or of all with one call. The Stacks API lists the jobs that wait in a
//! queue, each with its age and what its agent must offer, and tells whether the queue is paused; it does not tell what
//! runs, so there both are read, at once ([`joined`]).

mod connection;
mod joined;
mod pause;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_api::client::ApiError;
use agent_api::metrics::{self, AllAnswer, AllMetrics, QueueAnswer, QueueMetrics};
use agent_api::stacks::{Extent, KEY_BYTES, PAGE_JOBS, ScheduledJobs, StackRequest};
use aws::Session;
use futures::StreamExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

pub use connection::{Clients, Connection};
pub use joined::joined;

use crate::config::{QueueConfig, TokenSource};
use crate::decide::Jobs;
use crate::ports::{Agents, Counts, JobCounts, Problem};
use crate::reading::Reading;

/// Queues that are asked about by themselves at a time.
const AT_A_TIME: usize = 8;

/// Ten thousand jobs are more than any group runs; how many more there are the metrics tell.
const EXTENT: Extent = Extent { page: PAGE_JOBS, pages: 10, within: Duration::from_secs(5) };

/// Which of the CI's APIs tells of the jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobSource {
    /// The metrics: counts.
    #[default]
    Metrics,
    /// The Stacks API, and the metrics for what it does not tell.
    Stacks,
}

impl JobSource {
    /// What settings may say.
    pub const FORM: &str = "metrics or stacks";

    /// As settings name it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "metrics" => Some(Self::Metrics),
            "stacks" => Some(Self::Stacks),
            _ => None,
        }
    }

    /// The name that [`JobSource::parse`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Stacks => "stacks",
        }
    }
}

/// Reads the counts of queues over one connection, which others may use too.
#[derive(Debug)]
pub struct BuildkiteJobCounts {
    connection: Arc<Connection>,
    /// Queues whose jobs are listed one by one.
    listed: BTreeMap<String, Listed>,
}

/// How the jobs of one queue are listed.
#[derive(Debug)]
struct Listed {
    /// What this scaler is registered as.
    stack: StackRequest,
    registered: AtomicBool,
    /// What the agents offer beside their queue, where that is known.
    agent_tags: Option<Vec<String>>,
}

impl BuildkiteJobCounts {
    /// Reads the metrics at this endpoint; the token is fetched with the first read.
    #[must_use]
    pub fn new(endpoint: &str, token: &TokenSource, session: &Session) -> Self {
        Self::over(Arc::new(Connection::new(endpoint, token, session)))
    }

    /// The same over a connection that is there already.
    #[must_use]
    pub fn over(connection: Arc<Connection>) -> Self {
        Self { connection, listed: BTreeMap::new() }
    }

    /// The same, with the jobs of this queue from the source that it names.
    #[must_use]
    pub fn with(mut self, queue: &QueueConfig) -> Self {
        if queue.job_source == JobSource::Stacks {
            let group = queue.groups.first().map_or("", String::as_str);
            let version = ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            let stack = StackRequest {
                key: stack_key(self.connection.region(), group),
                kind: "custom".to_owned(),
                queue_key: queue.queue.clone(),
                metadata: BTreeMap::from([("program".to_owned(), "tidemark scaler".to_owned()), version]),
            };
            let agent_tags = queue.agent_tags.clone();
            let listed = Listed { stack, registered: AtomicBool::new(false), agent_tags };
            self.listed.insert(queue.queue.clone(), listed);
        }
        self
    }

    /// How long the CI is asked nothing, since it wants that.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        self.connection.paused_for()
    }

    /// Reads the counts of these queues, of several with one call to the metrics. A queue that the answer does not list has
    /// no jobs, if those of the listed ones are all that there are; else it is asked about by itself.
    pub async fn read_each(&self, queues: &[&str]) -> Vec<Result<Counts, Problem>> {
        if let [queue] = queues {
            return vec![self.read(queue).await];
        }
        let at = Timestamp::now();
        let list = queues.iter().map(|queue| async {
            match self.listed.get(*queue) {
                Some(listed) => Some(self.list(queue, listed).await),
                None => None,
            }
        });
        let lists = futures::stream::iter(list).buffered(AT_A_TIME).collect::<Vec<_>>();
        let (counts, lists) = tokio::join!(self.count_each(queues, at), lists);
        let each = queues.iter().zip(counts.into_iter().zip(lists));
        let tags = |queue: &str| self.listed.get(queue).and_then(|listed| listed.agent_tags.as_deref());
        each.map(|(queue, (counts, list))| match list {
            Some(jobs) => Ok(joined::joined(queue, tags(queue), counts?, &jobs?)),
            None => counts,
        })
        .collect()
    }

    /// What the metrics tell of several queues.
    async fn count_each(&self, queues: &[&str], at: Timestamp) -> Vec<Result<Counts, Problem>> {
        let about = format!("job counts of queue {}", queues.join(", "));
        let all = self.connection.ask(&about, |clients| async move { clients.metrics.all().await });
        let answer = match all.await {
            Ok(answer) => answer,
            Err(problem) => return queues.iter().map(|_| Err(problem.clone())).collect(),
        };
        let each = queues.iter().map(|queue| async {
            match of_all(&answer, queue, at) {
                Some(counts) => Ok(counts),
                None => self.count(queue, at).await,
            }
        });
        futures::stream::iter(each).buffered(AT_A_TIME).collect().await
    }

    async fn count(&self, queue: &str, at: Timestamp) -> Result<Counts, Problem> {
        let about = format!("job counts of queue {queue}");
        let ask = |clients: Clients| async move { clients.metrics.queue(queue).await };
        self.connection.ask(&about, ask).await.map(|answer| counted(answer, at))
    }

    /// A stack has to be registered before it is told anything, and again where the CI forgot it.
    async fn list(&self, queue: &str, listed: &Listed) -> Result<ScheduledJobs, Problem> {
        let about = format!("scheduled jobs of queue {queue}");
        let Listed { stack, registered, .. } = listed;
        let ask = |Clients { stacks, .. }: Clients| async move {
            let known = registered.load(Ordering::Relaxed);
            if !known {
                stacks.register(stack).await?;
                registered.store(true, Ordering::Relaxed);
            }
            match stacks.scheduled_jobs(&stack.key, queue, EXTENT).await {
                Err(ApiError::Rejected { status: 404, .. }) if known => {
                    stacks.register(stack).await?;
                    stacks.scheduled_jobs(&stack.key, queue, EXTENT).await
                }
                answer => answer,
            }
        };
        self.connection.ask(&about, ask).await
    }
}

impl JobCounts for BuildkiteJobCounts {
    async fn read(&self, queue: &str) -> Result<Counts, Problem> {
        let at = Timestamp::now();
        let Some(listed) = self.listed.get(queue) else { return self.count(queue, at).await };
        let (counts, jobs) = tokio::join!(self.count(queue, at), self.list(queue, listed));
        Ok(joined::joined(queue, listed.agent_tags.as_deref(), counts?, &jobs?))
    }
}

/// What an answer about all queues says of one; none where it does not tell.
fn of_all(answer: &AllAnswer, queue: &str, at: Timestamp) -> Option<Counts> {
    let AllMetrics { jobs, agents, organization } = &answer.metrics;
    let listed = || jobs.queues.values().fold(0u64, |sum, jobs| sum.saturating_add(jobs.total));
    let jobs = match jobs.queues.get(queue) {
        Some(jobs) => *jobs,
        None if listed() == jobs.total.total => metrics::Jobs::default(),
        None => return None,
    };
    let agents = agents.queues.get(queue).copied().unwrap_or_default();
    let metrics = QueueMetrics { jobs, agents, organization: organization.clone() };
    Some(counted(QueueAnswer { metrics, as_of: answer.as_of, poll_after: answer.poll_after }, at))
}

/// What the metrics tell by themselves.
fn counted(answer: QueueAnswer, at: Timestamp) -> Counts {
    let QueueAnswer { metrics, as_of, poll_after } = answer;
    Counts {
        organization: metrics.organization.slug,
        jobs: Jobs {
            scheduled: metrics.jobs.scheduled,
            running: metrics.jobs.running,
            waiting: metrics.jobs.waiting,
        },
        unfinished: metrics.jobs.total,
        agents: Agents { idle: metrics.agents.idle, busy: metrics.agents.busy, total: metrics.agents.total },
        expected: 0,
        reading: Reading { at, as_of, complete: true },
        paused: None,
        runnable: None,
        unmatched: 0,
        poll_after,
    }
}

/// The same for each start of a scaler of this group: an organization may have few stacks.
fn stack_key(region: &str, group: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let name = format!("tidemark-{region}-{group}");
    let key: String = name.chars().map(plain).collect();
    if key == name && key.len() <= KEY_BYTES {
        return key;
    }
    // Cut short, or with other characters, it might be another group's.
    let digest = hex::encode(&Sha256::digest(name.as_bytes())[..8]);
    let kept: String = key.chars().take(KEY_BYTES - digest.len() - 1).collect();
    format!("{kept}-{digest}")
}

#[cfg(test)]
mod tests;
