//! Logs: chunks in from agents, text out to users.

use std::{collections::VecDeque, sync::Arc};

use agent_api::wire::HeaderTimes;
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Server, Shared,
    authority::{Session, User},
    jobs::own,
    reply::Payload,
};
use crate::{
    output::{self, Stripper},
    refusal::Refusal,
    store::{
        jobs,
        logs::{self, Page},
    },
};

/// About so much of a log is in memory at a time for each reader.
const PAGE_BYTES: usize = 512 * 1024;
/// Highest sequence of a chunk.
const SEQUENCE_LIMIT: i64 = 100_000_000;
/// Answer header: the `after` of the next page.
const NEXT_HEADER: &str = "x-log-next";

#[derive(Deserialize)]
pub struct ChunkQuery {
    sequence: i64,
    #[serde(default)]
    offset: i64,
}

pub async fn chunk(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
    Query(ChunkQuery { sequence, offset }): Query<ChunkQuery>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    if !(1..=SEQUENCE_LIMIT).contains(&sequence) || offset < 0 {
        return Err(Refusal::invalid(format!(
            "sequence {sequence}: use 1 to {SEQUENCE_LIMIT}, offset from 0"
        )));
    }
    let gzipped = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let bytes = output::unpack(&payload.0, gzipped).map_err(|fault| Refusal::invalid(fault.to_string()))?;
    let limit = server.config.log_bytes_limit;
    // A job that has ended still takes its last chunks.
    let add = move |db: &rusqlite::Connection| {
        let job = own(db, &id, &agent)?;
        logs::add(db, job.place, sequence, offset, &bytes, limit)
    };
    server.store.run(add).await?;
    Ok((StatusCode::CREATED, Json(json!({}))))
}

pub async fn header_times(
    State(server): Shared,
    Path(id): Path<String>,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let HeaderTimes { header_times } = payload.json()?;
    let add = move |db: &rusqlite::Connection| {
        let job = own(db, &id, &agent)?;
        let times = header_times.into_iter().filter_map(|(line, at)| Some((line.parse().ok()?, at)));
        logs::add_header_times(db, job.place, times)
    };
    server.store.run(add).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
pub struct LogQuery {
    /// One page after this sequence, instead of the whole log.
    after: Option<i64>,
    /// `keep` leaves the agents' inline time marks in.
    timestamps: Option<String>,
}

pub async fn read(
    State(server): Shared,
    Path(id): Path<String>,
    _: User,
    Query(LogQuery { after, timestamps }): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let keep = timestamps.as_deref() == Some("keep");
    let place = server.store.run(move |db| Ok(jobs::by_id(db, &id)?.place)).await?;
    let text =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let first = page(&server, place, after.unwrap_or(0)).await?;
    let stripper = (!keep).then(Stripper::default);
    if after.is_some() {
        let next = [(NEXT_HEADER, first.last.to_string())];
        let bytes = strip(stripper, first.bytes);
        return Ok((text, next, bytes).into_response());
    }
    Ok((text, whole(server, place, first, stripper)).into_response())
}

fn strip(stripper: Option<Stripper>, bytes: Vec<u8>) -> Vec<u8> {
    let Some(mut stripper) = stripper else { return bytes };
    let mut text = stripper.strip(&bytes);
    text.extend(stripper.finish());
    text
}

async fn page(server: &Server, place: i64, after: i64) -> Result<Page, Refusal> {
    server.store.run(move |db| logs::page(db, place, after, PAGE_BYTES)).await
}

/// The log from its first page on, read as the client takes it.
fn whole(server: Arc<Server>, place: i64, first: Page, stripper: Option<Stripper>) -> Body {
    let state = (server, stripper, VecDeque::from([first]), false);
    let stream =
        futures::stream::try_unfold(state, move |(server, mut stripper, mut pages, ended)| async move {
            let Some(page) = pages.pop_front().filter(|_| !ended) else { return Ok::<_, Refusal>(None) };
            if page.bytes.is_empty() {
                let rest = stripper.as_mut().map(Stripper::finish).unwrap_or_default();
                return Ok(Some((Bytes::from(rest), (server, stripper, pages, true))));
            }
            let bytes = match &mut stripper {
                Some(stripper) => stripper.strip(&page.bytes),
                None => page.bytes,
            };
            pages.push_back(self::page(&server, place, page.last).await?);
            Ok(Some((Bytes::from(bytes), (server, stripper, pages, false))))
        });
    Body::from_stream(stream)
}
