//! When the next tick and the next publication are due.

use std::time::Duration;

/// A CI that asks for an hour by mistake must not stop the stack from growing.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Seconds from now to the next read of the job counts: our interval, or longer if the CI's last answer asked for it.
/// A later answer that asks for less brings it down again.
#[must_use]
pub fn next_tick(interval: Duration, asked: Option<Duration>) -> Duration {
    asked.map_or(interval, |asked| asked.min(LONGEST_PAUSE).max(interval))
}

/// Is a publication due, `since` the last one, where they go out `every` so often? A sixtieth's grace keeps a minutely
/// schedule from skipping every other.
#[must_use]
pub fn publication_due(since: Option<Duration>, every: Duration) -> bool {
    since.is_none_or(|since| since + every / 60 >= every)
}

/// Between the beginnings of two ticks that hints ask for: a build of many jobs sends many of them.
pub const APART: Duration = Duration::from_millis(500);

/// How long the tick that a hint asks for waits, when the last one began `since` ago. It then sees what all hints
/// meanwhile are about.
#[must_use]
pub fn after_hint(since: Duration) -> Duration {
    APART.saturating_sub(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poll_header_is_honoured_both_ways() {
        let s = Duration::from_secs;
        assert_eq!(next_tick(s(10), None), s(10));
        assert_eq!(next_tick(s(10), Some(s(30))), s(30));
        assert_eq!(next_tick(s(10), Some(s(5))), s(10));
        assert_eq!(next_tick(s(10), Some(s(86_400))), s(300));
    }

    #[test]
    fn hints_are_answered_at_once_and_a_storm_of_them_twice_a_second() {
        let ms = Duration::from_millis;
        assert_eq!([0, 200, 500, 9000].map(|since| after_hint(ms(since))), [ms(500), ms(300), ms(0), ms(0)]);
    }

    #[test]
    fn metrics_go_out_at_most_once_a_minute() {
        let s = Duration::from_secs;
        assert!(publication_due(None, s(60)));
        assert!(!publication_due(Some(s(10)), s(60)));
        assert!(!publication_due(Some(s(50)), s(60)));
        assert!(publication_due(Some(s(60)), s(60)));
    }
}
