//! Ticks that say the same one after the other are one story. Pure.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::tell::{clock, tell};
use crate::record::Record;

/// Ticks are at most five minutes apart (`pace`): with more between them there were quiet ones.
const APART: SignedDuration = SignedDuration::from_mins(6);

/// What one or several ticks in a row had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The first tick.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// How many.
    pub ticks: usize,
    /// The words.
    pub lines: Vec<String>,
}

/// The stories of records in order.
pub fn stories<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    for record in records {
        let (at, lines) = (record.inputs.at, tell(record));
        match stories.last_mut() {
            Some(last) if last.lines == lines && at.duration_since(last.to) <= APART => {
                last.to = at;
                last.ticks += 1;
            }
            _ => stories.push(Story { from: at, to: at, ticks: 1, lines }),
        }
    }
    stories
}

/// The stories as text: a line for each day, then each story with the time of its first tick.
#[must_use]
pub fn text(stories: &[Story]) -> String {
    let mut text = String::new();
    let mut day = None;
    for story in stories {
        let date = story.from.strftime("%Y-%m-%d").to_string();
        if day.as_ref() != Some(&date) {
            // A `String` takes all that is written.
            let _ = writeln!(text, "{date}, times are UTC");
            day = Some(date);
        }
        let mut time = clock(story.from);
        let same =
            (story.ticks > 1).then(|| format!("the same until {} ({} ticks)", clock(story.to), story.ticks));
        for line in story.lines.iter().chain(&same) {
            let _ = writeln!(text, "{time:8}  {}", printable(line));
            time.clear();
        }
    }
    text
}

/// What others wrote (AWS, the CI) does not move a terminal's cursor.
pub(super) fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
