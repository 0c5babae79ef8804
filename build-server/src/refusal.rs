//! Why a request was not done. [`crate::http`] turns each into a status code that agents understand.

/// One reason, with the words that the caller sees.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token is missing, unknown, or not for this object (401).
    #[error("{0}")]
    Unauthorized(String),
    /// No such object (404).
    #[error("{0}")]
    NotFound(String),
    /// The idempotency key was used for something else (409).
    #[error("{0}")]
    Conflict(String),
    /// The body is over its limit (413).
    #[error("{0}")]
    TooLarge(String),
    /// No, and asking again will not help (422): the one code that every agent version stops on.
    #[error("{0}")]
    Invalid(String),
    /// The store could not do it now; nothing was changed (503).
    #[error("the store failed: {0}")]
    Store(rusqlite::Error),
    /// The server is going down; nothing was changed (503).
    #[error("the server is stopping; try again")]
    Stopping,
    /// The store holds something this version cannot read (500); nothing was changed.
    #[error("the store holds an unreadable record: {0}")]
    Unreadable(serde_json::Error),
}

// Not `#[from]`: the cause is part of the text, and must not follow it once more as a source.
impl From<rusqlite::Error> for Refusal {
    fn from(fault: rusqlite::Error) -> Self {
        Self::Store(fault)
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(fault: serde_json::Error) -> Self {
        Self::Unreadable(fault)
    }
}

impl Refusal {
    /// A 422 with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// A 404 that names the object.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::NotFound(format!("no {what} {id}"))
    }
}
