//! The brake on a relaunch storm: a group whose boots keep failing tries one instance at a time, after growing pauses.
//! Pure: `now` is a parameter.
//!
//! The group itself replaces what failed, as long as more is desired than lives. So it is not enough to ask for nothing
//! more: desired capacity is lowered to what is in service, which calls off the successors and touches no instance that
//! could run a job. What failed is read out of the activities that AWS keeps ([`lifecycle::boots`]), and only when
//! something hints at it, so that a quiet group costs no call.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use lifecycle::boots::Boot;
use lifecycle::probes::next_probe;
use serde::{Deserialize, Serialize};

use crate::decide::Capacity;

/// A group that lacks instances is asked how its boots ended no more often than this, while none has failed.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// One look at a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its numbers.
    pub capacity: Capacity,
    /// Launch template and version of new instances.
    pub launches_from: Option<String>,
    /// Instances on their way in.
    pub booting: BTreeSet<String>,
    /// Instances in service.
    pub serving: BTreeSet<String>,
}

/// The brake of one group: what is remembered from tick to tick, all of it to be found out anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    booting: BTreeSet<String>,
    serving: BTreeSet<String>,
    /// AWS owed launches at the last look.
    owed: bool,
    launches_from: Option<String>,
    /// Boots that began earlier were of another launch template.
    since: Option<Timestamp>,
    asked: Option<Timestamp>,
    /// How boots ended has yet to be asked.
    wonders: bool,
    /// The last boots, as long as they failed; the last of them first.
    failed: Vec<Boot>,
}

/// The brake is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Boots that failed in a row.
    pub in_a_row: usize,
    /// The last of them.
    pub last: Boot,
    /// When the next instance may be tried.
    pub next_probe: Timestamp,
}

impl Failing {
    /// The most that may be desired: what is in service, and the probe when it is due. What boots beyond that is left
    /// to its fate without a successor. But where idle instances have given up their protection, nothing beneath what
    /// lives may be desired: AWS would take those, not the ones that boot.
    #[must_use]
    pub fn ceiling(&self, group: &Capacity, now: Timestamp) -> u32 {
        let with_probe = group.in_service.saturating_add(u32::from(now >= self.next_probe));
        if group.releasable > 0 { with_probe.max(group.live) } else { with_probe }
    }
}

impl Brake {
    /// Takes note of the group; must it be asked how its last boots ended?
    pub fn look(&mut self, seen: &Seen, now: Timestamp) -> bool {
        let other = |known: &String| seen.launches_from.as_ref().is_some_and(|newest| newest != known);
        if self.launches_from.as_ref().is_some_and(other) {
            // Another image, or other settings: what failed before says nothing of them.
            self.since = Some(now);
            self.failed.clear();
        }
        if seen.launches_from.is_some() {
            self.launches_from.clone_from(&seen.launches_from);
        }
        let lost = self.booting.iter().any(|id| !seen.booting.contains(id) && !seen.serving.contains(id));
        // A boot may begin and fail between two looks: then launches are owed that were not.
        let owed = seen.capacity.owed() > 0;
        let failed = !self.failed.is_empty();
        let arrived = failed && !seen.serving.is_subset(&self.serving);
        let lacks = seen.capacity.desired > seen.capacity.in_service;
        let long_ago = self.asked.is_none_or(|asked| now.duration_since(asked) >= ASK_AGAIN);
        let hinted = lost || arrived || (owed && !self.owed);
        self.wonders |= self.asked.is_none() || hinted || (lacks && (failed || long_ago));
        self.owed = owed;
        self.booting.clone_from(&seen.booting);
        self.serving.clone_from(&seen.serving);
        self.wonders
    }

    /// Takes note of how the last boots ended, the last first.
    pub fn learn(&mut self, boots: Vec<Boot>, now: Timestamp) {
        self.asked = Some(now);
        self.wonders = false;
        let of_now = boots.into_iter().filter(|boot| self.since.is_none_or(|since| boot.began >= since));
        self.failed = of_now.take_while(|boot| boot.failure.is_some()).collect();
    }

    /// Boots that failed since the last that got ready, as far as is known.
    #[must_use]
    pub fn in_a_row(&self) -> usize {
        self.failed.len()
    }

    /// Is the brake on? `pause` comes before the first probe, and multiples of it before the others.
    #[must_use]
    pub fn failing(&self, pause: SignedDuration) -> Option<Failing> {
        let last = self.failed.first()?.clone();
        let next_probe = next_probe(&self.failed, pause)?;
        Some(Failing { in_a_row: self.failed.len(), last, next_probe })
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
