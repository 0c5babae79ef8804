//! What hooks and `watch` say to each other: one JSON line each way.

use serde::{Deserialize, Serialize};

/// A line longer than this is none of ours.
pub const LONGEST_LINE: u64 = 4096;

/// What a hook (or a person) says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Request {
    /// A job is about to run; answered when the instance is held for it.
    JobStarted {
        /// The job's id.
        job: String,
        /// The agent's process id, if the hook knows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// A job is over.
    JobFinished {
        /// The job's id.
        job: String,
    },
    /// Take no more jobs, and stay. Operators only, as the next two.
    Cordon,
    /// Take jobs again.
    Uncordon,
    /// Finish what runs, or cancel it, and leave.
    Drain {
        /// Cancel what runs?
        #[serde(default)]
        cancel_jobs: bool,
    },
    /// What is going on?
    Status,
}

impl Request {
    /// What an operator says by it.
    #[must_use]
    pub fn word(&self) -> Option<lifecycle::Word> {
        match self {
            Self::Cordon => Some(lifecycle::Word::Cordon),
            Self::Uncordon => Some(lifecycle::Word::Serve),
            Self::Drain { cancel_jobs: false } => Some(lifecycle::Word::Drain),
            Self::Drain { cancel_jobs: true } => Some(lifecycle::Word::DrainNow),
            Self::JobStarted { .. } | Self::JobFinished { .. } | Self::Status => None,
        }
    }
}

/// What `watch` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Was it done?
    pub ok: bool,
    /// Why not, or why a job that is over was cancelled; for the job's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Answer to `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl Answer {
    /// Done.
    #[must_use]
    pub fn done() -> Self {
        Self { ok: true, ..Self::default() }
    }

    /// Not done, and why.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// What `watch` knows, for people and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The instance's state.
    #[serde(flatten)]
    pub state: lifecycle::State,
    /// Is it protected from scale-in, as far as known?
    pub protected: Option<bool>,
    /// Ids of running jobs.
    pub jobs: Vec<String>,
    /// Since when no job runs.
    pub idle_since: Option<jiff::Timestamp>,
    /// The lifecycle state that the group aims at, as the metadata tells it.
    pub target: Option<lifecycle::AwsState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_seam() {
        let request = Request::JobStarted { job: "j".into(), pid: Some(7) };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"event":"job-started","job":"j","pid":7}"#);
        let finished: Request = serde_json::from_str(r#"{"event":"job-finished","job":"j"}"#).unwrap();
        assert_eq!(finished, Request::JobFinished { job: "j".into() });
        for (line, word) in [
            (r#"{"event":"cordon"}"#, lifecycle::Word::Cordon),
            (r#"{"event":"uncordon"}"#, lifecycle::Word::Serve),
            (r#"{"event":"drain"}"#, lifecycle::Word::Drain),
            (r#"{"event":"drain","cancel_jobs":true}"#, lifecycle::Word::DrainNow),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap().word(), Some(word), "{line}");
        }
        assert_eq!(finished.word(), None);
        assert_eq!(serde_json::to_string(&Answer::done()).unwrap(), r#"{"ok":true}"#);
        assert_eq!(serde_json::to_string(&Answer::refused("x")).unwrap(), r#"{"ok":false,"reason":"x"}"#);
    }
}
