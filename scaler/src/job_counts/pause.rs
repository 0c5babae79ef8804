//! The pause that a CI asks for (`Retry-After`): until its end nobody asks it anything under this token.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pace::LONGEST_PAUSE;

/// None so far, or one that lasts until then. On a clock that nobody sets.
#[derive(Debug, Default)]
pub struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// It lasts as long as was `asked`, within reason. Of several answers at once the one that asks for most counts.
    pub fn begin(&self, asked: Duration, now: Instant) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(now.checked_add(asked.min(LONGEST_PAUSE)));
    }

    /// What is left of it.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lasts_as_long_as_was_asked_and_five_minutes_at_most() {
        let (s, begun) = (Duration::from_secs, Instant::now());
        for (asked, lasts) in [(0, 0), (1, 1), (120, 120), (300, 300), (3600, 300), (u64::MAX, 300)] {
            let pause = Pause::default();
            assert_eq!(pause.left(begun), None);
            pause.begin(s(asked), begun);
            assert_eq!(pause.left(begun), Some(s(lasts)).filter(|left| !left.is_zero()), "{asked}");
            assert_eq!(pause.left(begun + s(lasts)), None, "{asked}");
            if lasts > 0 {
                assert_eq!(pause.left(begun + s(lasts - 1)), Some(s(1)), "{asked}");
            }
        }
    }

    #[test]
    fn of_several_the_longest_counts_and_a_new_one_follows_the_old() {
        let (s, begun) = (Duration::from_secs, Instant::now());
        let pause = Pause::default();
        pause.begin(s(60), begun);
        pause.begin(s(20), begun + s(1));
        assert_eq!(pause.left(begun + s(1)), Some(s(59)));
        pause.begin(s(20), begun + s(60));
        assert_eq!(pause.left(begun + s(61)), Some(s(19)));
    }
}
