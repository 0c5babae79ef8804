//! An instance that drains, down to its end.

use jiff::Timestamp;

use super::{Action, FLUSHED_WITHIN, Step, TRIES, service, step};
use crate::Reason;
use crate::observed::{Observed, Word};
use crate::policy::Policy;

pub(super) fn drain(policy: &Policy, seen: &Observed, reason: Reason, now: Timestamp) -> Vec<Step> {
    if !seen.agents_told {
        let mut steps = step(Action::StopAgents, format!("draining ({reason})"));
        steps.extend(hold(policy, seen, now));
        return steps;
    }
    let quiet = seen.jobs == 0 && seen.waiting_since.is_none() && seen.agents == Some(0);
    if quiet {
        return end(policy, seen, reason, now);
    }
    let mut steps = hold(policy, seen, now);
    if seen.jobs > 0 && !seen.cancelled && may_cancel(policy, seen, reason, now) {
        steps.extend(step(Action::CancelJobs, why_cancelled(seen, reason)));
    }
    steps
}

/// What keeps the machine while something runs: heartbeats of the hook, or protection while it is in service.
fn hold(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if policy.has_hook && seen.is_leaving() {
        let due = seen.heartbeat.is_none_or(|at| now.duration_since(at) >= policy.heartbeat_interval);
        return if due { step(Action::Heartbeat, format!("{} jobs run", seen.jobs)) } else { Vec::new() };
    }
    if seen.jobs == 0 || !policy.in_group || seen.is_leaving() || seen.termination_asked {
        return Vec::new();
    }
    service::keep(seen, now, &format!("{} jobs run", seen.jobs))
}

/// Only EC2 and an operator end jobs; everything else waits for them, however long they run.
fn may_cancel(policy: &Policy, seen: &Observed, reason: Reason, now: Timestamp) -> bool {
    let taken = seen.notices.spot.filter(|_| reason == Reason::SpotNotice);
    seen.word == Word::DrainNow || taken.is_some_and(|at| at.duration_since(now) <= policy.spot_grace)
}

fn why_cancelled(seen: &Observed, reason: Reason) -> String {
    match seen.notices.spot {
        Some(at) if reason == Reason::SpotNotice => {
            format!("EC2 takes this spot instance back at {at:.0}")
        }
        _ => "an operator drains it and does not wait".to_owned(),
    }
}

/// Nothing runs any more. The ladder: let the hook go on; else ask for the end, with a decrement if nobody is needed
/// instead; else with a successor; else be replaced as unhealthy.
fn end(policy: &Policy, seen: &Observed, reason: Reason, now: Timestamp) -> Vec<Step> {
    let why = "nothing runs any more";
    let held = policy.has_hook && seen.is_leaving();
    if held {
        return flush(seen, now).unwrap_or_else(|| step(Action::Complete, why));
    }
    if seen.is_leaving() || !policy.in_group {
        return flush(seen, now).unwrap_or_else(|| step(Action::Retire, why));
    }
    if seen.termination_asked {
        // The metadata will tell when the group has begun.
        return Vec::new();
    }
    // With a hook there is time for the logs once the group has begun.
    if !policy.has_hook
        && let Some(steps) = flush(seen, now)
    {
        return steps;
    }
    let smaller = matches!(reason, Reason::Idle | Reason::AfterJob);
    if smaller && seen.attempts.failed(Action::Terminate) < TRIES {
        step(Action::Terminate, why)
    } else if seen.attempts.failed(Action::Replace) < TRIES {
        step(Action::Replace, why)
    } else {
        step(Action::MarkUnhealthy, "the group did not end this instance: it shall replace it")
    }
}

/// The steps until the logs are sent; none when they are, or when that takes too long or cannot be had.
fn flush(seen: &Observed, now: Timestamp) -> Option<Vec<Step>> {
    match (seen.logs, seen.logs_told) {
        (Some(false), _) => None,
        (_, Some(at)) => (now.duration_since(at) < FLUSHED_WITHIN).then(Vec::new),
        (_, None) if seen.attempts.failed(Action::FlushLogs) >= TRIES => None,
        (_, None) => Some(step(Action::FlushLogs, "the machine goes")),
    }
}
