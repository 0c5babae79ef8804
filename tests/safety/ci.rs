//! The CI: jobs that wait, and an API that may be down, slow to notice, or tell less than there is. One source counts, the
//! other one lists jobs too, and tells how old that is and whether the queue is paused.

use std::sync::{Arc, Mutex, PoisonError};

use agent_api::stacks::{JobBuild, JobPipeline, JobStep, ScheduledJob, ScheduledJobs};
use jiff::{SignedDuration, Timestamp};
use scaler::decide::Jobs;
use scaler::hint::heard::Heard;
use scaler::job_counts::joined;
use scaler::ports::{Agents, Counts, JobCounts, Problem};
use scaler::reading::Reading;

/// How the API answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    Now,
    Not,
    /// As it was when this began, and nobody tells.
    Stale(Jobs),
    /// As it was then, and a source that tells when says so.
    Old(Jobs, Timestamp),
    /// Jobs are counted as they were then, and so many of those that wait now are listed.
    Partly(Jobs, usize),
}

#[derive(Debug, Default)]
pub struct Ci {
    /// How long each job that waits will run.
    pub scheduled: Vec<SignedDuration>,
    pub running: u64,
    pub answers: Answers,
    /// Nobody gets a job.
    pub paused: bool,
    /// Jobs that wait for agents of another kind.
    pub of_others: usize,
}

impl Ci {
    pub fn jobs(&self) -> Jobs {
        Jobs { scheduled: self.scheduled.len() as u64, running: self.running, waiting: 0 }
    }

    /// Does an answer that lists jobs say of itself that it is old, or not all?
    pub fn is_in_doubt(&self, at: Timestamp) -> bool {
        match self.answers {
            Answers::Old(_, as_of) => at.duration_since(as_of) > SignedDuration::from_secs(60),
            Answers::Partly(_, most) => self.scheduled.len() + self.of_others > most,
            _ => false,
        }
    }
}

/// Where a scaler reads job counts, with what it heard of jobs to come.
pub struct Api {
    pub ci: Arc<Mutex<Ci>>,
    pub heard: Arc<Heard>,
    /// Does it list jobs?
    pub lists: bool,
    /// The time as the CI has it.
    pub now: Timestamp,
    /// The time as the scaler has it.
    pub at: Timestamp,
}

/// The jobs that wait, and behind them those that wait for other agents.
fn listed(own: u64, of_others: usize, since: Timestamp) -> Vec<ScheduledJob> {
    let job = |rules: Vec<String>| ScheduledJob {
        id: String::new(),
        priority: 0,
        agent_query_rules: rules,
        scheduled_at: since,
        pipeline: JobPipeline::default(),
        build: JobBuild::default(),
        step: JobStep::default(),
    };
    let own = (0..own).map(|_| job(Vec::new()));
    own.chain((0..of_others).map(|_| job(vec!["gpu=true".to_owned()]))).collect()
}

impl JobCounts for Api {
    async fn read(&self, _: &str) -> Result<Counts, Problem> {
        let ci = self.ci.lock().unwrap_or_else(PoisonError::into_inner);
        let there = ci.jobs();
        let (jobs, as_of) = match ci.answers {
            Answers::Not => return Err(Problem::new(69, "the CI does not answer")),
            Answers::Now => (there, self.now),
            Answers::Stale(jobs) | Answers::Partly(jobs, _) => (jobs, self.now),
            Answers::Old(jobs, as_of) => (jobs, as_of),
        };
        let counted = Jobs { scheduled: jobs.scheduled.saturating_add(ci.of_others as u64), ..jobs };
        let mut counts = Counts {
            organization: "ci".into(),
            jobs: counted,
            unfinished: counted.scheduled + counted.running,
            agents: Agents::default(),
            expected: 0,
            reading: Reading { at: self.at, as_of: self.lists.then_some(as_of), complete: true },
            paused: None,
            runnable: None,
            unmatched: 0,
            poll_after: None,
        };
        if self.lists {
            let (waiting, most) = match ci.answers {
                Answers::Partly(_, most) => (there, most),
                _ => (jobs, usize::MAX),
            };
            let mut list = listed(waiting.scheduled, ci.of_others, as_of);
            let complete = list.len() <= most;
            list.truncate(most);
            let list = ScheduledJobs { jobs: list, paused: ci.paused, complete, as_of: Some(as_of) };
            counts = joined("default", Some(&[]), counts, &list);
        }
        self.heard.expect(&mut counts, self.at);
        Ok(counts)
    }
}
