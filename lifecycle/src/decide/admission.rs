//! A job runs only where nothing ends the instance beneath it: protected while in service, or held by the terminating
//! hook while it leaves.

use jiff::Timestamp;

use super::{Action, PATIENCE, Step, reason_of_group, step};
use crate::State;
use crate::observed::Observed;
use crate::policy::Policy;

pub(super) fn admit(policy: &Policy, seen: &Observed, since: Timestamp, now: Timestamp) -> Vec<Step> {
    match seen.state {
        State::Retired(reason) => {
            return step(Action::Refuse, format!("this instance is retired ({reason}); retry the job"));
        }
        State::Draining(reason) if reason.is_imposed() || seen.cancelled => {
            return step(Action::Refuse, format!("this instance is taken away ({reason}); retry the job"));
        }
        _ if !policy.in_group => return step(Action::Admit, "the instance is in no group"),
        _ => {}
    }
    if seen.is_leaving() || seen.termination_asked {
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
