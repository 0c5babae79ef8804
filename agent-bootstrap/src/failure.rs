//! How every verb fails: one line for people (what, on which object, what to do) and an exit code (DESIGN §3.5).

use std::process::ExitCode;

/// A failure that ends the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code: 1 failed, 2 usage, 69 unavailable, 75 try again, 77 denied, 78 configuration.
    pub code: u8,
    /// Step, object and what to do next. Never a secret's value.
    pub message: String,
}

impl Failure {
    /// The operation failed for a reason that is none of the others.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// Something did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 69, message: message.into() }
    }

    /// Throttled, or a lock is held.
    pub fn try_again(message: impl Into<String>) -> Self {
        Self { code: 75, message: message.into() }
    }

    /// AWS or a registry refused.
    pub fn denied(message: impl Into<String>) -> Self {
        Self { code: 77, message: message.into() }
    }

    /// A setting is missing or malformed.
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: 78, message: message.into() }
    }

    /// May the same step succeed later without anybody changing anything?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.code, 69 | 75)
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<aws::CallError> for Failure {
    fn from(error: aws::CallError) -> Self {
        Self { code: error.fault.exit_code(), message: error.to_string() }
    }
}

impl From<aws::session::NoRegion> for Failure {
    fn from(error: aws::session::NoRegion) -> Self {
        Self::config(error.to_string())
    }
}
