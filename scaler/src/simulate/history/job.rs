//! One job of a CI's history.

use jiff::Timestamp;
use serde_json::Value;

use super::{LeftOut, Wanted, millis};
use crate::simulate::trace::Job;

/// A job as the CI remembers it.
#[derive(Debug)]
pub(super) struct Past {
    queue: Option<String>,
    needs_agent: bool,
    runnable_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

/// Reads a job.
///
/// # Errors
/// `field: what is wrong with it`.
pub(super) fn past(job: &Value, is_buildkite: bool) -> Result<Past, String> {
    let text = |name: &str| job.get(name).and_then(Value::as_str);
    let (started_at, finished_at) = (time(job, "started_at")?, time(job, "finished_at")?);
    if let (Some(started), Some(finished)) = (started_at, finished_at)
        && finished < started
    {
        return Err(format!("finished_at: {finished} is before started_at, {started}"));
    }
    if !is_buildkite {
        // Its jobs wait for nothing but agents.
        let runnable_at = time(job, "created_at")?;
        let queue = text("queue").map(str::to_owned);
        return Ok(Past { queue, needs_agent: true, runnable_at, started_at, finished_at });
    }
    let kind = text("type").ok_or_else(|| "type: lacks".to_owned())?;
    Ok(Past {
        queue: queue_of(job.get("agent_query_rules"))
            .or_else(|| queue_of(job.get("agent").and_then(|agent| agent.get("meta_data")))),
        needs_agent: kind == "script",
        runnable_at: time(job, "runnable_at")?,
        started_at,
        finished_at,
    })
}

/// The queue of rules or tags: `["queue=default", "docker=true"]`.
fn queue_of(tags: Option<&Value>) -> Option<String> {
    let tags = tags?.as_array()?.iter().filter_map(Value::as_str);
    let queue =
        tags.filter_map(|tag| tag.strip_prefix("queue=")).find(|queue| !queue.is_empty() && *queue != "*");
    queue.map(str::to_owned)
}

/// A time; none where it is null or absent.
pub(super) fn time(of: &Value, name: &str) -> Result<Option<Timestamp>, String> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            text.parse().map(Some).map_err(|_| format!("{name}: `{text}` is no time"))
        }
        Some(other) => Err(format!("{name}: `{other}` is no time")),
    }
}

impl Past {
    /// As a trace's job with its queue, or why it is none.
    pub(super) fn within(&self, wanted: &Wanted) -> Result<(Job, &str), LeftOut> {
        if !self.needs_agent {
            return Err(LeftOut::NoAgent);
        }
        let started = self.started_at.ok_or(LeftOut::NeverRan)?;
        let finished = self.finished_at.ok_or(LeftOut::StillRuns)?;
        let queue = self.queue.as_deref().ok_or(LeftOut::NoQueue)?;
        let runnable = self.runnable_at.ok_or(LeftOut::NeverRunnable)?;
        if wanted.queue.as_deref().is_some_and(|wanted| wanted != queue) {
            return Err(LeftOut::OtherQueue);
        }
        let is_early = wanted.from.is_some_and(|from| runnable < from);
        if is_early || wanted.until.is_some_and(|until| runnable >= until) {
            return Err(LeftOut::OtherTime);
        }
        let duration = millis(finished) - millis(started);
        Ok((Job { runnable_at: millis(runnable), duration }, queue))
    }
}
