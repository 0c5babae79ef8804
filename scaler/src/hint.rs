//! Push hints: what the CI says by webhook of jobs that come. Pure but for [`endpoint`] and [`secret`].
//!
//! A hint makes the next look come at once, and may announce jobs; what the jobs are is read from the CI as ever. So a
//! hint that is lost costs one period, and one that lies costs what [`crate::forecast`] grants it. Who sends one signs
//! it ([`signature`]): hints come from the internet.
//!
//! # Layout
//! - this file: what a webhook's body says.
//! - [`signature`]: is it genuine?
//! - [`secret`]: what it is signed with, read again when that was changed.
//! - [`heard`]: what hints announced, kept between ticks.
//! - [`desk`]: one hint from its bytes to an answer, for both ways in.
//! - [`endpoint`]: the daemon's; [`function_url`]: the Lambda function's.

pub mod desk;
pub mod endpoint;
pub mod function_url;
pub mod heard;
pub mod secret;
pub mod signature;

use serde::Deserialize;

/// The longest body that is read: webhooks have some ten thousand bytes.
pub const LONGEST_BODY: usize = 512 * 1024;

/// Names and ids that are longer are none of a CI's.
const LONGEST_NAME: usize = 200;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A build was queued.
    BuildScheduled,
    /// The first of its jobs began.
    BuildRunning,
    /// It ended.
    BuildFinished,
    /// A job is ready to run.
    JobScheduled,
}

/// What a webhook said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What happened.
    pub event: Event,
    /// The pipeline's slug.
    pub pipeline: Option<String>,
    /// The build's id.
    pub build: Option<String>,
    /// The job's id.
    pub job: Option<String>,
    /// The queue of the job, or of all that is announced.
    pub queue: Option<String>,
    /// How many jobs the sender announces.
    pub jobs: Option<u32>,
    /// Jobs of the build that the payload lists and that have not ended: the queue of each.
    pub listed: Option<Vec<Option<String>>>,
}

impl Hint {
    /// Might it be about jobs of this queue? What names no queue might.
    #[must_use]
    pub fn is_for(&self, queue: &str) -> bool {
        let named = |name: &Option<String>| name.as_ref().is_none_or(|name| name == queue);
        match &self.listed {
            Some(listed) if !listed.is_empty() => listed.iter().any(named),
            _ => named(&self.queue),
        }
    }

    /// How many jobs of this queue the payload itself announces.
    #[must_use]
    pub fn announces(&self, queue: &str) -> Option<u32> {
        let named = |name: &&Option<String>| name.as_ref().is_none_or(|name| name == queue);
        let listed = self.listed.as_ref().map(|listed| listed.iter().filter(named).count());
        self.jobs.or_else(|| listed.and_then(|count| u32::try_from(count).ok()))
    }
}

/// A genuine body that is no webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no webhook: {0}")]
pub struct Unreadable(String);

/// Reads a webhook's body. `None` for an event that is no hint. The body alone counts: headers are not signed.
///
/// # Errors
/// It is no JSON object with an event.
pub fn parse(body: &[u8]) -> Result<Option<Hint>, Unreadable> {
    let said: Said = serde_json::from_slice(body).map_err(|error| Unreadable(error.to_string()))?;
    let event = match said.event.as_str() {
        "build.scheduled" => Event::BuildScheduled,
        "build.running" => Event::BuildRunning,
        "build.finished" => Event::BuildFinished,
        "job.scheduled" => Event::JobScheduled,
        _ => return Ok(None),
    };
    let build = said.build.unwrap_or_default();
    let job = said.job.unwrap_or_default();
    let listed =
        build.jobs.map(|jobs| jobs.iter().filter(|job| job.is_to_run()).map(SaidJob::queue).collect());
    Ok(Some(Hint {
        event,
        pipeline: said.pipeline.and_then(|pipeline| name(pipeline.slug)),
        build: name(build.id),
        queue: name(said.queue).or_else(|| job.queue()),
        job: name(job.id),
        jobs: said.jobs,
        listed,
    }))
}

fn name(text: Option<String>) -> Option<String> {
    text.filter(|text| (1..=LONGEST_NAME).contains(&text.len()))
}

/// The part of a payload that is read. `queue` and `jobs` are for senders of one's own.
#[derive(Deserialize)]
struct Said {
    event: String,
    build: Option<SaidBuild>,
    job: Option<SaidJob>,
    pipeline: Option<SaidPipeline>,
    queue: Option<String>,
    jobs: Option<u32>,
}

#[derive(Deserialize, Default)]
struct SaidBuild {
    id: Option<String>,
    jobs: Option<Vec<SaidJob>>,
}

#[derive(Deserialize, Default)]
struct SaidJob {
    id: Option<String>,
    r#type: Option<String>,
    state: Option<String>,
    agent_query_rules: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct SaidPipeline {
    slug: Option<String>,
}

impl SaidJob {
    /// The queue of its rules. A job without one goes to the cluster's default queue, whose name nobody says.
    fn queue(&self) -> Option<String> {
        let mut rules = self.agent_query_rules.iter().flatten();
        name(
            rules
                .find_map(|rule| rule.strip_prefix("queue="))
                .filter(|queue| *queue != "*")
                .map(str::to_owned),
        )
    }

    /// Does an agent run it, and is that still to come? Waits, blocks and triggers need no agent.
    fn is_to_run(&self) -> bool {
        let script = self.r#type.as_deref().is_none_or(|kind| kind == "script");
        const OVER: [&str; 8] =
            ["passed", "failed", "canceled", "canceling", "timed_out", "skipped", "broken", "expired"];
        script && self.state.as_deref().is_none_or(|state| !OVER.contains(&state))
    }
}

#[cfg(test)]
mod tests;
