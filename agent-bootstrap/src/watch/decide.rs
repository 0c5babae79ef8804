//! What to do next for this instance. Pure: the whole policy of protection, idleness and retirement stands here.

use jiff::{SignedDuration, Timestamp};
use lifecycle::{AwsState, Reason, State};

use super::attempts::Attempts;
use super::group::Size;
use super::rollout::Newer;

/// What the stack wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Is the instance in an Auto Scaling group? Outside one there is nothing to protect it from.
    pub in_group: bool,
    /// How long it is idle before protection drops; `None` is never.
    pub idle_period: Option<SignedDuration>,
    /// How long it is idle before it retires itself; `None` is never.
    pub fail_safe_after: Option<SignedDuration>,
    /// Does a terminating lifecycle hook hold it when it leaves?
    pub has_hook: bool,
    /// Time between two heartbeats of that hook.
    pub heartbeat_interval: SignedDuration,
    /// Time between two looks for a newer launch template or changed settings.
    pub update_check: SignedDuration,
    /// How many instances may be away at once for an update.
    pub update_concurrency: u32,
}

/// For how long a job waits to be let in before it is refused.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// For how long the group's limits, and protection while busy, are taken as they were described.
pub const DESCRIBED_FOR: SignedDuration = SignedDuration::from_secs(300);

/// What is known. `None` is unknown, never "no".
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What the instance does.
    pub state: State,
    /// The lifecycle state that the group aims at, from the metadata service.
    pub target: Option<AwsState>,
    /// Protected from scale-in, and when that was last heard from the group.
    pub protected: Option<(bool, Timestamp)>,
    /// Jobs that run.
    pub jobs: usize,
    /// Since when the eldest of the jobs that ask to run has asked.
    pub waiting_since: Option<Timestamp>,
    /// Since when nothing runs.
    pub idle_since: Timestamp,
    /// The group's limits, and when they were heard.
    pub size: Option<(Size, Timestamp)>,
    /// What a successor would have, if it is this instance's turn to leave for one, and when that was found out.
    pub turn: Option<(Option<Newer>, Timestamp)>,
    /// Agents that run.
    pub agents: Option<usize>,
    /// Were the agents told to leave?
    pub agents_told: bool,
    /// The last heartbeat that the group took.
    pub heartbeat: Option<Timestamp>,
    /// Did this instance ask its group to end it?
    pub termination_asked: bool,
    /// What failed lately.
    pub attempts: Attempts,
}

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
    /// Begin to drain.
    Drain(Reason),
    /// Tell the agents to finish and leave.
    StopAgents,
    /// Put off the end of the terminating hook.
    Heartbeat,
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
    let mut steps = if let Some(since) = seen.waiting_since {
        let admission = admit(policy, seen, since, now);
        // A draining instance goes on draining while a job asks.
        if admission.is_empty() && !seen.state.is_capacity() { drain(policy, seen, now) } else { admission }
    } else if seen.state.is_capacity() {
        serve(policy, seen, now)
    } else {
        drain(policy, seen, now)
    };
    steps.retain(|s| seen.attempts.may(s.step, now));
    steps
}

fn is_leaving(seen: &Observed) -> bool {
    seen.target.as_ref().is_some_and(AwsState::is_leaving)
}

/// A job runs only where nothing ends the instance beneath it: protected while in service, or held by the
/// terminating hook while it leaves.
fn admit(policy: &Policy, seen: &Observed, since: Timestamp, now: Timestamp) -> Vec<Step> {
    if !policy.in_group {
        return step(Action::Admit, "the instance is in no group");
    }
    match seen.state {
        State::Retired(reason) => {
            return step(Action::Refuse, format!("this instance is retired ({reason})"));
        }
        State::Draining(reason) if reason.is_imposed() => {
            return step(Action::Refuse, format!("this instance is taken away ({reason})"));
        }
        _ => {}
    }
    if is_leaving(seen) || seen.termination_asked {
        return admit_leaving(policy, seen, since, now);
    }
    match seen.protected {
        Some((true, _)) => step(Action::Admit, "the instance is protected from scale-in"),
        _ if now.duration_since(since) >= PATIENCE => {
            step(Action::Refuse, "protection from scale-in could not be taken; retry the job")
        }
        _ => step(Action::Protect, "a job is about to run"),
    }
}

fn admit_leaving(policy: &Policy, seen: &Observed, since: Timestamp, now: Timestamp) -> Vec<Step> {
    if !policy.has_hook {
        return step(Action::Refuse, "this instance is being terminated; retry the job");
    }
    if !matches!(seen.state, State::Draining(_)) {
        return step(Action::Drain(reason_of_group(seen)), "the group terminates this instance");
    }
    match seen.heartbeat {
        Some(at) if at >= since => step(Action::Admit, "the terminating hook holds the instance"),
        _ if now.duration_since(since) >= PATIENCE => {
            step(Action::Refuse, "this instance is being terminated and could not be held; retry the job")
        }
        _ => step(Action::Heartbeat, "a job slipped in: it is finished first"),
    }
}

