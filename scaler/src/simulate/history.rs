//! A trace from what a CI remembers: builds with their jobs, as Buildkite's REST API and build-server list them. Pure.
//!
//! A job is in the trace if it ran to its end. What is left out is counted, by its reason; what makes no sense is told
//! with its field.

pub mod fetch;
mod job;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::trace::write::Row;
use super::trace::{Hint, Job, Millis};
use crate::config::Faults;
use job::{Past, past};

/// More faults than these help nobody.
const MOST_FAULTS: usize = 20;

/// Which jobs are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this queue only.
    pub queue: Option<String>,
    /// Runnable from here on …
    pub from: Option<Timestamp>,
    /// … and before this.
    pub until: Option<Timestamp>,
    /// Builds are not announced.
    pub blind: bool,
}

/// Why a job, or a step, is not in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// A wait, a block, a trigger.
    NoAgent,
    /// It was canceled or forgotten before an agent took it.
    NeverRan,
    /// It has not ended.
    StillRuns,
    /// Nothing says whose job it was.
    NoQueue,
    /// The CI does not say when an agent could have taken it.
    NeverRunnable,
    /// Another queue's.
    OtherQueue,
    /// Not within the time that was asked for.
    OtherTime,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAgent => "steps without an agent (wait, block, trigger)",
            Self::NeverRan => "never ran",
            Self::StillRuns => "still running",
            Self::NoQueue => "no queue in its rules or its agent's tags",
            Self::NeverRunnable => "no runnable_at",
            Self::OtherQueue => "other queues",
            Self::OtherTime => "runnable at another time",
        })
    }
}

/// Builds as they come, page by page.
#[derive(Debug, Default)]
pub struct History {
    /// By id: who pages while builds are made gets some twice.
    builds: BTreeMap<String, PastBuild>,
    twice: usize,
    faults: Vec<String>,
}

#[derive(Debug)]
struct PastBuild {
    name: String,
    pipeline: String,
    created_at: Timestamp,
    jobs: Vec<Past>,
}

/// What became of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Builds, each with its jobs; Unix times.
    pub rows: Vec<Row>,
    /// How many were left out, and why.
    pub left_out: BTreeMap<LeftOut, usize>,
    /// Builds of which at least one job is in the trace.
    pub builds: usize,
    /// Builds that were read more than once.
    pub twice: usize,
}

