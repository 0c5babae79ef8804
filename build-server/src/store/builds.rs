//! Builds: made, found, canceled.

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{refusal::Refusal, request::BuildRequest};

/// What became of a request for a build.
#[derive(Debug, PartialEq, Eq)]
pub struct Created {
    /// The build's number.
    pub number: i64,
    /// False when the same request had made it before.
    pub new: bool,
}

/// Makes a build with its jobs, or finds the one that the same idempotency key made.
pub fn create(db: &Connection, request: &BuildRequest, now: i64) -> Result<Created, Refusal> {
    let digest = Sha256::digest(serde_json::to_vec(request)?).to_vec();
    if let Some(key) = &request.idempotency_key
        && let Some((number, known)) = by_key(db, key)?
    {
        return if known == digest {
            Ok(Created { number, new: false })
        } else {
            Err(Refusal::Conflict(format!(
                "idempotency_key: build {number} was made with it from another request"
            )))
        };
    }
    let definition = serde_json::to_string(&BuildRequest { jobs: Vec::new(), ..request.clone() })?;
    db.prepare_cached(
        "INSERT INTO builds (id, definition, idempotency_key, digest, created_at) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![Uuid::new_v4().to_string(), definition, request.idempotency_key, digest, now])?;
    let number = db.last_insert_rowid();
    let mut insert = db.prepare_cached(
        "INSERT INTO jobs (id, build, definition, queue, priority, state, since, time_limit, created_at)
         VALUES (?, ?, ?, ?, ?, 'scheduled', ?, ?, ?)",
    )?;
    for job in &request.jobs {
        let time_limit = job.timeout_minutes.map(|minutes| i64::from(minutes) * 60_000);
        let definition = serde_json::to_string(job)?;
        let id = Uuid::new_v4().to_string();
        insert.execute(params![id, number, definition, job.queue, job.priority, now, time_limit, now])?;
    }
    Ok(Created { number, new: true })
}

fn by_key(db: &Connection, key: &str) -> Result<Option<(i64, Vec<u8>)>, Refusal> {
    let mut statement = db.prepare_cached("SELECT number, digest FROM builds WHERE idempotency_key = ?")?;
    Ok(statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The number of the build that this id or number names.
pub fn number(db: &Connection, id: &str) -> Result<i64, Refusal> {
    let found = db
        .prepare_cached("SELECT number FROM builds WHERE id = ?1 OR number = ?2")?
        .query_row(params![id, id.parse::<i64>().ok()], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| Refusal::not_found("build", id))
}

/// A build's id and the request that made it, without the jobs.
pub fn definition(db: &Connection, number: i64) -> Result<(String, BuildRequest), Refusal> {
    let (id, definition): (String, String) = db
        .prepare_cached("SELECT id, definition FROM builds WHERE number = ?")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((id, serde_json::from_str(&definition)?))
}
