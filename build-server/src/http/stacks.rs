//! Stacks: registered, and told of the jobs that wait.

use agent_api::stacks::{
    ClusterQueue, KEY_BYTES, PAGE_JOBS, PageInfo, ScheduledJobsPage, Stack, StackRequest,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use rusqlite::Connection;
use serde::Deserialize;

use super::{Shared, authority::Registration, reply::Payload};
use crate::{
    environment::name_id,
    refusal::Refusal,
    request::is_slug,
    store::{queues, stacks},
};

/// Jobs of a page when nobody says how many.
const PAGE: u32 = 100;

#[derive(Deserialize)]
pub struct JobsQuery {
    #[serde(default)]
    queue_key: String,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn register(
    State(server): Shared,
    _: Registration,
    payload: Payload,
) -> Result<(StatusCode, Json<Stack>), Refusal> {
    let stack: StackRequest = payload.json()?;
    let faults = faults(&stack);
    if !faults.is_empty() {
        return Err(Refusal::invalid(faults.join("; ")));
    }
    let (organization, now) = (server.config.organization.clone(), server.now());
    let register = move |db: &Connection| Ok((stacks::register(db, &stack, now)?, stack));
    let (new, stack) = server.store.run(register).await?;
    let answer = Stack {
        id: name_id(&["stack", &organization, &stack.key]),
        organization_uuid: name_id(&[&organization]),
        key: stack.key,
        kind: stack.kind,
        cluster_queue_key: Some(stack.queue_key),
        metadata: stack.metadata,
        last_connected_on: Timestamp::from_millisecond(now).ok(),
        state: "connected".into(),
    };
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(answer)))
}

pub async fn deregister(
    State(server): Shared,
    Path(key): Path<String>,
    _: Registration,
) -> Result<StatusCode, Refusal> {
    let known = {
        let key = key.clone();
        server.store.run(move |db| stacks::deregister(db, &key)).await?
    };
    if known { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found("stack", &key)) }
}

pub async fn scheduled_jobs(
    State(server): Shared,
    Path(key): Path<String>,
    _: Registration,
    Query(JobsQuery { queue_key, limit, after }): Query<JobsQuery>,
) -> Result<Json<ScheduledJobsPage>, Refusal> {
    if queue_key.is_empty() {
        return Err(Refusal::invalid("name the queue: scheduled-jobs?queue_key=default"));
    }
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_JOBS).contains(&limit) {
        return Err(Refusal::invalid(format!("limit: 1 to {PAGE_JOBS}")));
    }
    let place = after.map_or(Ok(0), |cursor| cursor.parse());
    let place: i64 = place.map_err(|_| Refusal::invalid("after: the end_cursor of a page before"))?;
    let page = move |db: &Connection| {
        if !stacks::is_known(db, &key)? {
            return Err(Refusal::not_found("stack", &key));
        }
        // One more tells whether there is more.
        let mut jobs = stacks::scheduled(db, &queue_key, place, limit + 1)?;
        let has_next_page = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let end_cursor = jobs.last().map(|(place, _)| place.to_string());
        Ok(ScheduledJobsPage {
            jobs: jobs.into_iter().map(|(_, job)| job).collect(),
            cluster_queue: ClusterQueue::new(
                name_id(&["queue", &queue_key]),
                queues::is_paused(db, &queue_key)?,
            ),
            page_info: PageInfo { has_next_page, end_cursor },
        })
    };
    server.store.run(page).await.map(Json)
}

fn faults(stack: &StackRequest) -> Vec<String> {
    let StackRequest { key, kind, queue_key, metadata } = stack;
    let mut faults = Vec::new();
    let mut check = |good: bool, fault: &str| {
        if !good {
            faults.push(fault.to_owned());
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_key = (1..=KEY_BYTES).contains(&key.len()) && key.chars().all(plain);
    check(is_key, "key: 1 to 80 letters, digits, - _");
    check(
        matches!(kind.as_str(), "custom" | "kubernetes" | "elastic"),
        "type: custom, kubernetes or elastic",
    );
    check(is_slug(queue_key), "queue_key: the queue's name");
    let short = |(key, value): (&String, &String)| key.len() <= 64 && value.len() <= 256;
    check(
        metadata.len() <= 100 && metadata.iter().all(short),
        "metadata: at most 100 keys of 64 bytes, with values of 256",
    );
    faults
}
