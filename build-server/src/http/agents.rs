//! An agent's life: register, connect, ping, heartbeat, stop, pause, disconnect.

use std::sync::Arc;

use agent_api::wire::{Heartbeat, Pause, Ping, PingJob, RegisterRequest, RegisterResponse, Stop, TokenInfo};
use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use rusqlite::Connection;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Server, Shared,
    authority::{Registration, Session, User},
    reply::Payload,
};
use crate::{
    dispatch,
    environment::name_id,
    refusal::Refusal,
    states::JobState,
    store::{
        agents::{self, Agent},
        jobs, queues,
        views::{self, AgentView},
    },
    token,
};

/// Most tags of an agent, and the longest.
const TAGS_LIMIT: usize = 100;
const TEXT_LIMIT: usize = 255;
/// On Linux agents send the whole `/etc/os-release`.
const OS_LIMIT: usize = 16 * 1024;
/// An agent that pinged within so many intervals counts when jobs are given out by agent priority.
const PING_INTERVALS: i64 = 3;

pub async fn register(
    State(server): Shared,
    _: Registration,
    payload: Payload,
) -> Result<Json<RegisterResponse>, Refusal> {
    let request: RegisterRequest = payload.json()?;
    check(&request)?;
    let (id, secret) = (Uuid::new_v4().to_string(), token::fresh());
    let digest = token::digest(&secret);
    let intervals = server.config.intervals;
    let answer = RegisterResponse {
        id: id.clone(),
        name: request.name.clone(),
        access_token: secret.expose_secret().to_owned(),
        endpoint: String::new(),
        ping_interval: intervals.ping,
        job_status_interval: intervals.job_status,
        heartbeat_interval: intervals.heartbeat,
        tags: request.tags.clone(),
        request_headers: None,
    };
    let now = server.now();
    server.store.run(move |db| agents::register(db, &id, &request, &digest, now)).await?;
    Ok(Json(answer))
}

fn check(request: &RegisterRequest) -> Result<(), Refusal> {
    let printable = |text: &str, limit: usize| text.len() <= limit && !text.chars().any(char::is_control);
    if request.name.trim().is_empty() || !printable(&request.name, TEXT_LIMIT) {
        return Err(Refusal::invalid("name: 1 to 255 printable characters"));
    }
    let tags = &request.tags;
    if tags.len() > TAGS_LIMIT || !tags.iter().all(|tag| printable(tag, TEXT_LIMIT)) {
        return Err(Refusal::invalid("meta_data: at most 100 tags, each at most 255 printable characters"));
    }
    let texts = [&request.hostname, &request.arch, &request.version, &request.build];
    if request.os.len() > OS_LIMIT || texts.iter().any(|text| text.len() > TEXT_LIMIT) {
        return Err(Refusal::invalid("hostname, os, arch, version or build is too long"));
    }
    Ok(())
}

pub async fn connect(State(server): Shared, Session(agent): Session) -> Result<Json<Value>, Refusal> {
    server.store.run(move |db| agents::connect(db, &agent.id)).await?;
    Ok(Json(json!({})))
}

