//! What can go wrong with a call, told apart as callers must act on it.

use std::time::Duration;

use thiserror::Error;

/// A failed call. `call` is the method and route, without ids or secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApiError {
    /// 401: the token is wrong, expired or revoked.
    #[error("{call}: the token was refused (401): {message}")]
    Unauthorized {
        /// Method and route.
        call: &'static str,
        /// The server's words.
        message: String,
    },
    /// 429: asked too often.
    #[error("{call}: too many requests (429): {message}")]
    Throttled {
        /// Method and route.
        call: &'static str,
        /// The server's words.
        message: String,
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// Any other 4xx (and the rare 3xx): asking again will not help, 423 (locked) apart.
    #[error("{call}: refused ({status}): {message}")]
    Rejected {
        /// Method and route.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("{call}: the server failed ({status}): {message}")]
    Server {
        /// Method and route.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// No complete answer in time.
    #[error("{call}: no answer in time")]
    Timeout {
        /// Method and route.
        call: &'static str,
    },
    /// No connection, or it broke.
    #[error("{call}: cannot reach the server: {cause}")]
    Unreachable {
        /// Method and route.
        call: &'static str,
        /// What the transport says.
        cause: String,
    },
    /// 2xx, but not the JSON the route answers with.
    #[error("{call}: the answer makes no sense: {cause}")]
    Garbage {
        /// Method and route.
        call: &'static str,
        /// Where the JSON is wrong.
        cause: String,
    },
    /// The request could not be made: the endpoint is no http URL, or TLS is not usable on this machine.
    #[error("{call}: cannot make the request: {cause}; check the endpoint setting")]
    Request {
        /// Method and route.
        call: &'static str,
        /// What is wrong.
        cause: String,
    },
}

impl ApiError {
    /// The HTTP status, when there was an answer with a bad one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Unauthorized { .. } => Some(401),
            Self::Throttled { .. } => Some(429),
            Self::Rejected { status, .. } | Self::Server { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Did the server say no for good: a 4xx that is not 429?
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Rejected { .. } | Self::Request { .. })
    }

    /// What the answer's `Retry-After` asked for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. }
            | Self::Rejected { retry_after, .. }
            | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
