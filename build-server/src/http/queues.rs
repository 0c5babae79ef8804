//! Queues for operators: what is on them, paused and resumed.

use axum::{
    Json,
    extract::{Path, State},
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Shared, authority::User, reply::Payload};
use crate::{
    refusal::Refusal,
    request::is_slug,
    store::queues::{self, QueueView},
};

/// The longest note, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Answer of `GET /api/queues`.
#[derive(Serialize)]
pub struct Queues {
    queues: Vec<QueueView>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    #[serde(default)]
    note: String,
}

pub async fn list(State(server): Shared, _: User) -> Result<Json<Queues>, Refusal> {
    server.store.run(queues::views).await.map(|queues| Json(Queues { queues }))
}

pub async fn pause(
    State(server): Shared,
    Path(name): Path<String>,
    _: User,
    payload: Payload,
) -> Result<Json<QueueView>, Refusal> {
    let Pause { note } = payload.json()?;
    if note.len() > NOTE_LIMIT {
        return Err(Refusal::invalid(format!("note: at most {NOTE_LIMIT} bytes")));
    }
    named(&name)?;
    let now = server.now();
    let pause = move |db: &Connection| {
        queues::pause(db, &name, &note, now)?;
        queues::view(db, &name)
    };
    server.store.run(pause).await.map(Json)
}

pub async fn resume(
    State(server): Shared,
    Path(name): Path<String>,
    _: User,
) -> Result<Json<QueueView>, Refusal> {
    named(&name)?;
    let resume = move |db: &Connection| {
        queues::resume(db, &name)?;
        queues::view(db, &name)
    };
    server.store.run(resume).await.map(Json)
}

/// A queue need not have jobs or agents to be paused: it may be paused before they come.
fn named(name: &str) -> Result<(), Refusal> {
    if is_slug(name) {
        return Ok(());
    }
    Err(Refusal::invalid("the queue's name is 1 to 100 letters, digits, - _ . (not first)"))
}
