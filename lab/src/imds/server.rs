//! Tokens and HTTP of the metadata service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::json;

use super::tree::{self, Facts, Notices};
use super::{RoleSessions, lock};
use crate::endpoint::credentials::Credentials;
use crate::endpoint::faults::{self, Effect};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// Credentials are made anew when they would end sooner.
const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// What the server knows.
pub struct State {
    pub(super) facts: Facts,
    pub(super) notices: Mutex<Notices>,
    sessions: Arc<dyn RoleSessions>,
    tokens: Mutex<BTreeMap<String, Timestamp>>,
    credentials: Mutex<Option<(Credentials, Timestamp)>>,
}

impl State {
    /// Nothing issued yet.
    pub fn new(facts: Facts, sessions: Arc<dyn RoleSessions>) -> Self {
        Self {
            facts,
            notices: Mutex::default(),
            sessions,
            tokens: Mutex::default(),
            credentials: Mutex::default(),
        }
    }

    /// Is this a token of ours that has not run out?
    fn knows(&self, token: &str, now: Timestamp) -> bool {
        let mut tokens = lock(&self.tokens);
        tokens.retain(|_, ends| *ends > now);
        tokens.contains_key(token)
    }

    /// The role's credentials and since when, made anew shortly before they end.
    fn credentials(&self, role: &str) -> (Credentials, Timestamp) {
        let mut kept = lock(&self.credentials);
        let now = Timestamp::now();
        let soon = now.saturating_add(FRESH).unwrap_or(Timestamp::MAX);
        match kept.as_ref() {
            Some((credentials, since)) if credentials.expires.is_none_or(|end| end > soon) => {
                (credentials.clone(), *since)
            }
            _ => kept.insert((self.sessions.issue(role, &self.facts.instance_id), now)).clone(),
        }
    }
}

/// The routes.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/latest/api/token", put(token))
        .route("/latest/{*path}", get(read))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), suffer))
        .with_state(state)
}

/// Faults of `imds:PutToken` and `imds:Get`, by the instance's id and the path below `/latest/`.
async fn suffer(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let action = if request.method() == Method::PUT { "imds:PutToken" } else { "imds:Get" };
    let path = request.uri().path().trim_start_matches("/latest/");
    match state.sessions.fault(action, &state.facts.instance_id, path) {
        None => {}
        Some(Effect::Delay(millis)) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Some(Effect::Throttle) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Effect::Deny) => return StatusCode::FORBIDDEN.into_response(),
        Some(Effect::Expire) => return StatusCode::UNAUTHORIZED.into_response(),
        Some(Effect::Fail) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Effect::Drop) => return faults::cut(),
        Some(Effect::Hang) => std::future::pending().await,
    }
    next.run(request).await
}

/// As on AWS: the lifetime is one second to six hours, and a request that came through a proxy gets no token.
async fn token(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    if headers.contains_key("x-forwarded-for") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let ttl = headers.get(TTL).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u32>().ok());
    let Some(ttl) = ttl.filter(|t| (1..=21_600).contains(t)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let token = uuid::Uuid::new_v4().simple().to_string();
    let ends = Timestamp::now().saturating_add(SignedDuration::from_secs(ttl.into()));
    lock(&state.tokens).insert(token.clone(), ends.unwrap_or(Timestamp::MAX));
    ([(TTL, ttl.to_string())], token).into_response()
}

async fn read(Shared(state): Shared<Arc<State>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let token = headers.get(TOKEN).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !state.knows(token, Timestamp::now()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let role = path.strip_prefix("meta-data/iam/security-credentials/");
    if let Some(asked) = role.filter(|r| !r.is_empty()) {
        return match state.facts.role.as_deref() {
            Some(role) if role == asked => issue(&state, role),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let found = tree::find(&state.facts, &lock(&state.notices), &path);
    match found {
        Some(bytes) => ([(header::CONTENT_TYPE, "text/plain")], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn issue(state: &State, role: &str) -> Response {
    let (credentials, since) = state.credentials(role);
    let body = json!({
        "Code": "Success",
        "LastUpdated": format!("{since:.0}"),
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key.expose_secret(),
        "Token": credentials.session_token.as_ref().map(ExposeSecret::expose_secret),
        "Expiration": credentials.expires.map(|end| format!("{end:.0}")),
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
