//! The routes. `/v3` is the agents' (bodies in [`agent_api::wire`]), `/api` is the users'.

mod agents;
mod authority;
mod builds;
mod jobs;
mod log;
mod meta_data;
mod metrics;
mod queues;
mod reply;
mod stacks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use reply::{message, not_here};

use crate::{config::Config, presence::Presence, store::Store, token::Tokens};

/// Longest body of any request.
const BODY_BYTES_LIMIT: usize = 4 * 1024 * 1024;
/// Agents give a request up after 60 s.
const TIME_LIMIT: Duration = Duration::from_secs(50);

/// What every route can reach.
pub struct Server {
    /// Everything durable.
    pub store: Store,
    /// When agents were last heard of.
    pub presence: Presence,
    /// What time it is; tests move it.
    pub clock: Clock,
    /// What the server was told.
    pub config: Config,
    /// How people reach it, without a final slash.
    pub base_url: String,
    /// Tokens that register agents.
    pub registration_tokens: Tokens,
    /// Tokens of the build API.
    pub api_tokens: Tokens,
}

/// Tells Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

type Shared = State<Arc<Server>>;

impl Server {
    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        (self.clock)()
    }
}

/// All routes. Whatever is not here is a 404 at once: newer agents try a streaming service at the host's root and
/// fall back to pings when there is none.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .nest("/v3", agent_routes())
        .nest("/api", user_routes())
        .method_not_allowed_fallback(async || {
            message(StatusCode::METHOD_NOT_ALLOWED, "no such method on this path")
        })
        .fallback(async || message(StatusCode::NOT_FOUND, "no such path"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_LIMIT))
        .layer(middleware::from_fn(around))
        .with_state(server)
}

fn agent_routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/register", post(agents::register))
        .route("/connect", post(agents::connect))
        .route("/heartbeat", post(agents::heartbeat))
        .route("/ping", get(agents::ping))
        .route("/disconnect", post(agents::disconnect))
        .route("/stop", post(agents::stop))
        .route("/pause", post(agents::pause))
        .route("/resume", post(agents::resume))
        .route("/token", get(agents::token))
        .route("/metrics", get(metrics::all))
        .route("/metrics/queue", get(metrics::of_queue))
        .route("/stacks/register", post(stacks::register))
        .route("/stacks/{key}/deregister", post(stacks::deregister))
        .route("/stacks/{key}/scheduled-jobs", get(stacks::scheduled_jobs))
        .route("/jobs/{id}", get(jobs::state))
        .route("/jobs/{id}/accept", put(jobs::accept))
        .route("/jobs/{id}/acquire", put(jobs::acquire))
        .route("/jobs/{id}/start", put(jobs::start))
        .route("/jobs/{id}/chunks", post(log::chunk))
        .route("/jobs/{id}/header_times", post(log::header_times))
        .route("/jobs/{id}/finish", put(jobs::finish))
        .route("/{owner}/{id}/data/set", post(meta_data::set))
        .route("/{owner}/{id}/data/set-batch", post(meta_data::set_batch))
        .route("/{owner}/{id}/data/get", post(meta_data::get))
        .route("/{owner}/{id}/data/exists", post(meta_data::exists))
        .route("/{owner}/{id}/data/keys", post(meta_data::keys))
        // Each answer is the code on which agents of all versions stop asking.
        .route("/jobs/{id}/pipelines", not_here(StatusCode::UNPROCESSABLE_ENTITY, "pipeline uploads"))
        .route("/jobs/{id}/pipelines/{uuid}", not_here(StatusCode::UNPROCESSABLE_ENTITY, "pipeline uploads"))
        .route("/jobs/{id}/annotations", not_here(StatusCode::NOT_FOUND, "annotations"))
        .route("/jobs/{id}/annotations/{context}", not_here(StatusCode::NOT_FOUND, "annotations"))
        .route("/jobs/{id}/artifacts", not_here(StatusCode::NOT_FOUND, "artifacts"))
        .route("/builds/{id}/artifacts/search", not_here(StatusCode::NOT_FOUND, "artifacts"))
        .route("/steps/{id}", not_here(StatusCode::NOT_FOUND, "step attributes"))
        .route("/steps/{id}/export", not_here(StatusCode::NOT_FOUND, "step attributes"))
        .route("/steps/{id}/cancel", not_here(StatusCode::NOT_FOUND, "step attributes"))
}

fn user_routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/builds", post(builds::create).get(builds::list))
        .route("/builds/{id}", get(builds::show))
        .route("/builds/{id}/cancel", put(builds::cancel))
        .route("/jobs/{id}/log", get(log::read))
        .route("/queues", get(queues::list))
        .route("/queues/{name}/pause", put(queues::pause))
        .route("/queues/{name}/resume", put(queues::resume))
        .route("/agents", get(agents::list))
        .route("/agents/{id}/stop", put(agents::stop_from_outside))
}

/// Around every request: an id, a time limit, one line in the server's log (never a header, query or body).
async fn around(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = std::time::Instant::now();
    let answer = tokio::time::timeout(TIME_LIMIT, next.run(request)).await;
    let mut answer = match answer {
        Ok(answer) => reply::as_message(answer).await,
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "the request took too long; try again"),
    };
    let status = answer.status().as_u16();
    let ms = began.elapsed().as_millis();
    if status >= 500 {
        tracing::error!(%method, path, status, ms, request = id, "failed");
    } else {
        tracing::debug!(%method, path, status, ms, request = id, "answered");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert("x-request-id", id);
    }
    answer
}
