//! The one task: lines are read, gathered by group for a moment, delivered, and only then remembered as delivered.
//!
//! Each line is delivered at least once. One that was delivered is sent again only where its acknowledgement did not
//! reach the disk: this program was killed, or the answer was lost, within one round (a second or 256 KiB).

use std::collections::BTreeMap;
use std::time::Duration;

use aws::{CallError, Fault};
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{self, Event, Limits};
use super::position::PositionFile;
use super::record::{Groups, Kind};
use super::sink::{Receipt, Sink};
use super::source::Source;
use super::text;
use crate::failure::Failure;

/// How long things wait.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A line for others to go with it.
    pub gather: Duration,
    /// The second attempt; each later one twice as long,
    pub first_wait: Duration,
    /// up to this,
    pub longest_wait: Duration,
    /// or to this once it is told to end.
    pub last_waits: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gather: Duration::from_secs(1),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(30),
            last_waits: Duration::from_millis(800),
        }
    }
}

/// Bytes of one round, as the API counts them; with one record more it is what is held in memory.
const ROUND: usize = Limits::OURS.bytes;

/// Reads from a source and delivers to a sink.
pub struct Shipper<S, K> {
    source: S,
    sink: K,
    groups: Groups,
    file: PositionFile,
    stop: watch::Receiver<bool>,
    pace: Pace,
}

/// What is delivered together.
#[derive(Default)]
struct Round {
    lanes: BTreeMap<Kind, Vec<Event>>,
    bytes: usize,
    is_last: bool,
}

impl<S: Source, K: Sink> Shipper<S, K> {
    /// Ready to run; `stop` becoming true makes it deliver what is there and end.
    pub fn new(source: S, sink: K, groups: Groups, file: PositionFile, stop: watch::Receiver<bool>) -> Self {
        Self { source, sink, groups, file, stop, pace: Pace::default() }
    }

    /// The same at another pace.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Runs until it is stopped and all that was there then is delivered.
    ///
    /// # Errors
    /// When the source cannot be read or the position not be kept. A sink that refuses is no error: it is tried again.
    pub async fn run(mut self) -> Result<(), Failure> {
        let mut draining = false;
        loop {
            let round = self.gather(&mut draining).await?;
            self.deliver(round.lanes).await;
            self.file.write(&self.source.position())?;
            if round.is_last {
                return Ok(());
            }
        }
    }

    /// Waits for a line, and for others until time or room is over.
    async fn gather(&mut self, draining: &mut bool) -> Result<Round, Failure> {
        let mut round = Round::default();
        let mut until: Option<Instant> = None;
        while round.bytes < ROUND {
            let record = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop), if !*draining => {
                    *draining = true;
                    self.source.drain().await?;
                    continue;
                }
                record = self.source.next() => record?,
                () = at(until) => break,
            };
            let Some(record) = record else {
                round.is_last = true;
                break;
            };
            until.get_or_insert_with(|| Instant::now() + self.pace.gather);
            let events = text::events(&record, jiff::Timestamp::now().as_millisecond());
            round.bytes += events.iter().map(batch::size).sum::<usize>();
            round.lanes.entry(record.kind).or_default().extend(events);
        }
        Ok(round)
    }

    /// Delivers all lanes side by side, whatever it takes.
    async fn deliver(&self, lanes: BTreeMap<Kind, Vec<Event>>) {
        let lanes = lanes.into_iter().map(async |(kind, events)| {
            let group = self.groups.name(kind);
            for batch in batch::batches(events, &Limits::OURS) {
                self.put(&group, batch).await;
            }
        });
        futures::future::join_all(lanes).await;
    }

    /// One batch. One that the service calls invalid is halved until the event is found that it does not take.
    async fn put(&self, group: &str, batch: Vec<Event>) {
        let mut open = vec![batch];
        while let Some(mut batch) = open.pop() {
            match self.attempts(group, &batch).await {
                Ok(receipt) => tell(group, receipt),
                Err(_) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    open.extend([second, batch]);
                }
                Err(error) => {
                    let size = batch.first().map_or(0, |event| event.message.len());
                    eprintln!("logs: {group}: an event of {size} bytes is left out: {error}");
                }
            }
        }
    }

    /// Tries until the batch is stored, or is not one that will ever be.
    async fn attempts(&self, group: &str, batch: &[Event]) -> Result<Receipt, CallError> {
        let begun = Instant::now();
        let (mut said, mut wait) = (None, self.pace.first_wait);
        loop {
            let error = match self.sink.put(group, batch).await {
                Ok(receipt) => {
                    if said.is_some() {
                        eprintln!("logs: {group}: delivered after {} s", begun.elapsed().as_secs());
                    }
                    return Ok(receipt);
                }
                Err(error) if error.fault == Fault::Invalid => return Err(error),
                Err(error) => error,
            };
            if said != Some(error.fault) {
                eprintln!("logs: {}", refusal(&error, batch.len()));
                said = Some(error.fault);
            }
            self.pause(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            let ending = *self.stop.borrow();
            wait = (wait * 2).min(if ending { self.pace.last_waits } else { self.pace.longest_wait });
        }
    }

    /// Being told to end ends a wait too.
    async fn pause(&self, wait: Duration) {
        let (mut stop, was_told) = (self.stop.clone(), *self.stop.borrow());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop), if !was_told => {}
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn refusal(error: &CallError, waiting: usize) -> String {
    let advice = match error.fault {
        Fault::Denied | Fault::DeniedByKey => ": allow the instance role this action",
        Fault::Absent => ": update the stack, which makes the group",
        _ => "",
    };
    format!("{error}{advice}; {waiting} events and all after them wait on the instance and are tried again")
}

fn tell(group: &str, receipt: Receipt) {
    if receipt != Receipt::default() {
        let Receipt { too_new, too_old } = receipt;
        eprintln!(
            "logs: {group}: CloudWatch Logs left out {too_old} events as older than the group keeps and {too_new} as \
             from the future: is the clock right?"
        );
    }
}

#[cfg(test)]
mod tests;
