//! Job counts, by the CI's metrics API.

use std::time::Duration;

use agent_api::metrics_client::{MetricsClient, MetricsError, QueueAnswer};
use aws::Session;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::config::{Config, TokenSource};
use crate::decide::Jobs;
use crate::tick::{Agents, Counts, JobCounts, Problem};
use crate::token;

/// Longest wait for one answer: short enough for a second try within a tick.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Tries in all, for faults that may pass.
const TRIES: u32 = 2;

/// Reads counts at Buildkite, or at anything that speaks its agent API.
#[derive(Debug)]
pub struct BuildkiteJobCounts {
    client: MetricsClient,
    session: Session,
    source: TokenSource,
    /// `None` before the first read and after a refusal: then it is fetched from its source again.
    token: Mutex<Option<SecretString>>,
}

impl BuildkiteJobCounts {
    /// Connects to the configured endpoint; the token is fetched with the first read.
    ///
    /// # Errors
    /// There is no TLS trust store.
    pub fn connect(config: &Config, session: &Session) -> Result<Self, Problem> {
        let client = MetricsClient::new(&config.endpoint, TIMEOUT)
            .map_err(|e| Problem::new(1, format!("HTTP client for {}: {e}", config.endpoint)))?;
        Ok(Self { client, session: session.clone(), source: config.token.clone(), token: Mutex::new(None) })
    }

    /// The kept token, or a fresh one; and whether it is fresh.
    async fn token(&self) -> Result<(SecretString, bool), Problem> {
        let mut kept = self.token.lock().await;
        if let Some(token) = &*kept {
            return Ok((token.clone(), false));
        }
        let token = token::fetch(&self.source, &self.session).await?;
        *kept = Some(token.clone());
        Ok((token, true))
    }

    async fn forget(&self) {
        *self.token.lock().await = None;
    }

    fn problem(&self, queue: &str, error: &MetricsError) -> Problem {
        let (code, todo) = match error {
            MetricsError::Refused { .. } => (77, "check the agent token"),
            MetricsError::Throttled => (75, "the next tick tries again"),
            MetricsError::Unreachable(_) | MetricsError::Garbage(_) => (69, "the next tick tries again"),
            MetricsError::Other { .. } => (1, "check BUILDKITE_AGENT_ENDPOINT and BUILDKITE_QUEUE"),
        };
        Problem::new(code, format!("job counts of queue {queue} from {}: {error}: {todo}", self.client.url()))
    }
}

impl JobCounts for BuildkiteJobCounts {
    async fn read(&self, queue: &str) -> Result<Counts, Problem> {
        let mut tries = 1;
        loop {
            let (token, fresh) = self.token().await?;
            match self.client.queue(&token, queue).await {
                Ok(answer) => return Ok(counts(answer)),
                // The token may have been rotated since it was fetched; one that is fresh is simply wrong, unless the
                // rotation came in between, which the next tick will see.
                Err(error @ MetricsError::Refused { .. }) => {
                    self.forget().await;
                    if fresh || tries == TRIES {
                        return Err(self.problem(queue, &error));
                    }
                }
                Err(MetricsError::Unreachable(_)) if tries < TRIES => {}
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
        poll_after,
    }
}
