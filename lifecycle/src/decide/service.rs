//! An instance that takes jobs, or is cordoned.

use jiff::Timestamp;

use super::{Action, DESCRIBED_FOR, KEPT_FOR, Step, fresh_size, reason_of_group, reasons, step};
use crate::observed::{Disk, Observed, Word};
use crate::policy::Policy;
use crate::rollout::Newer;
use crate::{AwsState, Reason, State};

pub(super) fn serve(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if seen.is_leaving() {
        return step(Action::Drain(reason_of_group(seen)), "the group terminates this instance");
    }
    if seen.state == State::Booting {
        return match seen.agents {
            Some(1..) => step(Action::BeReady, "agents run"),
            _ => Vec::new(),
        };
    }
    if let Some((reason, why)) = reasons::to_retire(policy, seen, now) {
        return step(Action::Drain(reason), why);
    }
    let why = match (seen.word, seen.disk) {
        (Word::Cordon, _) => Some("an operator cordons it"),
        (_, Disk::Low) => Some("room on the disk is short: it is cleaned when nothing runs"),
        _ => None,
    };
    match (why, seen.state) {
        (Some(_), State::Cordoned) => return cordoned(policy, seen, now),
        (Some(why), _) => return step(Action::Cordon, why),
        // Agents that still finish a job cannot be started again before they have left.
        (None, State::Cordoned) if !seen.agents_told || seen.agents == Some(0) => {
            return step(Action::Uncordon, "nothing cordons it any more");
        }
        (None, State::Cordoned) => return cordoned(policy, seen, now),
        (None, _) => {}
    }
    if !policy.in_group {
        return Vec::new();
    }
    let steps = hold(policy, seen, now);
    // Protection and idleness come first: an update can wait.
    if steps.is_empty() { update(policy, seen, now) } else { steps }
}

/// It stays, whatever the group wants, until it is uncordoned or drained.
fn cordoned(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if !seen.agents_told {
        return step(Action::StopAgents, "cordoned");
    }
    if policy.in_group { keep(seen, now, "cordoned") } else { Vec::new() }
}

/// Protection that must not be lost.
pub(super) fn keep(seen: &Observed, now: Timestamp, why: &str) -> Vec<Step> {
    match seen.protected.filter(|(_, at)| now.duration_since(*at) < DESCRIBED_FOR) {
        None => step(Action::DescribeInstance, "protection is not known"),
        Some((false, _)) => step(Action::Protect, why),
        Some((true, _)) => Vec::new(),
    }
}

fn hold(policy: &Policy, seen: &Observed, now: Timestamp) -> Vec<Step> {
    if seen.jobs > 0 {
        return keep(seen, now, &format!("{} jobs run", seen.jobs));
    }
    match seen.protected {
        None => step(Action::DescribeInstance, "protection is not known"),
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
        Some(_) => match seen.scaler.filter(|(_, at)| now.duration_since(*at) < DESCRIBED_FOR) {
            None => step(Action::DescribeScaler, "does a scaler keep idle instances?"),
            // It would launch a successor, again and again.
            Some((Some(kept), _)) if now.duration_since(kept) < KEPT_FOR => Vec::new(),
            Some(_) => step(Action::Drain(Reason::Idle), format!("idle for {idle:#} and no scaler acts")),
        },
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
        Some((Some(newer), _)) => {
            let why = match newer {
                Newer::Template => "the group names a newer launch template",
                Newer::Settings => "the settings have changed",
                Newer::Place => "a younger instance is outdated, and cannot go before this one",
            };
            step(Action::Drain(Reason::Update), why)
        }
    }
}
