//! What hints announced, kept from one tick to the next, and the job counts that come with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Hint;
use crate::fan_out::FanOut;
use crate::forecast::{Forecast, LookAhead};
use crate::ports::{Counts, JobCounts, Problem};

/// What was heard of one queue.
#[derive(Debug, Default)]
pub struct Heard {
    look_ahead: LookAhead,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    fan_out: FanOut,
    forecast: Forecast,
}

impl Heard {
    /// Takes note of a hint; how many jobs it announced for `queue`.
    pub fn hear(&self, hint: &Hint, queue: &str, now: Timestamp) -> u32 {
        let mut inside = self.lock();
        let announced = inside.fan_out.hear(hint, queue, self.look_ahead.patience, now);
        inside.forecast.announce(announced, &self.look_ahead, now);
        announced
    }

    /// Jobs to prepare for beyond those that are there.
    fn expected(&self, unfinished: u64, now: Timestamp) -> u32 {
        self.lock().forecast.note(unfinished, &self.look_ahead, now)
    }

    /// Nothing panics while it holds the lock, and if it did, the data would be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Job counts with the jobs that hints announced. What the source does not know is not announced either.
#[derive(Debug)]
pub struct WithHints<J> {
    counts: J,
    heard: Arc<Heard>,
}

impl<J> WithHints<J> {
    /// What `counts` says, and what was heard.
    pub fn new(counts: J, heard: Arc<Heard>) -> Self {
        Self { counts, heard }
    }
}

impl<J: JobCounts + Sync> JobCounts for WithHints<J> {
    async fn read(&self, queue: &str) -> Result<Counts, Problem> {
        let counts = self.counts.read(queue).await?;
        let unfinished = counts.jobs.scheduled.saturating_add(counts.jobs.running);
        let expected = self.heard.expected(unfinished, Timestamp::now());
        Ok(Counts { expected, ..counts })
    }
}

#[cfg(test)]
mod tests;
