//! What a job and a build can be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A job's state. The words are stored and sent as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for an agent.
    Scheduled,
    /// Tied to an agent that has not accepted it yet.
    Assigned,
    /// Accepted; the agent has not said that it runs.
    Accepted,
    /// Runs.
    Running,
    /// Someone canceled it; the agent has not finished yet.
    Canceling,
    /// Its time limit passed; the agent has not finished yet.
    TimingOut,
    /// Ended with exit status 0.
    Passed,
    /// Ended with another exit status, or with its agent.
    Failed,
    /// Ended after a cancel.
    Canceled,
    /// Ended after its time limit.
    TimedOut,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 10] = [
        Self::Scheduled,
        Self::Assigned,
        Self::Accepted,
        Self::Running,
        Self::Canceling,
        Self::TimingOut,
        Self::Passed,
        Self::Failed,
        Self::Canceled,
        Self::TimedOut,
    ];

    /// The word in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Canceling => "canceling",
            Self::TimingOut => "timing_out",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Will nothing change it any more?
    pub fn ended(self) -> bool {
        matches!(self, Self::Passed | Self::Failed | Self::Canceled | Self::TimedOut)
    }

    /// How the job ends when its agent reports this exit status now.
    pub fn finished_with(self, exit_status: i32) -> Self {
        match self {
            Self::Canceling => Self::Canceled,
            Self::TimingOut => Self::TimedOut,
            _ if exit_status == 0 => Self::Passed,
            _ => Self::Failed,
        }
    }

    /// How the job ends when its agent is gone for good.
    pub fn without_agent(self) -> Self {
        self.finished_with(-1)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A build's state, made of its jobs' states: unfinished jobs first, then the worst ending.
pub fn build_state(jobs: impl IntoIterator<Item = JobState>) -> &'static str {
    let jobs: Vec<_> = jobs.into_iter().collect();
    let any = |wanted: &[JobState]| jobs.iter().any(|state| wanted.contains(state));
    use JobState::*;
    if any(&[Canceling]) {
        "canceling"
    } else if any(&[Running, TimingOut, Accepted, Assigned]) {
        "running"
    } else if any(&[Scheduled]) {
        if jobs.iter().any(|state| state.ended()) { "running" } else { "scheduled" }
    } else if any(&[Failed, TimedOut]) {
        "failed"
    } else if any(&[Canceled]) {
        "canceled"
    } else {
        "passed"
    }
}

#[cfg(test)]
mod tests {
    use super::{JobState::*, *};

    #[test]
    fn words_are_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(JobState::parse("unheard"), None);
    }

    #[test]
    fn an_ending_says_why() {
        for (state, exit_status, ending) in [
            (Running, 0, Passed),
            (Running, 1, Failed),
            (Accepted, -1, Failed),
            (Canceling, 0, Canceled),
            (Canceling, -1, Canceled),
            (TimingOut, 255, TimedOut),
        ] {
            assert_eq!(state.finished_with(exit_status), ending, "{state} {exit_status}");
        }
    }

    #[test]
    fn a_build_is_what_its_jobs_are() {
        for (jobs, expected) in [
            (vec![Scheduled, Scheduled], "scheduled"),
            (vec![Passed, Scheduled], "running"),
            (vec![Passed, Running], "running"),
            (vec![Canceling, Running], "canceling"),
            (vec![Passed, Passed], "passed"),
            (vec![Passed, Failed, Canceled], "failed"),
            (vec![TimedOut, Passed], "failed"),
            (vec![Passed, Canceled], "canceled"),
        ] {
            assert_eq!(build_state(jobs.clone()), expected, "{jobs:?}");
        }
    }
}
