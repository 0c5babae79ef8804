//! How long an instance may boot before it counts no more as capacity to come: it is a phantom then. Pure: `now` is a
//! parameter.
//!
//! The budget is learned from the boots that AWS has on record. A phantom stays a member of its group until it comes up
//! after all or its launching hook gives it up, so it takes a place within all limits, and a successor is asked for beside
//! it. At most as many are made up for as instances are needed: where successors do not come up either, more of them
//! would not help.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lifecycle::boots::Boot;
use serde::{Deserialize, Serialize};

use crate::decide::Capacity;

/// The budget before anything is learned.
pub const UNLEARNED: SignedDuration = SignedDuration::from_mins(10);

/// No budget is shorter: boots of seconds vary by more than their length.
pub const LEAST: SignedDuration = SignedDuration::from_mins(2);

/// Nor longer: the launching hook of the stack gives up then.
pub const MOST: SignedDuration = SignedDuration::from_mins(15);

/// So many boots tell enough.
const ENOUGH: usize = 3;

/// Twice as long as nineteen of twenty boots took that got ready.
#[must_use]
pub fn budget(boots: &[Boot]) -> SignedDuration {
    let good = boots.iter().filter(|boot| boot.failure.is_none());
    let mut took: Vec<SignedDuration> = good.map(|boot| boot.ended.duration_since(boot.began)).collect();
    if took.len() < ENOUGH {
        return UNLEARNED;
    }
    took.sort_unstable();
    let slow = took[(took.len() * 95).div_ceil(100) - 1];
    slow.saturating_mul(2).clamp(LEAST, MOST)
}

/// Since when the instances of one group boot, and for how long they may. A program that starts anew counts from its
/// first look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootWatch {
    since: BTreeMap<String, Timestamp>,
    budget: Option<SignedDuration>,
}

impl BootWatch {
    /// Takes note of the instances that boot now.
    pub fn look(&mut self, booting: &BTreeSet<String>, now: Timestamp) {
        self.since.retain(|id, _| booting.contains(id));
        for id in booting {
            self.since.entry(id.clone()).or_insert(now);
        }
    }

    /// Takes note of how the last boots ended.
    pub fn learn(&mut self, boots: &[Boot]) {
        self.budget = Some(budget(boots));
    }

    /// How long an instance may boot.
    #[must_use]
    pub fn budget(&self) -> SignedDuration {
        self.budget.unwrap_or(UNLEARNED)
    }

    /// Instances that boot for longer.
    #[must_use]
    pub fn phantoms(&self, now: Timestamp) -> Vec<&str> {
        let late = self.since.iter().filter(|(_, since)| now.duration_since(**since) > self.budget());
        late.map(|(id, _)| id.as_str()).collect()
    }
}

/// The groups with the phantoms that are made up for: in all no more than instances are needed.
#[must_use]
pub fn made_up_for(needed: u32, groups: Vec<Capacity>) -> Vec<Capacity> {
    let mut left = needed;
    let count = |group: Capacity| {
        let phantom = group.phantom.min(left);
        left -= phantom;
        Capacity { phantom, ..group }
    };
    groups.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests;
