//! What stops a command: one line for people, and the exit code that it means.

use aws::CallError;

/// A step that failed: which, on what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// 1 failed, 2 usage, 69 unavailable, 75 try again, 77 denied, 78 configuration.
    pub code: u8,
    /// One line, or one for each fault.
    pub message: String,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A call of AWS that failed in `step`.
    #[must_use]
    pub fn of_call(step: &str, error: &CallError) -> Self {
        Self::new(error.fault.exit_code(), format!("{step}: {error}"))
    }

    /// The same, told as part of `step`.
    #[must_use]
    pub fn during(self, step: &str) -> Self {
        Self { code: self.code, message: format!("{step}: {}", self.message) }
    }
}
