//! The keeper's time. It goes on evenly when the machine's clock is set: no heartbeat is put off for an hour, no wait ends
//! an hour early.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, Unit};

/// The clocks of a machine.
pub trait MachineClock {
    /// The time of day. It may be set at any time, to any time.
    fn time_of_day(&self) -> Timestamp;

    /// Time since some moment. Nobody sets it.
    fn elapsed(&self) -> Duration;
}

/// This machine's.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine(Instant);

impl ThisMachine {
    /// Counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for ThisMachine {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineClock for ThisMachine {
    fn time_of_day(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that shows the time of day at its start, and from then on only counts.
pub struct EvenClock {
    machine: Box<dyn MachineClock>,
    start: Timestamp,
    elapsed_before: Duration,
}

impl EvenClock {
    /// Starts it.
    #[must_use]
    pub fn new(machine: impl MachineClock + 'static) -> Self {
        let (start, elapsed_before) = (machine.time_of_day(), machine.elapsed());
        Self { machine: Box::new(machine), start, elapsed_before }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let since = self.machine.elapsed().saturating_sub(self.elapsed_before);
        self.start.saturating_add(since).unwrap_or(Timestamp::MAX)
    }

    /// When a time of day that somebody else named is on this clock.
    #[must_use]
    pub fn when(&self, time_of_day: Timestamp) -> Timestamp {
        let ahead = self.machine.time_of_day().duration_since(self.now());
        // Two readings are never of the same moment.
        let ahead = ahead.round(Unit::Second).unwrap_or(SignedDuration::ZERO);
        time_of_day.saturating_sub(ahead).unwrap_or(time_of_day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Hands(Rc<Cell<(i64, u64)>>);

    impl MachineClock for Hands {
        fn time_of_day(&self) -> Timestamp {
            at(self.0.get().0)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.get().1)
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_goes_on_when_the_time_of_day_is_set() {
        let hands = Hands::default();
        hands.0.set((100_000, 50));
        let clock = EvenClock::new(hands.clone());
        for (what, time_of_day, elapsed, now) in [
            ("nothing", 100_000, 50, 100_000),
            ("time passes", 100_010, 60, 100_010),
            ("set back by an hour", 96_420, 70, 100_020),
            ("set ahead by a day", 186_430, 80, 100_030),
        ] {
            hands.0.set((time_of_day, elapsed));
            assert_eq!(clock.now(), at(now), "{what}");
            assert_eq!(clock.when(at(time_of_day + 120)), at(now + 120), "{what}: in two minutes");
        }
    }
}
