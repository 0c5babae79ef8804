//! Is there a reason to retire the instance?

use jiff::Timestamp;

use crate::observed::{Disk, Observed, Word};
use crate::policy::Policy;
use crate::{AwsState, Reason, State};

/// What nobody on the instance can put off, if it is not known yet.
pub(super) fn imposed(seen: &Observed) -> Option<(Reason, String)> {
    let at = seen.notices.spot?;
    let known = matches!(seen.state, State::Draining(reason) if reason.is_imposed());
    let over = matches!(seen.state, State::Retired(_));
    (!known && !over).then(|| (Reason::SpotNotice, format!("EC2 takes this spot instance back at {at:.0}")))
}

/// What ends an instance that serves, the strongest first.
pub(super) fn to_retire(policy: &Policy, seen: &Observed, now: Timestamp) -> Option<(Reason, String)> {
    let told = |reason, why: &str| Some((reason, why.to_owned()));
    match seen.word {
        Word::Drain | Word::DrainNow => return told(Reason::Operator, "an operator drains it"),
        Word::Cordon => return None,
        Word::Serve => {}
    }
    if seen.disk == Disk::Full {
        return told(Reason::DiskFull, "the disk is full and nothing on it can be removed");
    }
    // What follows leaves for a successor or for a smaller group, so there must be a group, and it must want this one.
    if !policy.in_group || seen.target != Some(AwsState::InService) {
        return None;
    }
    if seen.notices.maintenance {
        return told(Reason::Maintenance, "EC2 has scheduled maintenance of this machine");
    }
    if seen.notices.rebalance && policy.drain_on_rebalance {
        return told(Reason::Rebalance, "EC2 expects to take this spot instance back");
    }
    if policy.after_job && seen.served {
        return told(Reason::AfterJob, "every job gets a fresh instance");
    }
    let age = now.duration_since(seen.launched?);
    let limit = policy.max_age?;
    (age >= limit).then(|| (Reason::MaxAge, format!("{age:#} old")))
}
