//! One endpoint under one token, for as many queues as use it.

use std::future::Future;
use std::time::{Duration, Instant};

use agent_api::client::ApiError;
use agent_api::metrics::MetricsClient;
use agent_api::stacks::StacksClient;
use aws::{Session, StoredTokenError};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::pause::Pause;
use crate::config::TokenSource;
use crate::explain::tell::clock;
use crate::ports::Problem;

/// Longest wait for one answer: short enough for a second try within a tick.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Tries in all, for faults that may pass.
const TRIES: u32 = 2;

/// A CI's API, asked with a token that is fetched with the first question, and again when it is refused.
#[derive(Debug)]
pub struct Connection {
    endpoint: String,
    session: Session,
    token: TokenSource,
    kept: Mutex<Kept>,
    pause: Pause,
}

#[derive(Debug, Default)]
struct Kept {
    /// Counts the tokens that were fetched.
    fetched: u64,
    clients: Option<Clients>,
}

/// The clients of one token.
#[derive(Debug, Clone)]
pub struct Clients {
    /// For counts.
    pub metrics: MetricsClient,
    /// For jobs one by one.
    pub stacks: StacksClient,
}

impl Connection {
    /// Asks below `endpoint`; nothing is asked yet.
    #[must_use]
    pub fn new(endpoint: &str, token: &TokenSource, session: &Session) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            session: session.clone(),
            token: token.clone(),
            kept: Mutex::default(),
            pause: Pause::default(),
        }
    }

    /// How long nothing is asked from now on, because the CI wants it so.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        self.pause.left(Instant::now())
    }

    /// The region of the session, which names this scaler among others.
    #[must_use]
    pub fn region(&self) -> &str {
        self.session.region()
    }

    /// Asks, once more where that may help: a fault that passes, or a token that was rotated since it was fetched. As long
    /// as the CI wants a pause, nothing is asked.
    ///
    /// # Errors
    /// Every failure, as what was asked `about`.
    pub async fn ask<T, A, F>(&self, about: &str, ask: A) -> Result<T, Problem>
    where
        A: Fn(Clients) -> F + Send + Sync,
        F: Future<Output = Result<T, ApiError>> + Send,
        T: Send,
    {
        let mut tries = 1;
        loop {
            if let Some(left) = self.paused_for() {
                return Err(self.not_asked(about, left));
            }
            let (clients, fetched, fresh) = self.clients(about).await?;
            let error = match ask(clients).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Some(asked) = error.retry_after() {
                self.pause.begin(asked, Instant::now());
            }
            let again = match &error {
                ApiError::Unauthorized { .. } => {
                    self.refused(fetched).await;
                    // One that is fresh is simply wrong.
                    !fresh
                }
                ApiError::Server { .. } | ApiError::Timeout { .. } | ApiError::Unreachable { .. } => true,
                _ => false,
            };
            if !again || tries == TRIES || self.paused_for().is_some() {
                return Err(self.problem(about, &error));
            }
            tries += 1;
        }
    }

    /// Clients with the kept token, or with a fresh one; which it is, and whether it is fresh.
    async fn clients(&self, about: &str) -> Result<(Clients, u64, bool), Problem> {
        let mut kept = self.kept.lock().await;
        if let Some(clients) = &kept.clients {
            return Ok((clients.clone(), kept.fetched, false));
        }
        let token = match &self.token {
            TokenSource::Given(token) => token.clone(),
            TokenSource::Stored(stored) => stored.fetch(&self.session).await?,
        };
        let problem = |error| self.problem(about, &error);
        let clients = Clients {
            metrics: MetricsClient::new(&self.endpoint, token.clone(), TIMEOUT).map_err(problem)?,
            stacks: StacksClient::new(&self.endpoint, token, TIMEOUT).map_err(problem)?,
        };
        kept.fetched += 1;
        kept.clients = Some(clients.clone());
        Ok((clients, kept.fetched, true))
    }

    /// Drops that token, unless somebody has fetched a newer one meanwhile.
    async fn refused(&self, fetched: u64) {
        let mut kept = self.kept.lock().await;
        if kept.fetched == fetched {
            kept.clients = None;
        }
    }

    /// Somebody has asked before, and was told to wait.
    fn not_asked(&self, about: &str, left: Duration) -> Problem {
        let until = end_of(left);
        let endpoint = &self.endpoint;
        Problem::new(
            75,
            format!("{about} from {endpoint}: not asked: the CI wants no question before {until}"),
        )
    }

    fn problem(&self, about: &str, error: &ApiError) -> Problem {
        let later = self.paused_for().map(|left| format!("no question before {}, as it wants", end_of(left)));
        let (code, todo) = match error {
            ApiError::Unauthorized { .. } => (77, "check the agent token"),
            ApiError::Throttled { .. } => (75, "the next tick tries again"),
            ApiError::Server { .. }
            | ApiError::Timeout { .. }
            | ApiError::Unreachable { .. }
            | ApiError::Garbage { .. } => (69, "the next tick tries again"),
            ApiError::Rejected { .. } => {
                (1, "check BUILDKITE_AGENT_ENDPOINT, BUILDKITE_QUEUE and JOB_SOURCE")
            }
            ApiError::Request { .. } => (78, "check BUILDKITE_AGENT_ENDPOINT"),
        };
        let todo = later.as_deref().unwrap_or(todo);
        Problem::new(code, format!("{about} from {}: {error}: {todo}", self.endpoint))
    }
}

/// The time of day at which a pause ends, as far as can be told now.
fn end_of(pause: Duration) -> String {
    let end = Timestamp::now().saturating_add(pause).unwrap_or(Timestamp::MAX);
    format!("{} (UTC)", clock(end))
}

impl From<StoredTokenError> for Problem {
    fn from(error: StoredTokenError) -> Self {
        match error {
            StoredTokenError::Call(error) => error.into(),
            StoredTokenError::NoToken { .. } => Self::new(78, format!("agent token: {error}")),
        }
    }
}
