//! Agents: registered, connected, paused, stopping, gone.

use agent_api::wire::RegisterRequest;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::{
    dispatch::{FreeAgent, Tags},
    refusal::Refusal,
    token::Digest,
};

/// An agent as a request's token names it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it registered with.
    pub definition: RegisterRequest,
    /// `registered`, `connected`, `lost` or `disconnected`.
    pub state: String,
    /// It is to leave.
    pub stopping: bool,
    /// It takes no job until then.
    pub paused_until: Option<i64>,
}

impl Agent {
    /// Its tags.
    pub fn tags(&self) -> Tags {
        Tags::parse(&self.definition.tags)
    }
}

const COLUMNS: &str = "id, name, definition, state, stopping, paused_until, token";

fn read(row: &Row<'_>) -> rusqlite::Result<(Agent, Vec<u8>)> {
    let definition: String = row.get(2)?;
    let agent = Agent {
        id: row.get(0)?,
        name: row.get(1)?,
        // Unreadable text gives an agent without tags: it keeps its token and gets no job of another queue.
        definition: serde_json::from_str(&definition).unwrap_or_default(),
        state: row.get(3)?,
        stopping: row.get(4)?,
        paused_until: row.get(5)?,
    };
    Ok((agent, row.get(6)?))
}

/// Adds an agent.
pub fn register(
    db: &Connection,
    id: &str,
    request: &RegisterRequest,
    token: &Digest,
    now: i64,
) -> Result<(), Refusal> {
    let priority: i64 = request.priority.as_deref().and_then(|p| p.trim().parse().ok()).unwrap_or(0);
    db.prepare_cached(
        "INSERT INTO agents (id, definition, name, queue, priority, token, state, ignore_in_dispatches, registered_at)
         VALUES (?, ?, ?, ?, ?, ?, 'registered', ?, ?)",
    )?
    .execute(params![
        id,
        serde_json::to_string(request)?,
        request.name,
        Tags::parse(&request.tags).queue(),
        priority,
        token.as_bytes(),
        request.ignore_in_dispatches,
        now
    ])?;
    Ok(())
}

/// The agent of this access token. One that disconnected has a token for nothing but disconnecting again.
pub fn by_token(db: &Connection, token: &Digest) -> Result<Option<Agent>, Refusal> {
    let found = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE token = ?"))?
        .query_row([token.as_bytes()], read)
        .optional()?;
    Ok(found.filter(|(_, stored)| token.matches_bytes(stored)).map(|(agent, _)| agent))
}

/// The agent of this id.
pub fn by_id(db: &Connection, id: &str) -> Result<Option<Agent>, Refusal> {
    let found =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE id = ?"))?.query_row([id], read);
    Ok(found.optional()?.map(|(agent, _)| agent))
}

/// The agent is there (again).
pub fn connect(db: &Connection, id: &str) -> Result<(), Refusal> {
    db.prepare_cached("UPDATE agents SET state = 'connected', gone_at = NULL WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// The agent is `disconnected` or `lost`.
pub fn leave(db: &Connection, id: &str, state: &str, now: i64) -> Result<(), Refusal> {
    db.prepare_cached("UPDATE agents SET state = ?, gone_at = ? WHERE id = ?")?
        .execute(params![state, now, id])?;
    Ok(())
}

/// The agent is to leave at its next ping.
pub fn stop(db: &Connection, id: &str) -> Result<(), Refusal> {
    db.prepare_cached("UPDATE agents SET stopping = 1 WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// The agent takes no job until then; `None` ends a pause.
pub fn pause(db: &Connection, id: &str, until: Option<i64>) -> Result<(), Refusal> {
    db.prepare_cached("UPDATE agents SET paused_until = ? WHERE id = ?")?.execute(params![until, id])?;
    Ok(())
}

/// The agent gets no further job: it leaves after the one it had.
pub fn ignore(db: &Connection, id: &str) -> Result<(), Refusal> {
    db.prepare_cached("UPDATE agents SET ignore_in_dispatches = 1 WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Connected agents of a queue that could take a job now, in the order they registered.
pub fn free(db: &Connection, queue: &str, now: i64) -> Result<Vec<FreeAgent>, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT id, priority, definition FROM agents
         WHERE state = 'connected' AND queue = :queue AND stopping = 0 AND ignore_in_dispatches = 0
           AND (paused_until IS NULL OR paused_until <= :now)
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.agent = agents.id AND jobs.finished_at IS NULL)
         ORDER BY registered_at, id",
    )?;
    let rows = statement.query_map(named_params! {":queue": queue, ":now": now}, |row| {
        let definition: String = row.get(2)?;
        let definition: RegisterRequest = serde_json::from_str(&definition).unwrap_or_default();
        Ok(FreeAgent { id: row.get(0)?, priority: row.get(1)?, tags: Tags::parse(&definition.tags) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ids of all connected agents.
pub fn connected(db: &Connection) -> Result<Vec<String>, Refusal> {
    let mut statement = db.prepare_cached("SELECT id FROM agents WHERE state = 'connected'")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Drops agents that left, or registered without ever connecting, before `then`, and says which.
pub fn drop_gone(db: &Connection, then: i64) -> Result<Vec<String>, Refusal> {
    let mut statement = db.prepare_cached(
        "DELETE FROM agents WHERE (gone_at < ?1 OR (state = 'registered' AND registered_at < ?1))
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.agent = agents.id AND jobs.finished_at IS NULL)
         RETURNING id",
    )?;
    let rows = statement.query_map([then], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
