//! Ticks of a queue that say the same one after the other are one story. Pure.

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
    /// Its ticks, by their places among the records.
    pub ticks: Vec<usize>,
    /// The queue.
    pub queue: String,
    /// The words.
    pub lines: Vec<String>,
}

/// The stories of records in order.
pub fn stories<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    for (tick, record) in records.into_iter().enumerate() {
        let (at, lines, queue) = (record.inputs.at, tell(record), &record.inputs.queue);
        match stories.iter_mut().rev().find(|story| story.queue == *queue) {
            Some(last) if last.lines == lines && at.duration_since(last.to) <= APART => {
                last.to = at;
                last.ticks.push(tick);
            }
            _ => stories.push(Story { from: at, to: at, ticks: vec![tick], queue: queue.clone(), lines }),
        }
    }
    stories
}

/// The stories as text: a line for each day, then each story with the time of its first tick, and its queue where there
/// are several.
#[must_use]
pub fn text(stories: &[Story]) -> String {
    let mut text = String::new();
    let mut day = None;
    let several = stories.iter().any(|story| story.queue != stories[0].queue);
    for story in stories {
        let date = story.from.strftime("%Y-%m-%d").to_string();
        if day.as_ref() != Some(&date) {
            // A `String` takes all that is written.
            let _ = writeln!(text, "{date}, times are UTC");
            day = Some(date);
        }
        let mut head = format!("{}  ", clock(story.from));
        if several {
            let _ = write!(head, "queue {}: ", printable(&story.queue));
        }
        let ticks = story.ticks.len();
        let same = (ticks > 1).then(|| format!("the same until {} ({ticks} ticks)", clock(story.to)));
        for line in story.lines.iter().chain(&same) {
            let _ = writeln!(text, "{head:10}{}", printable(line));
            head.clear();
        }
    }
    text
}

/// What others wrote (AWS, the CI) does not move a terminal's cursor.
pub(super) fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
