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
    steps.extend(ship_again(seen, "something runs again"));
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
    if !seen.is_leaving() && policy.in_group && seen.termination_asked {
        // The metadata will tell when the group has begun. It may never begin, if somebody suspended that.
        let long = seen.logs_told.is_some_and(|at| now.duration_since(at) >= FLUSHED_WITHIN);
        return if long { ship_again(seen, "the group does not end this instance") } else { Vec::new() };
    }
    let (last, why) = last_step(policy, seen, reason);
    if seen.attempts.failed(last) >= TRIES && !seen.attempts.may(last, now) {
        return ship_again(seen, "the end is refused");
    }
    // With a hook there is time for the logs once the group has begun. In no group the machine stays.
    let asks = matches!(last, Action::Terminate | Action::Replace | Action::MarkUnhealthy);
    let later = !policy.in_group || (asks && policy.has_hook);
    let before = if later { None } else { flush(seen, now) };
    before.unwrap_or_else(|| step(last, why))
}

fn last_step(policy: &Policy, seen: &Observed, reason: Reason) -> (Action, &'static str) {
    let why = "nothing runs any more";
    if policy.has_hook && seen.is_leaving() {
        return (Action::Complete, why);
    }
    if seen.is_leaving() || !policy.in_group {
        return (Action::Retire, why);
    }
    let smaller = matches!(reason, Reason::Idle | Reason::AfterJob);
    if smaller && seen.attempts.failed(Action::Terminate) < TRIES {
        (Action::Terminate, why)
    } else if seen.attempts.failed(Action::Replace) < TRIES {
        (Action::Replace, why)
    } else {
        (Action::MarkUnhealthy, "the group did not end this instance: it shall replace it")
    }
}

/// Logs that were sent for an end that does not come go on.
fn ship_again(seen: &Observed, why: &str) -> Vec<Step> {
    let ended = seen.logs_told.is_some() && seen.logs == Some(false);
    if ended { step(Action::ShipLogs, why) } else { Vec::new() }
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