/// The group itself takes only unprotected, idle instances; whoever takes a busy one is a person.
fn reason_of_group(seen: &Observed) -> Reason {
    if seen.jobs == 0 { Reason::Idle } else { Reason::Operator }
}

fn serve(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if is_leaving(seen) {
        return step(Action::Drain(reason_of_group(seen)), "the group terminates this instance");
    }
    if seen.state == State::Booting {
        return match seen.agents {
            Some(1..) => step(Action::BeReady, "agents run"),
            _ => Vec::new(),
        };
    }
    if !policy.in_group {
        return Vec::new();
    }
    let steps = hold(policy, seen, now);
    // Protection and idleness come first: an update can wait.
    if steps.is_empty() { update(policy, seen, now) } else { steps }
}

fn hold(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let heard = seen.protected.filter(|(_, at)| seen.jobs == 0 || now.duration_since(*at) < DESCRIBED_FOR);
    match heard {
        None => step(Action::DescribeInstance, "protection is not known"),
        Some((false, _)) if seen.jobs > 0 => step(Action::Protect, format!("{} jobs run", seen.jobs)),
        Some(_) if seen.jobs > 0 => Vec::new(),
        Some((true, _)) => drop_protection(policy, seen, now),
        Some((false, _)) => fail_safe(policy, seen, now),
    }
}

fn drop_protection(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let idle = now.duration_since(seen.idle_since);
    // AWS takes protection changes only in service, and a warm pool's instance is not ours to offer.
    if seen.target != Some(AwsState::InService) || policy.idle_period.is_none_or(|period| idle < period) {
        return Vec::new();
    }
    match fresh_size(seen, now) {
        None => step(Action::DescribeSize, "does the group have room to shrink?"),
        Some(size) if size.is_fixed() => Vec::new(),
        Some(_) => step(Action::Unprotect, format!("idle for {idle:#}")),
    }
}

fn fail_safe(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let idle = now.duration_since(seen.idle_since);
    if seen.target != Some(AwsState::InService) || policy.fail_safe_after.is_none_or(|after| idle < after) {
        return Vec::new();
    }
    match fresh_size(seen, now) {
        None => step(Action::DescribeSize, "may the group shrink?"),
        Some(size) if size.desired <= size.min => Vec::new(),
        Some(_) => step(Action::Drain(Reason::Idle), format!("idle for {idle:#} and no scaler acts")),
    }
}

fn update(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if seen.target != Some(AwsState::InService) {
        return Vec::new();
    }
    match seen.turn.filter(|(_, at)| now.duration_since(*at) < policy.update_check) {
        None => {
            step(Action::DescribeRollout, "is there a newer launch template, or are there other settings?")
        }
        Some((None, _)) => Vec::new(),
        Some((Some(newer), _)) => step(
            Action::Drain(Reason::Update),
            match newer {
                Newer::Template => "the group names a newer launch template",
                Newer::Settings => "the settings have changed",
            },
        ),
    }
}

fn fresh_size(seen: &Observed, now: Timestamp) -> Option<Size> {
    seen.size.filter(|(_, at)| now.duration_since(*at) < DESCRIBED_FOR).map(|(size, _)| size)
}

fn drain(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let State::Draining(reason) = seen.state else { return Vec::new() };
    let mut steps = Vec::new();
    if !seen.agents_told {
        steps.extend(step(Action::StopAgents, format!("draining ({reason})")));
    }
    let quiet = seen.jobs == 0 && seen.waiting_since.is_none() && seen.agents == Some(0);
    let held = policy.has_hook && is_leaving(seen);
    if quiet && seen.agents_told {
        steps.extend(end(policy, seen, reason, held));
    } else if held && seen.heartbeat.is_none_or(|at| now.duration_since(at) >= policy.heartbeat_interval) {
        steps.extend(step(Action::Heartbeat, format!("{} jobs run", seen.jobs)));
    }
    steps
}

/// Nothing runs any more. The ladder: let the hook go on; else ask for the end, with a decrement unless a successor
/// is wanted; else be replaced.
fn end(policy: &Policy, seen: &Observed, reason: Reason, held: bool) -> Vec<Step> {
    if held {
        step(Action::Complete, "nothing runs any more")
    } else if is_leaving(seen) || !policy.in_group {
        step(Action::Retire, "nothing runs any more")
    } else if seen.termination_asked {
        // The metadata will tell when the group has begun.
        Vec::new()
    } else {
        let ask = if reason == Reason::Update { Action::Replace } else { Action::Terminate };
        if seen.attempts.failed(ask) >= 3 {
            step(Action::MarkUnhealthy, "the group did not end this instance: it shall replace it")
        } else {
            step(ask, "nothing runs any more")
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