impl History {
    /// Takes a page: Buildkite's array of builds, build-server's `{"builds": […]}`, or one build. `place` is what
    /// faults name. Gives the number of builds in it, and when the earliest of them was made.
    pub fn take(&mut self, place: &str, page: &Value) -> (usize, Option<Timestamp>) {
        let builds = match page {
            Value::Array(builds) => builds.as_slice(),
            Value::Object(fields) => match fields.get("builds") {
                Some(Value::Array(builds)) => builds.as_slice(),
                _ if fields.contains_key("jobs") => std::slice::from_ref(page),
                _ => {
                    let message = fields.get("message").and_then(Value::as_str);
                    let message = message.map(|text| format!(", but says: {text}")).unwrap_or_default();
                    self.faults.push(format!("{place}: is no list of builds{message}"));
                    return (0, None);
                }
            },
            _ => {
                self.faults.push(format!("{place}: is no list of builds"));
                return (0, None);
            }
        };
        let mut earliest: Option<Timestamp> = None;
        for (index, build) in builds.iter().enumerate() {
            let at = format!("{place}: builds[{index}]");
            match self.build(&at, build) {
                Ok(created_at) => {
                    earliest = Some(earliest.map_or(created_at, |known| known.min(created_at)));
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        (builds.len(), earliest)
    }

    /// Notes a fault that is not of a build.
    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn build(&mut self, at: &str, build: &Value) -> Result<Timestamp, String> {
        let text = |name: &str| build.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // Buildkite describes the pipeline, build-server names it.
        let (pipeline, is_buildkite) = match build.get("pipeline") {
            Some(Value::String(slug)) => (slug.as_str(), false),
            Some(pipeline) => (pipeline.get("slug").and_then(Value::as_str).unwrap_or(""), true),
            None => ("", true),
        };
        if pipeline.is_empty() {
            return Err(format!("{at}.pipeline: lacks; is this a build?"));
        }
        let number = build.get("number").and_then(Value::as_u64);
        let number = number.ok_or_else(|| format!("{at}.number: lacks, or is no number"))?;
        let name = format!("{pipeline}#{number}");
        let at = format!("{at} ({name})");
        let id = text("id").ok_or_else(|| format!("{at}.id: lacks"))?;
        let created_at = job::time(build, "created_at").map_err(|fault| format!("{at}.{fault}"))?;
        let created_at = created_at.ok_or_else(|| format!("{at}.created_at: lacks"))?;
        let Some(Value::Array(jobs)) = build.get("jobs") else {
            return Err(format!("{at}.jobs: lacks; was it fetched with exclude_jobs?"));
        };
        let mut all = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            match past(job, is_buildkite) {
                Ok(job) => all.push(job),
                Err(fault) => self.faults.push(format!("{at}.jobs[{index}].{fault}")),
            }
        }
        let build = PastBuild { name, pipeline: pipeline.to_owned(), created_at, jobs: all };
        // What came later knows more.
        if self.builds.insert(id.to_owned(), build).is_some() {
            self.twice += 1;
        }
        Ok(created_at)
    }

    /// The trace of what is wanted, in order of the builds.
    ///
    /// # Errors
    /// Whatever made no sense; that no job is left.
    pub fn trace(mut self, wanted: &Wanted) -> Result<Told, Faults> {
        if self.faults.len() > MOST_FAULTS {
            let more = self.faults.len() - MOST_FAULTS;
            self.faults.truncate(MOST_FAULTS);
            self.faults.push(format!("and {more} more"));
        }
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        let mut told = Told { rows: Vec::new(), left_out: BTreeMap::new(), builds: 0, twice: self.twice };
        let mut builds: Vec<PastBuild> = self.builds.into_values().collect();
        builds.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        for build in &builds {
            let (mut ran, mut left) = (Vec::new(), Vec::new());
            for job in &build.jobs {
                match job.within(wanted) {
                    Ok(job) => ran.push(job),
                    Err(why) => left.push(why),
                }
            }
            left.into_iter().for_each(|why| *told.left_out.entry(why).or_default() += 1);
            told.builds += usize::from(!ran.is_empty());
            told.rows.extend(rows(build, &ran, wanted.blind));
        }
        if told.rows.is_empty() {
            return Err(Faults(vec![format!("no job is left for the trace: {}", told.summary())]));
        }
        Ok(told)
    }
}

/// The rows of one build. It was announced when it was made, with as many jobs as then ran.
fn rows<'a>(build: &'a PastBuild, ran: &'a [(Job, &'a str)], blind: bool) -> impl Iterator<Item = Row> + 'a {
    let first = ran.iter().map(|(job, _)| job.runnable_at).min().unwrap_or_default();
    let jobs = u32::try_from(ran.len()).unwrap_or(u32::MAX);
    // Two clocks may differ: nothing is announced after it came.
    let hint = (!blind).then_some(Hint { at: millis(build.created_at).min(first), jobs });
    ran.iter().map(move |(job, queue)| Row {
        job: Some(*job),
        queue: (*queue).to_owned(),
        pipeline: build.pipeline.clone(),
        build: build.name.clone(),
        hint,
    })
}

impl Told {
    /// One line: how many jobs are in it, and how many are not, with the reasons.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = vec![format!("jobs: {}, of builds: {}", self.rows.len(), self.builds)];
        let left_out: Vec<String> = self.left_out.iter().map(|(why, n)| format!("{why}: {n}")).collect();
        if !left_out.is_empty() {
            parts.push(format!("left out: {}", left_out.join(", ")));
        }
        if self.twice > 0 {
            parts.push(format!("builds read twice, counted once: {}", self.twice));
        }
        parts.join("; ")
    }
}

fn millis(at: Timestamp) -> Millis {
    at.as_millisecond()
}

#[cfg(test)]
mod tests;
