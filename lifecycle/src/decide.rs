//! What to do next for an instance. Pure: the whole policy of protection, idleness and retirement stands here.
//!
//! # Layout
//! - [`admission`]: may the job in that asks to run?
//! - [`service`]: an instance that takes jobs, or is cordoned.
//! - [`reasons`]: is there a reason to retire it?
//! - [`ending`]: an instance that drains, down to its end.

mod admission;
mod ending;
mod reasons;
mod service;

use jiff::{SignedDuration, Timestamp};

use crate::observed::Observed;
use crate::policy::Policy;
use crate::{Reason, Size, State};

/// For how long a job waits to be let in before it is refused.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// For how long the group's limits, and protection while busy, are taken as they were described.
pub const DESCRIBED_FOR: SignedDuration = SignedDuration::from_secs(300);

/// For how long the end waits for logs that are still being sent.
pub const FLUSHED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// So long after a scaler said that it keeps idle instances it is believed to live: it says so every five minutes.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_secs(900);

/// How often a way to the end is tried before the next one is.
const TRIES: u32 = 3;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ask the group about this instance.
    DescribeInstance,
    /// Ask the group for its limits.
    DescribeSize,
    /// Ask the group what instances are launched from, and whether the settings have changed.
    DescribeRollout,
    /// Ask when a scaler last said that it keeps idle instances.
    DescribeScaler,
    /// Take protection from scale-in.
    Protect,
    /// Drop it.
    Unprotect,
    /// Let the jobs in that ask.
    Admit,
    /// Refuse the jobs that ask.
    Refuse,
    /// Say that the agents run.
    BeReady,
    /// Take no more jobs, and stay.
    Cordon,
    /// Start the agents again.
    Uncordon,
    /// Begin to drain.
    Drain(Reason),
    /// Tell the agents to finish and leave.
    StopAgents,
    /// Tell the agents to cancel what runs.
    CancelJobs,
    /// Put off the end of the terminating hook.
    Heartbeat,
    /// Have the logs sent.
    FlushLogs,
    /// Have logs shipped again: the end is put off.
    ShipLogs,
    /// Let the termination go on.
    Complete,
    /// Ask the group to end this instance and to lower its desired capacity.
    Terminate,
    /// Ask the group to end this instance and to launch a successor.
    Replace,
    /// Ask the group to replace this instance, as one that is of no use.
    MarkUnhealthy,
    /// Nothing is left to do here.
    Retire,
}

/// One action and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// What to do.
    pub step: Action,
    /// Why.
    pub why: String,
}

fn step(step: Action, why: impl Into<String>) -> Vec<Step> {
    vec![Step { step, why: why.into() }]
}

/// The next steps; none when all is as it should be, or what should be done failed a moment ago.
#[must_use]
pub fn decide(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let mut steps = go_on(policy, seen, now);
    steps.retain(|s| seen.attempts.may(s.step, now));
    steps
}

fn go_on(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    // It cannot be put off, whatever else is to be done.
    if let Some((reason, why)) = reasons::imposed(seen) {
        return step(Action::Drain(reason), why);
    }
    if let Some(since) = seen.waiting_since {
        let admission = admission::admit(policy, seen, since, now);
        // What drains goes on draining while a job asks.
        if admission.iter().any(|s| seen.attempts.may(s.step, now)) || seen.state.reason().is_none() {
            return admission;
        }
    }
    match seen.state {
        State::Booting | State::Ready | State::Busy | State::Cordoned => service::serve(policy, seen, now),
        State::Draining(reason) => ending::drain(policy, seen, reason, now),
        State::Retired(_) => Vec::new(),
    }
}

fn fresh_size(seen: &Observed, now: Timestamp) -> Option<Size> {
    seen.size.filter(|(_, at)| now.duration_since(*at) < DESCRIBED_FOR).map(|(size, _)| size)
}

/// The group itself takes only unprotected, idle instances; whoever takes a busy one is a person.
fn reason_of_group(seen: &Observed) -> Reason {
    if seen.jobs == 0 { Reason::Idle } else { Reason::Operator }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
