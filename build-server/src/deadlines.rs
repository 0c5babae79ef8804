//! What has taken too long, and what follows. Pure; all times are Unix milliseconds, all limits milliseconds.

use crate::states::JobState;

/// How long each thing may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From a job's assignment to its accept.
    pub accept: i64,
    /// From its accept to its start. Agents retry a failed start for up to 150 s.
    pub start: i64,
    /// From a cancel or a time-out to the agent's finish.
    pub cancel: i64,
    /// From an agent's last request to its being called lost.
    pub lost: i64,
    /// How long nothing is heard of a job whose agent asks for another before the job counts as abandoned.
    pub abandoned: i64,
}

/// How often a job may go back to the queue after an accept without a start.
pub const ATTEMPTS: i64 = 5;

/// A job that an agent holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The job.
    pub job: String,
    /// Its agent.
    pub agent: String,
    /// Any state with an agent.
    pub state: JobState,
    /// When it came into this state.
    pub since: i64,
    /// When it began to run.
    pub started_at: Option<i64>,
    /// How long it may run.
    pub time_limit: Option<i64>,
    /// How often it went back to the queue.
    pub attempts: i64,
    /// When its agent last asked for a job.
    pub agent_pinged: i64,
    /// When the agent last said anything about this job.
    pub job_heard: i64,
}

/// A connected agent.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its id.
    pub agent: String,
    /// When it last said anything.
    pub seen: i64,
}

/// One thing to do. Each names the state it was decided on, so that it does nothing if that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The job waits for another agent: nothing of it has run.
    GiveBack {
        /// Which.
        job: String,
        /// The state it was seen in.
        from: JobState,
    },
    /// The job has ended without its agent.
    End {
        /// Which.
        job: String,
        /// The state it was seen in.
        from: JobState,
        /// Why, for people.
        reason: &'static str,
    },
    /// The running job's agent must end it.
    TimeOut {
        /// Which.
        job: String,
    },
    /// The agent is lost.
    Lose {
        /// Which.
        agent: String,
    },
}

/// What follows at `now`.
pub fn overdue(now: i64, held: &[Held], connected: &[Connected], limits: &Limits) -> Vec<Step> {
    let lost: Vec<&str> =
        connected.iter().filter(|c| now - c.seen > limits.lost).map(|c| c.agent.as_str()).collect();
    let mut steps: Vec<Step> = held
        .iter()
        .filter_map(|job| {
            if lost.contains(&job.agent.as_str()) {
                Some(without_agent(&job.job, job.state, job.attempts, "its agent was lost"))
            } else {
                late(now, job, limits)
            }
        })
        .collect();
    steps.extend(lost.into_iter().map(|agent| Step::Lose { agent: agent.to_owned() }));
    steps
}

/// What becomes of a job whose agent is gone.
pub fn without_agent(job: &str, state: JobState, attempts: i64, reason: &'static str) -> Step {
    match state {
        JobState::Assigned => give_back(job, state),
        JobState::Accepted => not_started(job, attempts),
        _ => end(job, state, reason),
    }
}

fn late(now: i64, job: &Held, limits: &Limits) -> Option<Step> {
    let waited = now - job.since;
    let abandoned = job.agent_pinged > job.job_heard && now - job.job_heard > limits.abandoned;
    match job.state {
        JobState::Assigned => (waited > limits.accept).then(|| give_back(&job.job, job.state)),
        JobState::Accepted if waited > limits.start || abandoned => Some(not_started(&job.job, job.attempts)),
        JobState::Running if abandoned => {
            Some(end(&job.job, job.state, "its agent asked for other work without finishing it"))
        }
        JobState::Running => {
            let passed = now - job.started_at.unwrap_or(job.since);
            let over = job.time_limit.is_some_and(|limit| passed > limit);
            over.then(|| Step::TimeOut { job: job.job.clone() })
        }
        JobState::Canceling | JobState::TimingOut if waited > limits.cancel || abandoned => {
            Some(end(&job.job, job.state, "its agent did not say that it ended"))
        }
        _ => None,
    }
}

/// A start that comes now is refused, so nothing of this job can have run: another agent may try, but not for ever.
fn not_started(job: &str, attempts: i64) -> Step {
    let from = JobState::Accepted;
    if attempts < ATTEMPTS { give_back(job, from) } else { end(job, from, "no agent could start it") }
}

fn give_back(job: &str, from: JobState) -> Step {
    Step::GiveBack { job: job.to_owned(), from }
}

fn end(job: &str, from: JobState, reason: &'static str) -> Step {
    Step::End { job: job.to_owned(), from, reason }
}

#[cfg(test)]
mod tests {
    use super::{JobState::*, *};

    const LIMITS: Limits = Limits { accept: 30, start: 300, cancel: 600, lost: 50, abandoned: 40 };

    fn held(state: JobState, since: i64) -> Held {
        Held {
            job: "j".into(),
            agent: "a".into(),
            state,
            since,
            started_at: (state == Running).then_some(since),
            time_limit: Some(2000),
            attempts: 0,
            agent_pinged: 0,
            job_heard: since,
        }
    }

    fn decided(now: i64, job: Held, seen: i64) -> Vec<Step> {
        overdue(now, &[job], &[Connected { agent: "a".into(), seen }], &LIMITS)
    }

    #[test]
    fn nothing_follows_in_time() {
        for (state, now) in
            [(Assigned, 130), (Accepted, 400), (Running, 2100), (Canceling, 700), (TimingOut, 700)]
        {
            assert_eq!(decided(now, held(state, 100), now), [], "{state}");
        }
    }

    #[test]
    fn each_limit_has_its_step() {
        let back = |from| vec![Step::GiveBack { job: "j".into(), from }];
        let end = |from, reason| vec![Step::End { job: "j".into(), from, reason }];
        for (state, now, steps) in [
            (Assigned, 131, back(Assigned)),
            (Accepted, 401, back(Accepted)),
            (Running, 2101, vec![Step::TimeOut { job: "j".into() }]),
            (Canceling, 701, end(Canceling, "its agent did not say that it ended")),
            (TimingOut, 701, end(TimingOut, "its agent did not say that it ended")),
        ] {
            assert_eq!(decided(now, held(state, 100), now), steps, "{state}");
        }
    }

    #[test]
    fn a_lost_agent_gives_back_what_it_had_not_started_and_ends_the_rest() {
        let lose = Step::Lose { agent: "a".into() };
        for from in [Assigned, Accepted] {
            let back = Step::GiveBack { job: "j".into(), from };
            assert_eq!(decided(151, held(from, 145), 100), [back, lose.clone()]);
        }
        for state in [Running, Canceling, TimingOut] {
            let end = Step::End { job: "j".into(), from: state, reason: "its agent was lost" };
            assert_eq!(decided(151, held(state, 145), 100), [end, lose.clone()]);
        }
    }

    #[test]
    fn a_running_job_is_abandoned_only_when_its_agent_asks_for_work_and_the_job_is_silent() {
        let running = |agent_pinged, job_heard| Held { agent_pinged, job_heard, ..held(Running, 100) };
        assert_eq!(decided(500, running(0, 100), 500), [], "silent, but no ping");
        assert_eq!(decided(500, running(499, 480), 500), [], "a ping, but heard of");
        assert!(matches!(decided(500, running(499, 400), 500)[..], [Step::End { .. }]));
    }

    #[test]
    fn a_job_that_no_agent_starts_ends() {
        let job = Held { attempts: ATTEMPTS, ..held(Accepted, 100) };
        assert!(matches!(decided(401, job, 401)[..], [Step::End { .. }]));
    }
}
