//! Does AWS deliver? Remembers for each group since when launches are owed, and for how long a group that did not
//! get them is left alone. Pure: `now` is a parameter.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::decide::Capacity;

/// How long AWS is given, and how long a shortage is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// Launches that are owed for so long are a shortage.
    pub launch: SignedDuration,
    /// After so long a group that was short is tried again.
    pub retry_after: SignedDuration,
}

/// What is remembered of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl Shortage {
    /// Since when AWS owes launches, as far as was known at the last look.
    #[must_use]
    pub fn owed_since(&self) -> Option<Timestamp> {
        self.owed_since
    }

    /// Takes note of the group as it was described; is it short now?
    pub fn note(&mut self, seen: &Capacity, patience: Patience, now: Timestamp) -> bool {
        self.note_lack(seen.owed() > 0, patience, now)
    }

    /// Takes note of whether anything is lacking; is it short now?
    pub fn note_lack(&mut self, lacks: bool, patience: Patience, now: Timestamp) -> bool {
        if lacks {
            let since = *self.owed_since.get_or_insert(now);
            if now.duration_since(since) >= patience.launch {
                self.until = now.checked_add(patience.retry_after).ok();
            }
        } else {
            self.owed_since = None;
        }
        if self.until.is_some_and(|until| now >= until) {
            // A fresh try gets the whole patience again.
            *self = Self::default();
        }
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { launch: SignedDuration::from_secs(60), retry_after: SignedDuration::from_secs(600) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn owed(launches: u32) -> Capacity {
        Capacity { desired: launches, ..Capacity::default() }
    }

    #[test]
    fn a_group_is_short_when_launches_are_owed_for_long_and_is_tried_again() {
        let mut shortage = Shortage::default();
        let seen: Vec<bool> =
            [(0, 2), (59, 2), (60, 2), (61, 0), (600, 0), (659, 0), (660, 0), (661, 2), (720, 2)]
                .map(|(second, launches)| shortage.note(&owed(launches), PATIENCE, at(second)))
                .into();
        assert_eq!(seen, [false, false, true, true, true, true, false, false, false]);
        assert!(shortage.note(&owed(2), PATIENCE, at(721)));
    }

    #[test]
    fn slow_launches_that_come_in_time_are_no_shortage() {
        let mut shortage = Shortage::default();
        for second in [0, 50, 55, 110] {
            let launches = u32::from(second != 55);
            assert!(!shortage.note(&owed(launches), PATIENCE, at(second)), "{second}");
        }
    }

    #[test]
    fn a_shortage_that_goes_on_is_believed_for_longer() {
        let mut shortage = Shortage::default();
        shortage.note(&owed(1), PATIENCE, at(0));
        assert!(shortage.note(&owed(1), PATIENCE, at(60)));
        assert!(shortage.note(&owed(1), PATIENCE, at(659)));
        assert!(shortage.note(&owed(0), PATIENCE, at(1258)));
        assert!(!shortage.note(&owed(0), PATIENCE, at(1259)));
    }
}
