//! A server for one agent and one job that remembers all it is told.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::sync::watch;

/// One piece of log.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub offset: u64,
    pub size: u64,
    pub text: Vec<u8>,
}

#[derive(Default)]
pub struct Seen {
    /// Method and path of every call in order, without the ping's many.
    pub calls: Vec<String>,
    pub chunks: BTreeMap<u64, Chunk>,
    pub header_times: BTreeMap<String, String>,
    pub finish: Option<Value>,
    pub registers: Vec<Value>,
    pub meta_data: BTreeMap<String, String>,
    pub authorization: BTreeMap<String, String>,
}

/// What the server does, set before the agent starts or while it runs.
#[derive(Default)]
pub struct Plan {
    pub env: BTreeMap<String, String>,
    pub chunk_bytes: u64,
    pub state: String,
    /// Statuses to answer a call with, by its last path segment, used up one by one.
    pub failures: BTreeMap<String, Vec<u16>>,
    pub ping: Option<Value>,
}

#[derive(Clone)]
pub struct Server {
    pub seen: Arc<Mutex<Seen>>,
    pub plan: Arc<Mutex<Plan>>,
    pub endpoint: String,
    changed: watch::Sender<()>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v3", listener.local_addr().unwrap());
        let plan = Plan { chunk_bytes: 102_400, state: "running".into(), ..Plan::default() };
        let changed = watch::Sender::new(());
        let server = Self { seen: Arc::default(), plan: Arc::new(Mutex::new(plan)), endpoint, changed };
        let app = axum::Router::new()
            .route("/v3/register", post(register))
            .route("/v3/connect", post(async || "ok"))
            .route("/v3/heartbeat", post(async || Json(json!({}))))
            .route("/v3/disconnect", post(async || "ok"))
            .route("/v3/ping", get(ping))
            .route("/v3/jobs/{id}/accept", put(accept))
            .route("/v3/jobs/{id}/acquire", put(accept))
            .route("/v3/jobs/{id}/start", put(async || "ok"))
            .route("/v3/jobs/{id}", get(state))
            .route("/v3/jobs/{id}/chunks", post(chunks))
            .route("/v3/jobs/{id}/header_times", post(header_times))
            .route("/v3/jobs/{id}/finish", put(finish))
            .route("/v3/jobs/{id}/data/{verb}", post(data))
            .layer(middleware::from_fn_with_state(server.clone(), record))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// Waits until the log, without times, holds `text`.
    pub async fn wait_for_log(&self, text: &str) {
        self.wait(|seen| log_of(seen).contains(text)).await;
    }

    pub async fn wait(&self, is_true: impl Fn(&Seen) -> bool) {
        let mut changes = self.changed.subscribe();
        while !is_true(&self.seen.lock().unwrap()) {
            changes.changed().await.unwrap();
        }
    }
}

/// The log as viewers show it.
pub fn log_of(seen: &Seen) -> String {
    without_times(&raw_log_of(seen))
}

/// The log as it was sent.
pub fn raw_log_of(seen: &Seen) -> String {
    let bytes: Vec<u8> = seen.chunks.values().flat_map(|chunk| chunk.text.clone()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_times(text: &str) -> String {
    let mut pieces = text.split("\x1b_bk;t=");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |shown, piece| shown + piece.split_once('\x07').map_or("", |(_, rest)| rest))
}

async fn record(State(server): State<Server>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let call = path.rsplit('/').next().unwrap_or_default().to_owned();
    {
        let mut seen = server.seen.lock().unwrap();
        if call != "ping" {
            seen.calls.push(format!("{} {}", request.method(), path.trim_start_matches("/v3/")));
        }
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        seen.authorization.insert(call.clone(), token.unwrap_or_default().to_owned());
    }
    let failure = server.plan.lock().unwrap().failures.get_mut(&call).and_then(Vec::pop);
    let response = match failure {
        Some(status) => {
            let at_once = [("retry-after", "0")];
            (StatusCode::from_u16(status).unwrap(), at_once, Json(json!({"message": "as planned"})))
                .into_response()
        }
        None => next.run(request).await,
    };
    server.changed.send_replace(());
    response
}

async fn register(State(server): State<Server>, Json(body): Json<Value>) -> Json<Value> {
    let name = body["name"].clone();
    server.seen.lock().unwrap().registers.push(body);
    Json(json!({"id": "agent-1", "name": name, "access_token": "access-token-1", "endpoint": "",
        "ping_interval": 1, "job_status_interval": 1, "heartbeat_interval": 1, "meta_data": []}))
}

async fn ping(State(server): State<Server>) -> Json<Value> {
    Json(server.plan.lock().unwrap().ping.clone().unwrap_or_else(|| json!({})))
}

async fn accept(State(server): State<Server>, Path(id): Path<String>) -> Json<Value> {
    let plan = server.plan.lock().unwrap();
    Json(json!({"id": id, "env": plan.env, "chunks_max_size_bytes": plan.chunk_bytes}))
}

async fn state(State(server): State<Server>) -> Json<Value> {
    Json(json!({"state": server.plan.lock().unwrap().state}))
}

async fn chunks(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, u64>>,
    body: Bytes,
) -> StatusCode {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
    let chunk = Chunk { offset: query["offset"], size: query["size"], text };
    server.seen.lock().unwrap().chunks.insert(query["sequence"], chunk);
    StatusCode::CREATED
}

async fn header_times(State(server): State<Server>, Json(body): Json<Value>) {
    let times: BTreeMap<String, String> = serde_json::from_value(body["header_times"].clone()).unwrap();
    server.seen.lock().unwrap().header_times.extend(times);
}

async fn finish(State(server): State<Server>, Json(body): Json<Value>) {
    server.seen.lock().unwrap().finish = Some(body);
}

async fn data(
    State(server): State<Server>,
    Path((_, verb)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let data = &mut server.seen.lock().unwrap().meta_data;
    let key = body["key"].as_str().unwrap_or_default().to_owned();
    match verb.as_str() {
        "set" => {
            data.insert(key, body["value"].as_str().unwrap().to_owned());
            "ok".into_response()
        }
        "get" => match data.get(&key) {
            Some(value) => Json(json!({"key": key, "value": value})).into_response(),
            None => (StatusCode::NOT_FOUND, Json(json!({"message": "not set"}))).into_response(),
        },
        "exists" => Json(json!({"exists": data.contains_key(&key)})).into_response(),
        _ => Json(data.keys().collect::<Vec<_>>()).into_response(),
    }
}
