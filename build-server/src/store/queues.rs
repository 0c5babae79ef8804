//! Queues: which are paused, and what is on each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::{refusal::Refusal, store::counts};

/// A queue as the build API shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Since when its jobs are given to nobody.
    pub paused_at: Option<Timestamp>,
    /// Why, in the words of whoever paused it.
    pub note: String,
    /// Jobs that wait.
    pub scheduled: u64,
    /// Jobs that agents hold.
    pub running: u64,
    /// Connected agents.
    pub agents: u64,
}

/// No job of the queue is given to an agent from now on. Pausing again changes the note only.
pub fn pause(db: &Connection, queue: &str, note: &str, now: i64) -> Result<(), Refusal> {
    db.prepare_cached(
        "INSERT INTO paused_queues (queue, paused_at, note) VALUES (?, ?, ?)
         ON CONFLICT (queue) DO UPDATE SET note = excluded.note",
    )?
    .execute(params![queue, now, note])?;
    Ok(())
}

/// Its jobs go out again.
pub fn resume(db: &Connection, queue: &str) -> Result<(), Refusal> {
    db.prepare_cached("DELETE FROM paused_queues WHERE queue = ?")?.execute([queue])?;
    Ok(())
}

/// Is it paused?
pub fn is_paused(db: &Connection, queue: &str) -> Result<bool, Refusal> {
    let mut statement = db.prepare_cached("SELECT 1 FROM paused_queues WHERE queue = ?")?;
    Ok(statement.query_row([queue], |_| Ok(())).optional()?.is_some())
}

/// One queue.
pub fn view(db: &Connection, queue: &str) -> Result<QueueView, Refusal> {
    let found = views(db)?.into_iter().find(|view| view.name == queue);
    Ok(found.unwrap_or_else(|| QueueView { name: queue.to_owned(), ..QueueView::default() }))
}

/// All queues that have jobs or agents, or are paused, by name.
pub fn views(db: &Connection) -> Result<Vec<QueueView>, Refusal> {
    let counts = counts::all(db, "")?;
    let mut views = BTreeMap::<String, QueueView>::new();
    for (name, jobs) in counts.jobs.queues {
        let view = views.entry(name).or_default();
        (view.scheduled, view.running) = (jobs.scheduled, jobs.running);
    }
    for (name, agents) in counts.agents.queues {
        views.entry(name).or_default().agents = agents.total;
    }
    let mut statement = db.prepare_cached("SELECT queue, paused_at, note FROM paused_queues")?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get(2)?)))?;
    for row in rows {
        let (name, paused_at, note) = row?;
        let view = views.entry(name).or_default();
        view.paused_at = Some(Timestamp::from_millisecond(paused_at).unwrap_or_default());
        view.note = note;
    }
    Ok(views.into_iter().map(|(name, view)| QueueView { name, ..view }).collect())
}
