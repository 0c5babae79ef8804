//! Meta-data, asked for by a job or (newer agents) by a build of the agent's job.

use agent_api::wire::{MetaDataBatch, MetaDataExists, MetaDataItem, MetaDataKey};
use axum::{
    Json,
    extract::{Path, State},
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Shared, authority::Session, reply::Payload};
use crate::{
    refusal::Refusal,
    store::{agents::Agent, builds, jobs, meta_data},
};

type Owner = Path<(String, String)>;

/// The build that this agent's running job belongs to, if the path names the job or the build. Anything else is a
/// 401: agents of all versions stop on it, and none takes it for "not set".
fn build(db: &Connection, owner: &str, id: &str, agent: &Agent) -> Result<i64, Refusal> {
    let refuse = || Refusal::Unauthorized(format!("{owner} {id}: this agent runs no job of it"));
    let job = jobs::held_by(db, &agent.id)?.ok_or_else(refuse)?;
    let named = match owner {
        "jobs" => job.id == id,
        "builds" => builds::definition(db, job.build)?.0 == id,
        _ => return Err(Refusal::NotFound("no such path".into())),
    };
    if named { Ok(job.build) } else { Err(refuse()) }
}

pub async fn set(
    State(server): Shared,
    Path((owner, id)): Owner,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let item: MetaDataItem = payload.json()?;
    server.store.run(move |db| meta_data::set(db, build(db, &owner, &id, &agent)?, &[item])).await?;
    Ok(Json(json!({})))
}

pub async fn set_batch(
    State(server): Shared,
    Path((owner, id)): Owner,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let batch: MetaDataBatch = payload.json()?;
    server.store.run(move |db| meta_data::set(db, build(db, &owner, &id, &agent)?, &batch.items)).await?;
    Ok(Json(json!({})))
}

pub async fn get(
    State(server): Shared,
    Path((owner, id)): Owner,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<MetaDataItem>, Refusal> {
    let MetaDataKey { key } = payload.json()?;
    let get = move |db: &Connection| {
        let value = meta_data::get(db, build(db, &owner, &id, &agent)?, &key)?;
        let value = value.ok_or_else(|| Refusal::NotFound(format!("no meta-data {key:?} is set")))?;
        Ok(MetaDataItem { key, value })
    };
    server.store.run(get).await.map(Json)
}

pub async fn exists(
    State(server): Shared,
    Path((owner, id)): Owner,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<MetaDataExists>, Refusal> {
    let MetaDataKey { key } = payload.json()?;
    let exists = move |db: &Connection| {
        let exists = meta_data::get(db, build(db, &owner, &id, &agent)?, &key)?.is_some();
        Ok(MetaDataExists { exists })
    };
    server.store.run(exists).await.map(Json)
}

pub async fn keys(
    State(server): Shared,
    Path((owner, id)): Owner,
    Session(agent): Session,
) -> Result<Json<Vec<String>>, Refusal> {
    server.store.run(move |db| meta_data::keys(db, build(db, &owner, &id, &agent)?)).await.map(Json)
}
