//! Counts for scalers.

use agent_api::metrics::{AllMetrics, POLL_DURATION_HEADER, QueueMetrics};
use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;

use super::{Shared, authority::Registration};
use crate::{refusal::Refusal, store::counts};

type PollHeader = [(&'static str, String); 1];

#[derive(Deserialize)]
pub struct QueueQuery {
    #[serde(default)]
    name: String,
}

pub async fn all(State(server): Shared, _: Registration) -> Result<(PollHeader, Json<AllMetrics>), Refusal> {
    let slug = server.config.organization.clone();
    let counts = server.store.run(move |db| counts::all(db, &slug)).await?;
    Ok(([(POLL_DURATION_HEADER, server.config.metrics_poll.to_string())], Json(counts)))
}

pub async fn of_queue(
    State(server): Shared,
    _: Registration,
    Query(QueueQuery { name }): Query<QueueQuery>,
) -> Result<(PollHeader, Json<QueueMetrics>), Refusal> {
    if name.is_empty() {
        return Err(Refusal::invalid("name the queue: metrics/queue?name=default"));
    }
    let slug = server.config.organization.clone();
    let counts = server.store.run(move |db| counts::of_queue(db, &slug, &name)).await?;
    Ok(([(POLL_DURATION_HEADER, server.config.metrics_poll.to_string())], Json(counts)))
}
