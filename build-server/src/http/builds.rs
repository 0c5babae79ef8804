//! Builds for users: made, listed, shown, canceled.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Shared, authority::User, reply::Payload};
use crate::{
    refusal::Refusal,
    request::BuildRequest,
    store::{
        builds, jobs,
        views::{self, BuildView},
    },
};

const LIST_LIMIT: u32 = 100;

/// Answer of `GET /api/builds`.
#[derive(Serialize)]
pub struct Builds {
    builds: Vec<BuildView>,
}

#[derive(Deserialize)]
pub struct ListQuery {
    pipeline: Option<String>,
    before: Option<i64>,
    limit: Option<u32>,
}

pub async fn create(
    State(server): Shared,
    _: User,
    payload: Payload,
) -> Result<(StatusCode, Json<BuildView>), Refusal> {
    let request: BuildRequest = payload.json()?;
    let faults = request.faults();
    if !faults.is_empty() {
        return Err(Refusal::invalid(faults.join("; ")));
    }
    let now = server.now();
    let create = move |db: &Connection| {
        let created = builds::create(db, &request, now)?;
        Ok((created.new, views::build(db, created.number)?))
    };
    let (new, build) = server.store.run(create).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(build)))
}

pub async fn list(
    State(server): Shared,
    _: User,
    Query(ListQuery { pipeline, before, limit }): Query<ListQuery>,
) -> Result<Json<Builds>, Refusal> {
    let limit = limit.unwrap_or(30).min(LIST_LIMIT);
    let list = move |db: &Connection| {
        let numbers = views::numbers(db, pipeline.as_deref(), before, limit)?;
        numbers.into_iter().map(|number| views::build(db, number)).collect::<Result<_, _>>()
    };
    server.store.run(list).await.map(|builds| Json(Builds { builds }))
}

pub async fn show(
    State(server): Shared,
    Path(id): Path<String>,
    _: User,
) -> Result<Json<BuildView>, Refusal> {
    server.store.run(move |db| views::build(db, builds::number(db, &id)?)).await.map(Json)
}

pub async fn cancel(
    State(server): Shared,
    Path(id): Path<String>,
    _: User,
) -> Result<Json<BuildView>, Refusal> {
    let now = server.now();
    let cancel = move |db: &Connection| {
        let number = builds::number(db, &id)?;
        jobs::cancel_build(db, number, now)?;
        views::build(db, number)
    };
    server.store.run(cancel).await.map(Json)
}
