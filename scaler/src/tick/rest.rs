//! When a look at the groups may be left out. Pure.
//!
//! Job counts are read in every tick, for all queues with one call; groups cost calls of an account that has few of them
//! to spare. A queue is *at rest* where its last look found nothing to do and nothing under way. Then what was seen is
//! believed for a while, as long as the jobs, decided with it, still ask for nothing: whatever they ask for is decided
//! anew from a fresh look, never from what is remembered.

use jiff::{SignedDuration, Timestamp};

use crate::decide::{Capacity, Plan, Reason};
use crate::record::Inputs;
use crate::sharing::Sharing;

/// Between two looks at everything: what nobody announces is seen so late (desired capacity set by hand, an instance
/// that AWS took).
const LOOK_AT_ALL: SignedDuration = SignedDuration::from_secs(30);

/// The same where a look takes several calls: two a minute are the price of fifty groups, and two to four of two hundred.
const LOOK_AT_MANY: SignedDuration = SignedDuration::from_secs(60);

/// Groups that one page tells of.
const MANY: usize = 100;

/// Is a look at all groups due?
pub(super) fn is_due(looked: Option<Timestamp>, groups: usize, any_untagged: bool, at: Timestamp) -> bool {
    let every = if groups > MANY || any_untagged { LOOK_AT_MANY } else { LOOK_AT_ALL };
    // A clock that was set back is no reason to wait.
    looked.is_none_or(|looked| at < looked || at.duration_since(looked) >= every)
}

/// Is there nothing to do, and nothing under way?
pub(super) fn is_at_rest(inputs: &Inputs, plans: &[Option<Plan>]) -> bool {
    // What jobs that are not known ask for is seen once they are.
    let enough = inputs.jobs.is_none() || plans.iter().all(|plan| plan.is_some_and(|plan| is_enough(&plan)));
    let steady = inputs.weighed().iter().all(|group| group.as_ref().is_some_and(is_steady));
    enough && steady && others_rest(inputs)
}

/// With all that was seen, do these jobs ask for nothing either?
pub(super) fn asks_nothing(inputs: &Inputs) -> bool {
    is_at_rest(inputs, &inputs.decide())
}

fn is_enough(plan: &Plan) -> bool {
    plan.target().is_none() && matches!(plan.reason, Reason::Enough | Reason::AtMaximum | Reason::Paused)
}

fn is_steady(group: &Capacity) -> bool {
    is_complete(group) && !group.short && group.ceiling.is_none() && group.phantom == 0
}

fn is_complete(group: &Capacity) -> bool {
    group.desired == group.live && group.live == group.in_service
}

/// What other stacks on the queue do changes this one's part only while jobs wait, or while they change.
fn others_rest(inputs: &Inputs) -> bool {
    let waiting = inputs.jobs.is_some_and(|jobs| jobs.scheduled > 0) || inputs.expected > 0;
    match &inputs.sharing {
        Sharing::Alone => true,
        Sharing::Unknown => false,
        Sharing::With(fellows) => !waiting && fellows.others.iter().all(|other| is_complete(&other.capacity)),
    }
}

#[cfg(test)]
mod tests;
