//! `scaler explain`: its options, where it reads, and what it prints.

use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws::Session;
use aws::session::Patience;
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::cloudwatch::LogGroupRecords;
use super::select::{Line, Log, When, Which};
use super::story::{printable, stories, text};
use super::tell::clock;
use crate::group::AutoScalingGroup;
use crate::ports::Problem;
use crate::record::Unreadable;
use lifecycle::boots::Activity;

/// How far back it reads, in hours, until it has what is asked for.
const BACK: [i64; 5] = [1, 6, 24, 7 * 24, 30 * 24];

/// A line is written after its tick began, by a clock of the log's own.
const LATER: SignedDuration = SignedDuration::from_mins(5);

/// Stories that are told when nothing else is asked for.
const LAST: usize = 10;

/// Options of `scaler explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainOptions {
    /// What was decided at T, or last before it: a time like 2026-11-21T14:02:10Z, or how long ago: 90s, 10m, 2h, 1d
    #[arg(long, value_name = "T", group = "which")]
    at: Option<When>,
    /// The last N that had something to say, like ticks in a row taken together [default: 10]
    #[arg(long, value_name = "N", group = "which", value_parser = clap::value_parser!(u16).range(1..))]
    last: Option<u16>,
    /// All that is on record of an instance, with AWS's own activities
    #[arg(long, value_name = "ID", group = "which", value_parser = instance)]
    instance: Option<String>,
    /// Read the log group of this stack, /tidemark/STACK/scaler
    #[arg(long, default_value = "tidemark")]
    stack: String,
    /// Read this log group
    #[arg(long, value_name = "NAME", conflicts_with = "stack")]
    log_group: Option<String>,
    /// Read a file, one line a record; `-` is standard input. Nothing of AWS is asked
    #[arg(long, conflicts_with_all = ["stack", "log_group"])]
    file: Option<PathBuf>,
    /// Print the records themselves
    #[arg(long)]
    json: bool,
}

fn instance(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("i-").is_some_and(|rest| !rest.is_empty());
    if id { Ok(text.to_owned()) } else { Err("give an instance's id, like i-0123456789abcdef0".to_owned()) }
}

impl ExplainOptions {
    fn which(&self, now: Timestamp) -> Which {
        match (&self.instance, self.at) {
            (Some(instance), _) => Which::Instance(instance.clone()),
            (None, Some(at)) => Which::At(at.seen_from(now)),
            (None, None) => Which::Last(self.last.map_or(LAST, usize::from)),
        }
    }
}

/// Where records lie.
pub trait Records {
    /// Lines from one time up to another one, in any order; others than records may be among them.
    fn between(
        &self,
        from: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<String>, Problem>> + Send;
}

/// Tells.
///
/// # Errors
/// Nothing on record; a log group or a file that cannot be read.
pub async fn explain(options: &ExplainOptions) -> Result<(), Problem> {
    let now = Timestamp::now();
    let which = options.which(now);
    if let Some(file) = &options.file {
        let log = Log::read(lines(file)?);
        return print(&log, &which, options.json, &file.display().to_string(), &[]);
    }
    let session =
        Session::load(None, Patience::default()).await.map_err(|e| Problem::new(78, e.to_string()))?;
    let group = options.log_group.clone().unwrap_or_else(|| format!("/tidemark/{}/scaler", options.stack));
    let log = gather(&LogGroupRecords::new(&session, &group), &which, now).await?;
    let of_aws = activities(&session, &log, &which).await;
    print(&log, &which, options.json, &format!("log group {group}"), &of_aws)
}

/// Reads back in growing strides until it has enough.
async fn gather<R: Records>(records: &R, which: &Which, now: Timestamp) -> Result<Log, Problem> {
    let newest = if let Which::At(at) = which { *at } else { now };
    let mut until = newest.checked_add(LATER).unwrap_or(Timestamp::MAX);
    let mut lines = Vec::new();
    for hours in BACK {
        let from = newest.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
        lines.extend(records.between(from, until).await?);
        until = from;
        let log = Log::read(lines.iter().cloned());
        if log.is_enough(which) {
            return Ok(log);
        }
    }
    Ok(Log::read(lines))
}

/// What AWS has on record of the instance that is asked about: it ends some by itself. Who may not ask gets the rest.
async fn activities(session: &Session, log: &Log, which: &Which) -> Vec<Activity> {
    let Which::Instance(instance) = which else { return Vec::new() };
    let lines = log.select(which);
    let groups: std::collections::BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| line.record.inputs.groups.iter().zip(&line.record.moved))
        .filter(|(_, moved)| moved.names(instance))
        .map(|(group, _)| group.name.as_str())
        .collect();
    let mut found = Vec::new();
    for group in groups {
        match AutoScalingGroup::new(session, group).activities().await {
            Ok(activities) => {
                found.extend(activities.into_iter().filter(|a| a.description.contains(instance)))
            }
            Err(problem) => eprintln!("scaler: AWS's own activities are left out: {problem}"),
        }
    }
    found.sort_by_key(|activity| activity.start);
    found
}

fn print(log: &Log, which: &Which, json: bool, place: &str, of_aws: &[Activity]) -> Result<(), Problem> {
    for remark in remarks(&log.unreadable) {
        eprintln!("scaler: {remark}");
    }
    let lines = log.select(which);
    if lines.is_empty() {
        let what = match which {
            Which::Last(_) => "no record".to_owned(),
            Which::At(at) => format!("no record at {at} or within 30 days before it"),
            Which::Instance(instance) => format!("no record that names {instance}"),
        };
        let hint = "quiet ticks leave none";
        return Err(Problem::new(1, format!("{place}: {what}: {hint}")));
    }
    let text = if json { raw(&lines) } else { told(&lines, of_aws) };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Problem::new(1, format!("write standard output: {e}")))
}

fn told(lines: &[Line], of_aws: &[Activity]) -> String {
    let mut told = text(&stories(lines.iter().map(|line| &line.record)));
    if !of_aws.is_empty() {
        told.push_str("What AWS has on record of it:\n");
    }
    for activity in of_aws {
        let Activity { description, cause, status, start, .. } = activity;
        let words = format!("{description} ({status}): {cause}");
        // A `String` takes all that is written.
        let _ = writeln!(told, "{}  {}", clock(*start), printable(&words));
    }
    told
}

fn raw(lines: &[Line]) -> String {
    for line in lines.iter().filter(|line| line.record.replay().is_err()) {
        eprintln!("scaler: the record of {} does not replay", line.record.inputs.at);
    }
    lines.iter().fold(String::new(), |text, line| text + &line.text + "\n")
}

/// One line for each kind of what could not be read.
fn remarks(unreadable: &[Unreadable]) -> Vec<String> {
    let mut counted: Vec<(Unreadable, usize)> = Vec::new();
    for kind in unreadable {
        match counted.iter_mut().find(|(other, _)| other == kind) {
            Some((_, count)) => *count += 1,
            None => counted.push((*kind, 1)),
        }
    }
    counted.into_iter().map(|(kind, count)| format!("left out: {count} × {kind}")).collect()
}

fn lines(file: &Path) -> Result<Vec<String>, Problem> {
    let of_file = |e: io::Error| Problem::new(1, format!("read of the records in {}: {e}", file.display()));
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut bytes).map_err(of_file)?;
        bytes
    } else {
        std::fs::read(file).map_err(of_file)?
    };
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
