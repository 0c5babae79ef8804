//! The client of the metrics routes. One request a call, bounded in time: whoever calls decides about trying again.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::metrics::{POLL_DURATION_HEADER, QueueMetrics};
use crate::wire::ErrorBody;

/// Answers are a few hundred bytes; what is far longer is none.
const LONGEST_ANSWER: usize = 1 << 20;

/// Why there are no counts.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// HTTP 401 or 403.
    #[error("HTTP {status}: {message}")]
    Refused {
        /// 401 or 403.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// HTTP 429.
    #[error("HTTP 429: asked too often")]
    Throttled,
    /// HTTP 5xx, no connection, no answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// HTTP 200 that holds no complete counts.
    #[error("the answer is not the JSON of a queue's metrics: {0}")]
    Garbage(String),
    /// Any other status.
    #[error("HTTP {status}: {message}")]
    Other {
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
}

/// A queue's counts, and how long the server asks the client to wait before the next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAnswer {
    /// The counts, complete.
    pub metrics: QueueMetrics,
    /// From the header [`POLL_DURATION_HEADER`]; absent when the server asks for nothing.
    pub poll_after: Option<Duration>,
}

/// Reads job and agent counts with a registration token.
#[derive(Debug, Clone)]
pub struct MetricsClient {
    http: reqwest::Client,
    endpoint: String,
}

impl MetricsClient {
    /// A client of the agent API at `endpoint` (with its version, as `https://agent.buildkite.com/v3`).
    ///
    /// # Errors
    /// The HTTP client cannot be made (no trust store).
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect would carry the token to whoever is named.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tidemark-scaler/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    /// The URL of a queue's metrics, for messages.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/metrics/queue", self.endpoint)
    }

    /// `GET metrics/queue?name=…`.
    ///
    /// # Errors
    /// Every way of not getting complete counts is told apart.
    pub async fn queue(&self, token: &SecretString, name: &str) -> Result<QueueAnswer, MetricsError> {
        let response = self
            .http
            .get(self.url())
            .query(&[("name", name)])
            .header("Authorization", format!("Token {}", token.expose_secret()))
            .send()
            .await
            .map_err(|e| MetricsError::Unreachable(causes(&e)))?;
        let status = response.status();
        let poll_after = response
            .headers()
            .get(POLL_DURATION_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let body = bounded(response).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        let metrics: QueueMetrics =
            serde_json::from_slice(&body).map_err(|e| MetricsError::Garbage(e.to_string()))?;
        if metrics.organization.slug.is_empty() {
            return Err(MetricsError::Garbage("organization.slug is empty".to_owned()));
        }
        Ok(QueueAnswer { metrics, poll_after })
    }
}

async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, MetricsError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|e| MetricsError::Unreachable(causes(&e)))? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST_ANSWER {
            return Err(MetricsError::Garbage(format!("longer than {LONGEST_ANSWER} bytes")));
        }
    }
    Ok(body)
}

fn refusal(status: StatusCode, body: &[u8]) -> MetricsError {
    let message = serde_json::from_slice::<ErrorBody>(body).map_or_else(|_| String::new(), |e| e.message);
    let status = status.as_u16();
    match status {
        401 | 403 => MetricsError::Refused { status, message },
        429 => MetricsError::Throttled,
        500..=599 => MetricsError::Unreachable(format!("HTTP {status} {message}").trim_end().to_owned()),
        _ => MetricsError::Other { status, message },
    }
}

/// reqwest's own text leaves out the cause; people need it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |e| (**e).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
