//! The CI: jobs that wait, and an API that may be down or slow to notice.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use scaler::decide::Jobs;
use scaler::hint::heard::Heard;
use scaler::ports::{Agents, Counts, JobCounts, Problem};
use scaler::reading::Reading;

/// How the API answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    Now,
    Not,
    /// As it was when this began.
    Stale(Jobs),
}

#[derive(Debug, Default)]
pub struct Ci {
    /// How long each job that waits will run.
    pub scheduled: Vec<SignedDuration>,
    pub running: u64,
    pub answers: Answers,
}

impl Ci {
    pub fn jobs(&self) -> Jobs {
        Jobs { scheduled: self.scheduled.len() as u64, running: self.running, waiting: 0 }
    }
}

/// Where a scaler reads job counts, with what it heard of jobs to come.
pub struct Api {
    pub ci: Arc<Mutex<Ci>>,
    pub heard: Arc<Heard>,
    /// The time as the scaler has it.
    pub at: Timestamp,
}

impl JobCounts for Api {
    async fn read(&self, _: &str) -> Result<Counts, Problem> {
        let ci = self.ci.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match ci.answers {
            Answers::Not => return Err(Problem::new(69, "the CI does not answer")),
            Answers::Now => ci.jobs(),
            Answers::Stale(jobs) => jobs,
        };
        let unfinished = jobs.scheduled + jobs.running;
        let mut counts = Counts {
            organization: "ci".into(),
            jobs,
            unfinished,
            agents: Agents::default(),
            expected: 0,
            // Nobody tells that an answer is old.
            reading: Reading::at(Timestamp::MAX),
            paused: None,
            runnable: None,
            unmatched: 0,
            poll_after: None,
        };
        self.heard.expect(&mut counts, self.at);
        Ok(counts)
    }
}
