//! What a job's process tells the agent about its end.

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process::Ended;

/// A job's end, as `finish` reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobResult {
    /// -1 when the job's last word is a signal, or when it never ran.
    pub exit_status: i32,
    /// Name of that signal.
    pub signal: Option<String>,
    /// Why, in the API's words.
    pub signal_reason: Option<String>,
    /// Did the job's process itself say so?
    pub complete: bool,
}

impl JobResult {
    /// The end of a job by its last process.
    pub fn of(ended: Ended) -> Self {
        let (exit_status, signal) = match ended {
            Ended::Exited(status) => (status, None),
            Ended::Signaled(signal) => {
                (-1, Signal::try_from(signal).ok().map(|signal| signal.as_str().to_owned()))
            }
        };
        Self { exit_status, signal, signal_reason: None, complete: true }
    }

    /// A job that did not run to an end of its own.
    pub fn not_run() -> Self {
        Self { exit_status: -1, signal: None, signal_reason: None, complete: false }
    }

    /// The same after a cancel: it never counts as passed.
    pub fn cancelled(self, reason: &str, signal: &str) -> Self {
        Self {
            exit_status: if self.exit_status == 0 { 1 } else { self.exit_status },
            signal: Some(self.signal.unwrap_or_else(|| signal.to_owned())),
            signal_reason: Some(reason.to_owned()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_16_exit_status_rules() {
        let killed = JobResult::of(Ended::Signaled(9));
        assert_eq!((killed.exit_status, killed.signal.as_deref()), (-1, Some("SIGKILL")));
        let cancelled = JobResult::of(Ended::Exited(0)).cancelled("cancel", "SIGTERM");
        assert_eq!((cancelled.exit_status, cancelled.signal.as_deref()), (1, Some("SIGTERM")));
        let trapped = JobResult::of(Ended::Exited(9)).cancelled("agent_stop", "SIGTERM");
        assert_eq!((trapped.exit_status, trapped.signal_reason.as_deref()), (9, Some("agent_stop")));
        assert_eq!(JobResult::not_run().exit_status, -1);
    }
}
