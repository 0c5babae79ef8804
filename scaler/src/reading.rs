//! How far job counts can be relied on: how fresh they are, and how complete. Pure.
//!
//! Counts in doubt may raise capacity, since the jobs that they tell of are there or were there lately; they never lower it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Counts that are older are in doubt. Sources are read anew for each tick; only a cache between here and the CI, a
/// replica of its that lags, or a clock that is wrong brings older ones.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// When counts were read, and what they cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When they were asked for, by this machine's clock.
    pub at: Timestamp,
    /// When they were so, by the CI's clock, where it tells.
    pub as_of: Option<Timestamp>,
    /// Is every job of the queue counted? Otherwise there may be more.
    pub complete: bool,
}

impl Reading {
    /// A complete one of this moment.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self { at, as_of: None, complete: true }
    }

    /// What keeps a tick at `now` from lowering capacity by these counts.
    #[must_use]
    pub fn doubt(&self, now: Timestamp) -> Option<Doubt> {
        let as_of = self.as_of.map_or(self.at, |as_of| as_of.min(self.at));
        match () {
            () if now.duration_since(as_of) > STALE_AFTER => Some(Doubt::Stale { as_of }),
            () if !self.complete => Some(Doubt::Incomplete),
            () => None,
        }
    }
}

/// Why counts lower nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// There may be more jobs.
    Incomplete,
    /// It was so long ago.
    Stale {
        /// When it was so.
        as_of: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_or_incomplete_counts_are_in_doubt() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let doubt = |as_of: Option<i64>, complete, now| {
            Reading { at: second(1000), as_of: as_of.map(second), complete }.doubt(second(now))
        };
        let stale = |as_of| Some(Doubt::Stale { as_of: second(as_of) });
        for (as_of, complete, now, expected) in [
            (None, true, 1000, None),
            (None, true, 1060, None),
            (None, true, 1061, stale(1000)),
            (Some(941), true, 1001, None),
            (Some(941), true, 1002, stale(941)),
            // The CI's clock is ahead, or this one behind: that makes nothing old, nor young.
            (Some(5000), true, 1001, None),
            (Some(5000), true, 1061, stale(1000)),
            (None, false, 1001, Some(Doubt::Incomplete)),
            (Some(900), false, 1001, stale(900)),
            // This clock was set back meanwhile.
            (Some(999), true, 10, None),
        ] {
            assert_eq!(doubt(as_of, complete, now), expected, "{as_of:?} {complete} {now}");
        }
    }
}
