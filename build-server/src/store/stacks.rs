//! Stacks that registered, and the scheduled jobs that they read.

use agent_api::stacks::{JobBuild, JobPipeline, JobStep, ScheduledJob, StackRequest};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::{
    environment::name_id,
    refusal::Refusal,
    request::{BuildRequest, JobRequest},
};

/// Takes note of a stack. True when its key was not known.
pub fn register(db: &Connection, stack: &StackRequest, now: i64) -> Result<bool, Refusal> {
    let new = !is_known(db, &stack.key)?;
    db.prepare_cached(
        "INSERT INTO stacks (key, definition, registered_at) VALUES (?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET definition = excluded.definition, registered_at = excluded.registered_at",
    )?
    .execute(params![stack.key, serde_json::to_string(stack)?, now])?;
    Ok(new)
}

/// Forgets a stack. False when its key was not known.
pub fn deregister(db: &Connection, key: &str) -> Result<bool, Refusal> {
    Ok(db.prepare_cached("DELETE FROM stacks WHERE key = ?")?.execute([key])? == 1)
}

/// Is a stack registered under this key?
pub fn is_known(db: &Connection, key: &str) -> Result<bool, Refusal> {
    let mut statement = db.prepare_cached("SELECT 1 FROM stacks WHERE key = ?")?;
    Ok(statement.query_row([key], |_| Ok(())).optional()?.is_some())
}

/// Waiting jobs of a queue behind the place `after`, the oldest first, each with its place.
pub fn scheduled(
    db: &Connection,
    queue: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, ScheduledJob)>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT jobs.place, jobs.id, jobs.priority, jobs.definition, jobs.created_at,
                builds.number, builds.id, builds.definition
         FROM jobs JOIN builds ON builds.number = jobs.build
         WHERE jobs.agent IS NULL AND jobs.finished_at IS NULL AND jobs.queue = :queue AND jobs.place > :after
         ORDER BY jobs.place LIMIT :limit",
    )?;
    let named = named_params! {":queue": queue, ":after": after, ":limit": limit};
    let rows = statement.query_map(named, |row| Ok((row.get(0)?, read(row)?)))?;
    rows.map(|row| {
        let (place, job) = row?;
        Ok((place, job?))
    })
    .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<ScheduledJob, Refusal>> {
    let id: String = row.get(1)?;
    let priority = row.get(2)?;
    let (job, build): (String, String) = (row.get(3)?, row.get(7)?);
    let since: i64 = row.get(4)?;
    let (number, uuid) = (row.get(5)?, row.get(6)?);
    let parse = || -> Result<ScheduledJob, Refusal> {
        let job: JobRequest = serde_json::from_str(&job)?;
        let build: BuildRequest = serde_json::from_str(&build)?;
        let queue = format!("queue={}", job.queue);
        Ok(ScheduledJob {
            id,
            priority,
            agent_query_rules: std::iter::once(queue).chain(job.agents).collect(),
            scheduled_at: Timestamp::from_millisecond(since).unwrap_or_default(),
            pipeline: JobPipeline {
                uuid: Some(name_id(&["pipeline", &build.pipeline])),
                slug: Some(build.pipeline),
            },
            build: JobBuild { number: Some(number), branch: Some(build.branch), uuid: Some(uuid) },
            step: JobStep { key: (!job.key.is_empty()).then_some(job.key) },
        })
    };
    Ok(parse())
}
