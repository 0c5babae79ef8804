//! Job counts, by the CI's metrics API.

use std::time::Duration;

use agent_api::client::ApiError;
use agent_api::metrics::{self, AllAnswer, AllMetrics, MetricsClient, QueueAnswer, QueueMetrics};
use aws::{Session, StoredTokenError};
use futures::StreamExt as _;
use tokio::sync::Mutex;

use crate::config::TokenSource;
use crate::decide::Jobs;
use crate::ports::{Agents, Counts, JobCounts, Problem};

/// Longest wait for one answer: short enough for a second try within a tick.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Tries in all, for faults that may pass.
const TRIES: u32 = 2;

/// Queues that are asked about by themselves at a time.
const AT_A_TIME: usize = 8;

/// Reads counts at Buildkite, or at anything that speaks its agent API.
#[derive(Debug)]
pub struct BuildkiteJobCounts {
    endpoint: String,
    session: Session,
    source: TokenSource,
    /// `None` before the first read and after a refusal: then the token is fetched from its source again.
    client: Mutex<Option<MetricsClient>>,
}

impl BuildkiteJobCounts {
    /// Reads at this endpoint; the token is fetched with the first read.
    #[must_use]
    pub fn new(endpoint: &str, token: &TokenSource, session: &Session) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            session: session.clone(),
            source: token.clone(),
            client: Mutex::new(None),
        }
    }

    /// A client with the kept token, or with a fresh one; and whether it is fresh.
    async fn client(&self, queue: &str) -> Result<(MetricsClient, bool), Problem> {
        let mut kept = self.client.lock().await;
        if let Some(client) = &*kept {
            return Ok((client.clone(), false));
        }
        let token = match &self.source {
            TokenSource::Given(token) => token.clone(),
            TokenSource::Stored(stored) => stored.fetch(&self.session).await?,
        };
        let client =
            MetricsClient::new(&self.endpoint, token, TIMEOUT).map_err(|e| self.problem(queue, &e))?;
        *kept = Some(client.clone());
        Ok((client, true))
    }

    fn problem(&self, queue: &str, error: &ApiError) -> Problem {
        let (code, todo) = match error {
            ApiError::Unauthorized { .. } => (77, "check the agent token"),
            ApiError::Throttled { .. } => (75, "the next tick tries again"),
            ApiError::Server { .. }
            | ApiError::Timeout { .. }
            | ApiError::Unreachable { .. }
            | ApiError::Garbage { .. } => (69, "the next tick tries again"),
            ApiError::Rejected { .. } => (1, "check BUILDKITE_AGENT_ENDPOINT and BUILDKITE_QUEUE"),
            ApiError::Request { .. } => (78, "check BUILDKITE_AGENT_ENDPOINT"),
        };
        Problem::new(code, format!("job counts of queue {queue} from {}: {error}: {todo}", self.endpoint))
    }

    /// The answer to a question about `queue`, with a second try where that may help.
    async fn ask<T, A: Future<Output = Result<T, ApiError>>>(
        &self,
        queue: &str,
        question: impl Fn(MetricsClient) -> A,
    ) -> Result<T, Problem> {
        let mut tries = 1;
        loop {
            let (client, fresh) = self.client(queue).await?;
            match question(client).await {
                Ok(answer) => return Ok(answer),
                // The token may have been rotated since it was fetched; one that is fresh is simply wrong.
                Err(error @ ApiError::Unauthorized { .. }) => {
                    *self.client.lock().await = None;
                    if fresh || tries == TRIES {
                        return Err(self.problem(queue, &error));
                    }
                }
                Err(ApiError::Server { .. } | ApiError::Timeout { .. } | ApiError::Unreachable { .. })
                    if tries < TRIES => {}
                Err(error) => return Err(self.problem(queue, &error)),
            }
            tries += 1;
        }
    }

    /// Reads the counts of these queues, of several with one call. A queue that the answer does not list has no jobs, if
    /// those of the listed ones are all that there are; else it is asked about by itself.
    pub async fn read_each(&self, queues: &[&str]) -> Vec<Result<Counts, Problem>> {
        if let [queue] = queues {
            return vec![self.read(queue).await];
        }
        let named = queues.join(", ");
        let answer = match self.ask(&named, |client| async move { client.all().await }).await {
            Ok(answer) => answer,
            Err(problem) => return queues.iter().map(|_| Err(problem.clone())).collect(),
        };
        let each = queues.iter().map(|queue| async {
            match of_all(&answer, queue) {
                Some(counts) => Ok(counts),
                None => self.read(queue).await,
            }
        });
        futures::stream::iter(each).buffered(AT_A_TIME).collect().await
    }
}

impl From<StoredTokenError> for Problem {
    fn from(error: StoredTokenError) -> Self {
        match error {
            StoredTokenError::Call(error) => error.into(),
            StoredTokenError::NoToken { .. } => Self::new(78, format!("agent token: {error}")),
        }
    }
}

impl JobCounts for BuildkiteJobCounts {
    async fn read(&self, queue: &str) -> Result<Counts, Problem> {
        self.ask(queue, |client| async move { client.queue(queue).await }).await.map(counts)
    }
}

/// What an answer about all queues says of one; none where it does not tell.
fn of_all(answer: &AllAnswer, queue: &str) -> Option<Counts> {
    let AllMetrics { jobs, agents, organization } = &answer.metrics;
    let listed = || jobs.queues.values().fold(0u64, |sum, jobs| sum.saturating_add(jobs.total));
    let jobs = match jobs.queues.get(queue) {
        Some(jobs) => *jobs,
        None if listed() == jobs.total.total => metrics::Jobs::default(),
        None => return None,
    };
    let agents = agents.queues.get(queue).copied().unwrap_or_default();
    let metrics = QueueMetrics { jobs, agents, organization: organization.clone() };
    Some(counts(QueueAnswer { metrics, poll_after: answer.poll_after }))
}

fn counts(answer: QueueAnswer) -> Counts {
    let QueueAnswer { metrics, poll_after } = answer;
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
        poll_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(total: u64) -> AllAnswer {
        let text = format!(
            r#"{{"agents":{{"idle":1,"busy":2,"total":3,"queues":{{"linux":{{"idle":1,"busy":2,"total":3}}}}}},
            "jobs":{{"scheduled":1,"running":2,"waiting":4,"total":{total},
            "queues":{{"linux":{{"scheduled":1,"running":2,"waiting":0,"total":3}},
            "mac":{{"scheduled":0,"running":0,"waiting":4,"total":4}}}}}},"organization":{{"slug":"acme"}}}}"#
        );
        AllAnswer { metrics: serde_json::from_str(&text).unwrap(), poll_after: Some(Duration::from_secs(9)) }
    }

    #[test]
    fn a_queue_that_is_not_listed_has_no_jobs_only_if_the_others_have_them_all() {
        let told = |total, queue| of_all(&answer(total), queue);
        let linux = told(7, "linux").unwrap();
        assert_eq!((linux.jobs.scheduled, linux.jobs.running, linux.unfinished), (1, 2, 3));
        assert_eq!(
            (linux.agents.busy, linux.organization.as_str(), linux.poll_after),
            (2, "acme", Some(Duration::from_secs(9)))
        );
        let mac = told(7, "mac").unwrap();
        assert_eq!((mac.jobs.waiting, mac.agents), (4, Agents::default()));
        assert_eq!(told(7, "gone").unwrap().unfinished, 0);
        assert_eq!(told(8, "gone"), None, "an eighth job is somewhere");
        assert_eq!(told(8, "linux"), Some(linux), "what is listed is told");
    }
}