pub async fn heartbeat(
    State(server): Shared,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Heartbeat>, Refusal> {
    let mut heartbeat: Heartbeat = payload.json()?;
    if agent.state == "lost" {
        server.store.run(move |db| agents::connect(db, &agent.id)).await?;
    }
    heartbeat.received_at = Some(Timestamp::now().to_string());
    Ok(Json(heartbeat))
}

pub async fn ping(State(server): Shared, Session(agent): Session) -> Result<Json<Ping>, Refusal> {
    let (shared, now) = (Arc::clone(&server), server.now());
    server.store.run(move |db| answer_ping(db, &shared, &agent, now)).await.map(Json)
}

fn answer_ping(db: &Connection, server: &Server, agent: &Agent, now: i64) -> Result<Ping, Refusal> {
    if agent.state != "connected" {
        agents::connect(db, &agent.id)?;
    }
    let held = jobs::held_by(db, &agent.id)?;
    if let Some(job) = &held
        && job.state == JobState::Assigned
    {
        return Ok(offer(&job.id));
    }
    let action = |word: &str| Ping { action: Some(word.to_owned()), ..Ping::default() };
    if agent.stopping {
        return Ok(action("disconnect"));
    }
    if agent.paused_until.is_some_and(|until| until > now) {
        return Ok(action("pause"));
    }
    if held.is_some() {
        return Ok(Ping::default());
    }
    let Some(job) = next_job(db, server, agent, now)? else { return Ok(Ping::default()) };
    let assigned = jobs::assign(db, &job, &agent.id, &agent.name, now)?;
    Ok(if assigned { offer(&job) } else { Ping::default() })
}

/// The job for this agent now, against all other free agents of its queue that ask for work.
fn next_job(db: &Connection, server: &Server, agent: &Agent, now: i64) -> Result<Option<String>, Refusal> {
    let queue = agent.tags().queue().to_owned();
    if queues::is_paused(db, &queue)? {
        return Ok(None);
    }
    let mut free = agents::free(db, &queue, now)?;
    let window = i64::from(server.config.intervals.ping) * 1000 * PING_INTERVALS;
    free.retain(|other| other.id == agent.id || now - server.presence.of(&other.id).pinged <= window);
    let choose = |waiting: &mut dyn Iterator<Item = _>| dispatch::job_for(&agent.id, &free, waiting);
    Ok(jobs::choose_waiting(db, &queue, choose)?.map(|job| job.id))
}

fn offer(job: &str) -> Ping {
    Ping { job: Some(PingJob { id: job.to_owned(), state: Some("assigned".into()) }), ..Ping::default() }
}

pub async fn disconnect(State(server): Shared, Session(agent): Session) -> Result<Json<Value>, Refusal> {
    let (id, now) = (agent.id.clone(), server.now());
    let leave = move |db: &Connection| {
        jobs::give_up(db, &agent.id, now)?;
        agents::leave(db, &agent.id, "disconnected", now)
    };
    server.store.run(leave).await?;
    server.presence.forget(&id);
    Ok(Json(json!({})))
}

pub async fn stop(
    State(server): Shared,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let stop: Stop = payload.json()?;
    stop_agent(&server, agent.id, stop.force).await
}

/// Answer of `GET /api/agents`.
#[derive(Serialize)]
pub struct Agents {
    agents: Vec<AgentView>,
}

pub async fn list(State(server): Shared, _: User) -> Result<Json<Agents>, Refusal> {
    server.store.run(views::agents).await.map(|agents| Json(Agents { agents }))
}

/// The same for an operator: graceful when idle or after its job, at once with `force`.
pub async fn stop_from_outside(
    State(server): Shared,
    Path(id): Path<String>,
    _: User,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let stop: Stop = payload.json()?;
    stop_agent(&server, id, stop.force).await
}

async fn stop_agent(server: &Server, id: String, force: bool) -> Result<Json<Value>, Refusal> {
    let now = server.now();
    let stop = move |db: &Connection| {
        if agents::by_id(db, &id)?.is_none() {
            return Err(Refusal::not_found("agent", &id));
        }
        agents::stop(db, &id)?;
        if let Some(job) = jobs::held_by(db, &id)?.filter(|_| force) {
            jobs::cancel(db, &job, now)?;
        }
        Ok(())
    };
    server.store.run(stop).await?;
    Ok(Json(json!({})))
}

pub async fn pause(
    State(server): Shared,
    Session(agent): Session,
    payload: Payload,
) -> Result<Json<Value>, Refusal> {
    let pause: Pause = payload.json()?;
    let minutes = pause.timeout_in_minutes.filter(|minutes| *minutes > 0).map(i64::from);
    let now = server.now();
    let until = minutes.map_or(i64::MAX, |minutes| now.saturating_add(minutes * 60_000));
    server.store.run(move |db| agents::pause(db, &agent.id, Some(until))).await?;
    Ok(Json(json!({})))
}

pub async fn resume(State(server): Shared, Session(agent): Session) -> Result<Json<Value>, Refusal> {
    server.store.run(move |db| agents::pause(db, &agent.id, None)).await?;
    Ok(Json(json!({})))
}

pub async fn token(State(server): Shared, _: Registration) -> Json<TokenInfo> {
    let organization = server.config.organization.clone();
    Json(TokenInfo {
        uuid: name_id(&["registration-token", &organization]),
        description: "registration token file of build-server".into(),
        token_type: "registration".into(),
        organization_uuid: name_id(&[&organization]),
        organization_slug: organization,
    })
}
