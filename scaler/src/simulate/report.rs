//! What simulated policies are worth: waits, cost over busy time, boots, beside the clairvoyant bound.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::trace::{Millis, Trace};
use super::world::Course;

/// A number over the seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The one in the middle, or the mean of the two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let at = |place: usize| numbers.get(place).copied().unwrap_or(0.0);
        let last = numbers.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), min: at(0), max: at(last) }
    }
}

/// Columns: key in JSON, heading of the table, decimals there, and the number of a course.
type Column = (&'static str, &'static str, usize, fn(&Course, &Trace) -> f64);

const COLUMNS: [Column; 11] = [
    ("wait_p50_s", "wait p50", 1, |course, _| quantile(&course.waits, 50)),
    ("wait_p95_s", "p95", 1, |course, _| quantile(&course.waits, 95)),
    ("wait_p99_s", "p99", 1, |course, _| quantile(&course.waits, 99)),
    ("wait_max_s", "max", 1, |course, _| quantile(&course.waits, 100)),
    ("cost_over_busy", "cost/busy", 3, |course, trace| ratio(course.paid, trace.busy())),
    ("billed_over_busy", "billed/busy", 3, |course, trace| ratio(course.billed, trace.busy())),
    ("boots", "boots", 0, |course, _| f64::from(course.boots)),
    ("overshoot", "unused", 0, |course, _| f64::from(course.unused)),
    ("idle_share", "idle", 3, |course, _| ratio(course.idle, course.paid)),
    ("time_to_zero_s", "to zero", 0, |course, _| seconds(course.to_zero)),
    ("interrupted", "interrupted", 0, |course, _| f64::from(course.interrupted)),
];

/// One policy over all seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyReport {
    /// As it was asked for.
    pub name: String,
    numbers: [Spread; COLUMNS.len()],
}

impl PolicyReport {
    /// Of the courses that one policy took, one for each seed. Their waits are sorted.
    #[must_use]
    pub fn of(name: &str, trace: &Trace, mut courses: Vec<Course>) -> Self {
        courses.iter_mut().for_each(|course| course.waits.sort_unstable());
        let numbers =
            COLUMNS.map(|(_, _, _, number)| Spread::of(courses.iter().map(|course| number(course, trace))));
        Self { name: name.to_owned(), numbers }
    }

    /// A number by its key in JSON.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<Spread> {
        COLUMNS.iter().position(|(name, ..)| *name == key).map(|place| self.numbers[place])
    }

    fn json(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), json!(self.name));
        for ((key, ..), spread) in COLUMNS.iter().zip(self.numbers) {
            for (suffix, number) in [("", spread.median), ("_min", spread.min), ("_max", spread.max)] {
                entry.insert(format!("{key}{suffix}"), json!(rounded(number)));
            }
        }
        Value::Object(entry)
    }
}

/// All policies, the bound, and what was simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// In the order in which they were asked for.
    pub policies: Vec<PolicyReport>,
    /// What no wait at all would cost at least, over busy time.
    pub bound: f64,
    /// Jobs of the trace.
    pub jobs: usize,
    /// Hours that agents are busy with them.
    pub busy_hours: f64,
}

impl Report {
    /// The same with some of the policies.
    #[must_use]
    pub fn of(&self, policies: &[usize]) -> Self {
        Self { policies: policies.iter().map(|policy| self.policies[*policy].clone()).collect(), ..*self }
    }

    /// One JSON document.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "policies": self.policies.iter().map(PolicyReport::json).collect::<Vec<_>>(),
            "bound": { "cost_over_busy": rounded(self.bound) },
            "jobs": self.jobs,
            "busy_hours": rounded(self.busy_hours),
        })
    }

    /// A table for people: medians; columns in which nothing ever happened are left out, and what is billed, which
    /// differs little from what is paid.
    #[must_use]
    pub fn table(&self) -> String {
        let shown: Vec<usize> = (0..COLUMNS.len())
            .filter(|place| {
                let column = COLUMNS[*place].0;
                !matches!(column, "interrupted" | "billed_over_busy")
                    || column == "interrupted" && self.policies.iter().any(|p| p.numbers[*place].max > 0.0)
            })
            .collect();
        let mut rows = vec![vec!["policy".to_owned()]];
        rows[0].extend(shown.iter().map(|place| COLUMNS[*place].1.to_owned()));
        for policy in &self.policies {
            let cells = shown.iter().map(|place| cell(*place, policy.numbers[*place].median));
            rows.push(std::iter::once(policy.name.clone()).chain(cells).collect());
        }
        let bound = shown.iter().map(|place| match COLUMNS[*place].0 {
            key if key.starts_with("wait") => cell(*place, 0.0),
            "cost_over_busy" => cell(*place, self.bound),
            _ => String::new(),
        });
        rows.push(std::iter::once("clairvoyant bound".to_owned()).chain(bound).collect());
        aligned(&rows)
    }
}

fn cell(place: usize, number: f64) -> String {
    let (key, _, decimals, _) = COLUMNS[place];
    match key {
        "idle_share" => format!("{:.1} %", 100.0 * number),
        _ if key.ends_with("_s") => format!("{number:.decimals$} s"),
        _ => format!("{number:.decimals$}"),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:<1$}", row[0], width(0));
        for (column, cell) in row.iter().enumerate().skip(1) {
            let _ = write!(line, "  {cell:>0$}", width(column));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Of sorted waits, in seconds: the smallest one that `percent` of all do not exceed.
fn quantile(sorted: &[Millis], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map_or(0.0, seconds)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of years are far below 2^53")]
fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of years are far below 2^53")]
fn ratio(part: Millis, whole: Millis) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// As many decimals as say something.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}
