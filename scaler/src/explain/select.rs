//! Which records are told. Pure.

use jiff::{SignedDuration, Timestamp};

use super::story::stories;
use crate::decide::Step;
use crate::record::{Record, Unreadable};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The last so many stories.
    Last(usize),
    /// The story of the last tick that left a record, at this time or before it.
    At(Timestamp),
    /// All that speaks of an instance, and the steps that it went by.
    Instance(String),
}

/// A record and the line it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it was written.
    pub text: String,
    /// What it says.
    pub record: Record,
}

/// Records of a log in the order of their ticks, and what could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The records.
    pub lines: Vec<Line>,
    /// Lines that begin like records.
    pub unreadable: Vec<Unreadable>,
}

impl Log {
    /// Reads lines in any order; what is no record is left out.
    pub fn read(texts: impl IntoIterator<Item = String>) -> Self {
        let mut log = Self::default();
        for text in texts {
            match Record::read(&text) {
                Some(Ok(record)) => log.lines.push(Line { text: text.trim().to_owned(), record }),
                Some(Err(unreadable)) => log.unreadable.push(unreadable),
                None => {}
            }
        }
        log.lines.sort_by_key(|line| line.record.inputs.at);
        // Lambda may deliver a line twice.
        log.lines.dedup();
        log
    }

    /// The lines that are asked for.
    #[must_use]
    pub fn select(&self, which: &Which) -> Vec<Line> {
        match which {
            Which::Last(count) => last(&self.lines, *count),
            Which::At(at) => {
                let before = self.lines.partition_point(|line| line.record.inputs.at <= *at);
                last(&self.lines[..before], 1)
            }
            Which::Instance(instance) => self.of_instance(instance),
        }
    }

    /// Does nothing older belong to what is asked for?
    #[must_use]
    pub fn is_enough(&self, which: &Which) -> bool {
        match which {
            // One more, so that the first of them has its beginning.
            Which::Last(count) => stories(self.lines.iter().map(|line| &line.record)).len() > *count,
            Which::At(at) => {
                let before = self.lines.iter().map(|line| &line.record).filter(|r| r.inputs.at <= *at);
                stories(before).len() > 1
            }
            Which::Instance(instance) => self
                .lines
                .iter()
                .any(|line| line.record.moved.iter().any(|moved| moved.booting.contains(instance))),
        }
    }

    fn of_instance(&self, instance: &str) -> Vec<Line> {
        let mut kept = vec![false; self.lines.len()];
        for (place, line) in self.lines.iter().enumerate() {
            kept[place] |= speaks_of(&line.record, instance);
            for (group, moved) in line.record.moved.iter().enumerate() {
                if moved.left.iter().any(|id| id == instance)
                    && let Some(step) =
                        self.lines[..place].iter().rposition(|line| lowered(&line.record, group))
                {
                    kept[step] = true;
                }
            }
        }
        self.lines.iter().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| line.clone()).collect()
    }
}

/// The lines of the last `count` stories.
fn last(lines: &[Line], count: usize) -> Vec<Line> {
    let told = stories(lines.iter().map(|line| &line.record));
    let mut ticks: Vec<usize> = told.iter().rev().take(count).flat_map(|story| story.ticks.clone()).collect();
    ticks.sort_unstable();
    ticks.into_iter().filter_map(|tick| lines.get(tick)).cloned().collect()
}

fn speaks_of(record: &Record, instance: &str) -> bool {
    let mut known = record.inputs.groups.iter().filter_map(|group| group.known.as_ref());
    record.moved.iter().any(|moved| moved.names(instance))
        || known.any(|known| {
            let failed =
                known.boots_failing.as_ref().is_some_and(|failing| failing.last.instance == instance);
            failed || known.phantoms.iter().any(|phantom| phantom == instance)
        })
}

/// Did this tick lower the group of this place?
fn lowered(record: &Record, group: usize) -> bool {
    matches!(record.plan.get(group), Some(Some(plan)) if matches!(plan.step, Step::ScaleIn { .. }))
}

/// A time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one.
    Then(Timestamp),
    /// So long ago.
    Ago(SignedDuration),
}

impl When {
    /// The time, seen from `now`.
    #[must_use]
    pub fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Then(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

impl std::str::FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "give a time like 2026-11-21T14:02:10Z, or how long ago: 90s, 10m, 2h, 1d";
        if let Ok(at) = text.parse() {
            return Ok(Self::Then(at));
        }
        let (number, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
            .ok_or(form)?;
        let number: u32 = number.parse().map_err(|_| form)?;
        Ok(Self::Ago(SignedDuration::from_secs(i64::from(number) * seconds)))
    }
}

#[cfg(test)]
mod tests;
