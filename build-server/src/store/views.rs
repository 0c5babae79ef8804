//! Builds and jobs as the build API shows them.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};
use serde::{Deserialize, Serialize};

use crate::{
    refusal::Refusal,
    request::{BuildRequest, JobRequest, PullRequest},
    states::{JobState, build_state},
};

/// A build with its jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: i64,
    /// `scheduled`, `running`, `canceling`, `passed`, `failed` or `canceled`.
    pub state: String,
    /// Pipeline slug.
    pub pipeline: String,
    /// Git URL.
    pub repo: String,
    /// Commit or `HEAD`.
    pub commit: String,
    /// Branch.
    pub branch: String,
    /// For people.
    pub message: String,
    /// The pull request it builds.
    pub pull_request: Option<PullRequest>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last job ended.
    pub finished_at: Option<Timestamp>,
    /// In the order of the request.
    pub jobs: Vec<JobView>,
}

/// A job. Its environment is not shown: it may hold what only the job should see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// For people.
    pub label: String,
    /// Shell text.
    pub command: String,
    /// Its queue.
    pub queue: String,
    /// Higher is dispatched first.
    pub priority: i64,
    /// Where it stands.
    pub state: JobState,
    /// What its agent reported.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Why it was signalled.
    pub signal_reason: Option<String>,
    /// Why it ended, when no agent reported it.
    pub reason: Option<String>,
    /// Id of its agent.
    pub agent_id: Option<String>,
    /// Name of its agent.
    pub agent_name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was given to its agent.
    pub assigned_at: Option<Timestamp>,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Length of its log.
    pub log_bytes: i64,
    /// Chunks its agent could not deliver: holes in the log.
    pub chunks_failed: i64,
}

/// An agent that is connected or left lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `registered`, `connected`, `lost` or `disconnected`.
    pub state: String,
    /// Its queue.
    pub queue: String,
    /// It leaves when it is idle.
    pub stopping: bool,
    /// The job it holds.
    pub job_id: Option<String>,
}

/// All agents the server remembers, the newest first.
pub fn agents(db: &Connection) -> Result<Vec<AgentView>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT id, name, state, queue, stopping,
           (SELECT jobs.id FROM jobs WHERE jobs.agent = agents.id AND jobs.finished_at IS NULL)
         FROM agents ORDER BY registered_at DESC, id LIMIT 10000",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(AgentView {
            id: row.get(0)?,
            name: row.get(1)?,
            state: row.get(2)?,
            queue: row.get(3)?,
            stopping: row.get(4)?,
            job_id: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One build.
pub fn build(db: &Connection, number: i64) -> Result<BuildView, Refusal> {
    let (id, definition, created_at) = db
        .prepare_cached("SELECT id, definition, created_at FROM builds WHERE number = ?")?
        .query_row([number], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    let BuildRequest { pipeline, repo, commit, branch, message, pull_request, .. } =
        serde_json::from_str(&definition)?;
    let jobs = jobs(db, number)?;
    let ended = jobs.iter().all(|job| job.state.ended());
    Ok(BuildView {
        id,
        number,
        state: build_state(jobs.iter().map(|job| job.state)).to_owned(),
        pipeline,
        repo,
        commit,
        branch,
        message,
        pull_request,
        created_at: time(created_at),
        finished_at: if ended { jobs.iter().filter_map(|job| job.finished_at).max() } else { None },
        jobs,
    })
}

/// Numbers of the newest builds below `before`, of one pipeline or of all.
pub fn numbers(
    db: &Connection,
    pipeline: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<i64>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT number FROM builds WHERE (:before IS NULL OR number < :before)
           AND (:pipeline IS NULL OR definition ->> '$.pipeline' = :pipeline) ORDER BY number DESC LIMIT :limit",
    )?;
    let named = named_params! {":before": before, ":pipeline": pipeline, ":limit": limit};
    let rows = statement.query_map(named, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn jobs(db: &Connection, build: i64) -> Result<Vec<JobView>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT id, definition, state, exit_status, signal, signal_reason, reason, agent, agent_name, created_at,
           assigned_at, started_at, finished_at, log_bytes, chunks_failed FROM jobs WHERE build = ? ORDER BY place",
    )?;
    let rows = statement.query_map([build], job)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobView> {
    let definition: String = row.get(1)?;
    let JobRequest { label, command, queue, priority, .. } =
        serde_json::from_str(&definition).unwrap_or_default();
    let state: String = row.get(2)?;
    let at = |column| row.get::<_, Option<i64>>(column).map(|millis| millis.map(time));
    Ok(JobView {
        id: row.get(0)?,
        label,
        command,
        queue,
        priority,
        state: JobState::parse(&state).unwrap_or(JobState::Failed),
        exit_status: row.get(3)?,
        signal: row.get(4)?,
        signal_reason: row.get(5)?,
        reason: row.get(6)?,
        agent_id: row.get(7)?,
        agent_name: row.get(8)?,
        created_at: time(row.get(9)?),
        assigned_at: at(10)?,
        started_at: at(11)?,
        finished_at: at(12)?,
        log_bytes: row.get(13)?,
        chunks_failed: row.get(14)?,
    })
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}
