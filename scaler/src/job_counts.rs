//! Job counts, by the CI's metrics API.

use std::time::Duration;

use agent_api::client::ApiError;
use agent_api::metrics::{MetricsClient, QueueAnswer};
use aws::{Session, StoredTokenError};
use tokio::sync::Mutex;

use crate::config::{Config, TokenSource};
use crate::decide::Jobs;
use crate::ports::{Agents, Counts, JobCounts, Problem};

/// Longest wait for one answer: short enough for a second try within a tick.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Tries in all, for faults that may pass.
const TRIES: u32 = 2;

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
    /// Reads at the configured endpoint; the token is fetched with the first read.
    #[must_use]
    pub fn new(config: &Config, session: &Session) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            session: session.clone(),
            source: config.token.clone(),
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
        let mut tries = 1;
        loop {
            let (client, fresh) = self.client(queue).await?;
            match client.queue(queue).await {
                Ok(answer) => return Ok(counts(answer)),
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
