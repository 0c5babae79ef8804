//! The state of one queue on the ledger: read when the program starts, written when it changed, not often.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::State;
use crate::ledger::{Item, Ledger};
use crate::ports::Problem;

/// From one writing to the next, at least; the last one is at the end.
const EVERY: Duration = Duration::from_secs(30);

/// What of the item is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    /// Nothing: it could not be read.
    Unknown,
    /// This one is there, or none.
    Is(Option<String>),
}

/// The item of one queue.
#[derive(Debug)]
pub struct Store<L> {
    ledger: L,
    id: String,
    version: Version,
    /// What was written or tried last, and when.
    last: Option<(State, Instant)>,
}

impl<L: Ledger> Store<L> {
    /// That of this queue.
    pub fn new(ledger: L, queue: &str) -> Self {
        Self { ledger, id: format!("state {queue}"), version: Version::Unknown, last: None }
    }

    /// What lies there, if it can be read.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn load(&mut self, now: Timestamp) -> Result<Option<State>, Problem> {
        let item = self.ledger.read(&self.id).await?;
        self.version = Version::Is(item.as_ref().map(|item| item.version.clone()));
        let read = item.map(|item| State::read(&item.body, now));
        Ok(read.and_then(|read| {
            // It is replaced with the next writing.
            read.inspect_err(|why| eprintln!("scaler: {}: learned anew, {why}", self.id)).ok()
        }))
    }

    /// Is it time to write what changed? At the `end` it always is.
    #[must_use]
    pub fn is_time(&self, end: bool) -> bool {
        end || self.last.as_ref().is_none_or(|(_, at)| at.elapsed() >= EVERY)
    }

    /// Did anything change since it was written? Nothing needs no item.
    #[must_use]
    pub fn is_news(&self, state: &State) -> bool {
        self.last.as_ref().map_or(*state != State::default(), |(last, _)| last != state)
    }

    /// Writes it, unless somebody else has changed what lies there: then that is told, to be joined with what is known here
    /// before the next writing.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn save(&mut self, state: &State, now: Timestamp) -> Result<Option<State>, Problem> {
        // Also where it fails: it is not tried in each tick.
        self.last = Some((state.clone(), Instant::now()));
        if self.version == Version::Unknown
            && let Some(theirs) = self.load(now).await?
        {
            return Ok(Some(theirs));
        }
        let Version::Is(over) = &self.version else { return Ok(None) };
        let body = state.write(now).map_err(|error| Problem::new(1, format!("{}: {error}", self.id)))?;
        let item = Item { version: format!("{:016x}", rand::random::<u64>()), body };
        if self.ledger.put(&self.id, &item, over.as_deref()).await? {
            self.version = Version::Is(Some(item.version));
            return Ok(None);
        }
        self.load(now).await
    }
}

#[cfg(test)]
mod tests;
