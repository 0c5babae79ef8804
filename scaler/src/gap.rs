//! Alarms mode: what is published so that the stack's CloudWatch alarms and step policies resize a group. Pure.
//!
//! A step policy knows nothing of protected instances, counts from the instances that are in service and warmed up, not
//! from desired capacity, and may act on one datapoint twice: once a minute, on the newest that there is. So a
//! [`gap`] is such that neither of it matters: growth is counted from what is in service, and instances are let go only
//! while nothing boots, and no more than half of those that may go, unless all may. What is published is void after
//! [`void_from`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{Capacity, Plan, Step};

/// Who changes desired capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScalingMode {
    /// The scaler.
    #[default]
    Direct,
    /// CloudWatch alarms on the published gap, by the group's step policies.
    Alarms,
}

impl ScalingMode {
    /// The scaler sets desired capacity itself.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

/// When a datapoint is void, of publications a period apart: a zero is published for then, so that a scaler that is silent
/// lets nobody go. It is the last second of the next period. Were it sooner, an alarm that looks after the zero and before
/// that period's own publication would see nothing but the zero, each time anew.
#[must_use]
pub fn void_from(at: Timestamp, every: Duration) -> Timestamp {
    let period = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    let second =
        (at.as_second().div_euclid(period)).saturating_add(2).saturating_mul(period).saturating_sub(1);
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// For each group the instances that it lacks, counted from those in service (positive), or that may go (negative);
/// nothing where something is unknown. `most` is the most of all groups together.
#[must_use]
pub fn gaps(plans: &[Option<Plan>], groups: &[Option<Capacity>], most: u32) -> Vec<Option<i64>> {
    let known = |at: usize| plans.get(at).copied().flatten().zip(groups.get(at).copied().flatten());
    let taken = |(plan, group): (Plan, Capacity)| group.desired.max(plan.target().unwrap_or(0));
    let all: u32 = (0..plans.len()).filter_map(known).map(taken).fold(0, u32::saturating_add);
    let one = |at: usize| {
        let (plan, group) = known(at)?;
        let others = all.saturating_sub(taken((plan, group)));
        Some(gap(&plan, &group, most.saturating_sub(others)))
    };
    (0..plans.len()).map(one).collect()
}

/// The gap of one group, which may hold `room` instances beside the other groups.
fn gap(plan: &Plan, group: &Capacity, room: u32) -> i64 {
    match plan.step {
        Step::Hold => 0,
        Step::ScaleOut { to, .. } => {
            // Where more is in service than desired, one more is the least that raises desired capacity.
            let lacking = to.saturating_sub(group.in_service).max(1);
            // AWS keeps the group's own maximum.
            let room = if room < group.max { room.saturating_sub(group.in_service) } else { lacking };
            lacking.min(room).into()
        }
        // Nobody is there, and what AWS owes is called off: whatever a policy counts from, it comes to the minimum.
        Step::ScaleIn { from, to } if group.live == 0 && to == group.min => -i64::from(from - to),
        // A policy would count from less than is desired.
        Step::ScaleIn { .. } if group.live != group.desired || group.in_service != group.desired => 0,
        // Beneath the minimum nothing goes, however often a policy acts.
        Step::ScaleIn { from, to } if to == group.min => -i64::from(from - to),
        // The last one goes where another idle one is left to whoever acts twice: a floor would keep it for ever.
        Step::ScaleIn { from, to } => -i64::from(((from - to) / 2).max(1).min(group.releasable / 2)),
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
