//! The lab's own requests to the endpoint, below `/_lab/`: faults and calls, for those who hold its token.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::{StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Shared;
use super::faults::Fault;

/// Routes: `GET|POST|DELETE /_lab/faults`, `DELETE /_lab/faults/{number}`, `GET /_lab/calls`, `GET /_lab/unused-allows`.
pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/_lab/faults", get(list).post(add).delete(clear))
        .route("/_lab/faults/{number}", delete(remove))
        .route("/_lab/calls", get(calls))
        .route("/_lab/unused-allows", get(unused))
        .layer(middleware::from_fn_with_state(Arc::clone(shared), with_token))
}

/// Jobs of the lab's instances reach this port too: without the token they may not touch it.
async fn with_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let expected = format!("Bearer {}", shared.token.expose_secret());
    let sent = request.headers().get(header::AUTHORIZATION);
    if sent.is_none_or(|sent| sent.as_bytes() != expected.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let faults = shared.faults.list().into_iter();
    Json(faults.map(|(number, fault)| json!({"number": number, "fault": fault})).collect())
}

async fn add(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Json<Value> {
    Json(json!({"number": shared.faults.add(fault)}))
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> StatusCode {
    if shared.faults.remove(number) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"counts": shared.calls.counts(), "latest": shared.calls.latest()}))
}

async fn unused(State(shared): State<Arc<Shared>>) -> Response {
    match super::used::unused_allows(&shared).await {
        Ok(unused) => Json(unused).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}
