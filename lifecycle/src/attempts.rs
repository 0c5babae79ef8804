//! What failed lately, and when it may be tried again. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::decide::Action;

/// Longest time between two attempts.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

/// Failures by action.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempts(BTreeMap<Action, Failed>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Failed {
    times: u32,
    not_before: Timestamp,
}

impl Attempts {
    /// Notes a failure: the next attempt waits, each time twice as long.
    pub fn fail(&mut self, action: Action, first_wait: SignedDuration, now: Timestamp) {
        let times = self.failed(action).saturating_add(1);
        let wait = first_wait.saturating_mul(1 << (times - 1).min(10)).min(LONGEST);
        let not_before = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.0.insert(action, Failed { times, not_before });
    }

    /// It will not be done: as if it had failed for good.
    pub fn give_up(&mut self, action: Action) {
        self.0.insert(action, Failed { times: u32::MAX, not_before: Timestamp::MAX });
    }

    /// Notes a success.
    pub fn succeed(&mut self, action: Action) {
        self.0.remove(&action);
    }

    /// How often it failed in a row.
    #[must_use]
    pub fn failed(&self, action: Action) -> u32 {
        self.0.get(&action).map_or(0, |f| f.times)
    }

    /// May it be tried now?
    #[must_use]
    pub fn may(&self, action: Action, now: Timestamp) -> bool {
        self.0.get(&action).is_none_or(|f| now >= f.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_a_success() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let mut attempts = Attempts::default();
        let wait = SignedDuration::from_secs(1);
        for (fails, ready) in [(1, 1000), (2, 2000), (3, 4000)] {
            attempts.fail(Action::Protect, wait, at(0));
            assert_eq!(attempts.failed(Action::Protect), fails);
            assert!(
                !attempts.may(Action::Protect, at(ready - 1)) && attempts.may(Action::Protect, at(ready))
            );
        }
        for _ in 0..50 {
            attempts.fail(Action::Protect, wait, at(0));
        }
        assert!(attempts.may(Action::Protect, at(30_000)) && attempts.may(Action::Unprotect, at(0)));
        attempts.succeed(Action::Protect);
        assert!(attempts.may(Action::Protect, at(0)));
    }
}
