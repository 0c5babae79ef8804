//! What hints announced, kept from one tick to the next, and the part of it that job counts do not have yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Event, Hint};
use crate::fan_out::FanOut;
use crate::forecast::{Forecast, LookAhead};
use crate::ports::Counts;

/// What was heard of one queue.
#[derive(Debug, Default)]
pub struct Heard {
    look_ahead: LookAhead,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    learned: Learned,
    is_news: bool,
}

/// What outlives the process of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    fan_out: FanOut,
    forecast: Forecast,
}

impl Learned {
    /// Forgets some of the eldest, so that less is to be kept. False: there is nothing left.
    pub fn cut(&mut self) -> bool {
        self.fan_out.cut()
    }
}

impl Heard {
    /// Takes note of a hint; how many jobs it announced for `queue`.
    pub fn hear(&self, hint: &Hint, queue: &str, now: Timestamp) -> u32 {
        let mut inside = self.lock();
        let announced = inside.learned.fan_out.hear(hint, queue, self.look_ahead.patience, now);
        inside.learned.forecast.announce(announced, &self.look_ahead, now);
        inside.is_news |= announced > 0 || (hint.event == Event::JobScheduled && hint.is_for(queue));
        announced
    }

    /// Takes note of what became of the announced jobs, and adds those that are still to come. What the source does not
    /// know is not announced either.
    pub fn expect(&self, counts: &mut Counts, now: Timestamp) {
        let unfinished = counts.jobs.scheduled.saturating_add(counts.jobs.running);
        counts.expected = self.lock().learned.forecast.note(unfinished, &self.look_ahead, now);
    }

    /// Were jobs of the queue announced since this was asked the last time?
    pub fn is_news(&self) -> bool {
        std::mem::take(&mut self.lock().is_news)
    }

    /// What was learned so far.
    #[must_use]
    pub fn learned(&self) -> Learned {
        self.lock().learned.clone()
    }

    /// Goes on from what another process learned.
    pub fn recall(&self, learned: Learned) {
        self.lock().learned = learned;
    }

    /// Adds what another process learned beside this one. What was announced to that one is soon over.
    pub fn join(&self, theirs: Learned) {
        self.lock().learned.fan_out.join(theirs.fan_out);
    }

    /// Nothing panics while it holds the lock, and if it did, the data would be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
