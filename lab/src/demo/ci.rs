//! The demo as a user of the build server: queues builds, looks at them.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::report::JobLine;
use super::scenario::Pipeline;
use super::timeline::{JobSeen, Stage};
use crate::build_server::BuildServer;

/// A client of the build API.
pub struct Ci {
    http: reqwest::Client,
    url: String,
    token: String,
}

#[derive(Deserialize)]
struct Builds {
    builds: Vec<Build>,
}

/// What the demo reads of a build.
#[derive(Debug, Deserialize)]
pub struct Build {
    pipeline: String,
    jobs: Vec<Job>,
}

/// What the demo reads of a job.
#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    label: String,
    queue: String,
    state: String,
    exit_status: Option<i32>,
    agent_name: Option<String>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl Ci {
    /// Talks to the lab's build server.
    ///
    /// # Errors
    /// Its API token cannot be read.
    pub fn of(server: &BuildServer) -> Result<Self> {
        let file = server.api_token_file();
        let token = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build()?;
        Ok(Self { http, url: server.url().to_owned(), token: token.trim().to_owned() })
    }

    /// Queues one build with `count` jobs.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn queue(&self, pipeline: &Pipeline, count: usize) -> Result<()> {
        let job = |n: usize| json!({ "command": ".ci/check", "label": format!("check {n}") });
        let jobs: Vec<Value> = (1..=count).map(job).collect();
        let body = json!({ "pipeline": pipeline.slug, "repo": pipeline.repo, "jobs": jobs });
        let request = self.http.post(format!("{}/api/builds", self.url)).bearer_auth(&self.token).json(&body);
        let answer = request.send().await.context("queue a build")?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "queue a build of {}: {status}: {}",
            pipeline.slug,
            answer.text().await?
        );
        Ok(())
    }

    /// All builds.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn builds(&self) -> Result<Vec<Build>> {
        let request = self.http.get(format!("{}/api/builds", self.url)).bearer_auth(&self.token);
        let builds: Builds =
            request.send().await?.error_for_status()?.json().await.context("list of builds")?;
        Ok(builds.builds)
    }

    /// A job's log, for the demo that failed.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn log(&self, job: &str) -> Result<String> {
        let request = self.http.get(format!("{}/api/jobs/{job}/log", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }
}

/// The jobs of all builds as the timeline sees them.
#[must_use]
pub fn seen(builds: &[Build]) -> Vec<(String, JobSeen)> {
    let job = |build: &Build, job: &Job| {
        let stage = match job.state.as_str() {
            "scheduled" | "assigned" | "accepted" => Stage::Waiting,
            "running" | "canceling" | "timing_out" => Stage::Running,
            _ => Stage::Ended(status(job)),
        };
        let title = format!("{} {}", build.pipeline, job.label);
        (job.id.clone(), JobSeen { title, stage, agent: job.agent_name.clone() })
    };
    builds.iter().flat_map(|build| build.jobs.iter().map(move |j| job(build, j))).collect()
}

fn status(job: &Job) -> String {
    job.exit_status.map_or_else(|| job.state.clone(), |status| status.to_string())
}

/// The report's lines, in the order of queueing.
#[must_use]
pub fn lines(builds: &[Build]) -> Vec<JobLine> {
    let line = |build: &Build, job: &Job| {
        let agent = job.agent_name.clone().unwrap_or_default();
        JobLine {
            id: job.id.clone(),
            pipeline: build.pipeline.clone(),
            queue: job.queue.clone(),
            instance: instance(&agent),
            agent,
            wait_s: seconds(Some(job.created_at), job.started_at),
            run_s: seconds(job.started_at, job.finished_at),
            exit_status: status(job),
        }
    };
    let mut lines: Vec<(Timestamp, JobLine)> =
        builds.iter().flat_map(|b| b.jobs.iter().map(move |j| (j.created_at, line(b, j)))).collect();
    lines.sort_by_key(|(created, _)| *created);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// An agent is called `{stack}-{instance}-{number}`; the stack may have `i-` in its name too, what follows has not.
fn instance(agent: &str) -> String {
    let start = agent.rfind("i-").unwrap_or(agent.len());
    let id = &agent[start..];
    let end = id.char_indices().skip(2).find(|(_, c)| !c.is_ascii_hexdigit()).map_or(id.len(), |(at, _)| at);
    id[..end].to_owned()
}

fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => (to.as_millisecond() - from.as_millisecond()) as f64 / 1e3,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_read_from_the_agents_name() {
        assert_eq!(instance("ci-i-0123456789abcdef0-1"), "i-0123456789abcdef0");
        assert_eq!(instance("nobody"), "");
    }
}
