//! The API of the job's process for programs in the job, on a unix socket, in the open-source agent's form.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use super::console::Console;
use crate::vars::Vars;

/// Variable with the socket's path.
pub(crate) const SOCKET: &str = "BUILDKITE_AGENT_JOB_API_SOCKET";
/// Variable with the token for it.
pub(crate) const TOKEN: &str = "BUILDKITE_AGENT_JOB_API_TOKEN";
/// Route of redactions.
pub(crate) const REDACTIONS: &str = "/api/current-job/v0/redactions";

/// `POST redactions`: hide this from the log.
#[derive(Serialize, Deserialize)]
pub(crate) struct Redaction {
    /// The value.
    pub redact: String,
}

/// What was hidden, without showing it.
#[derive(Serialize)]
struct Redacted {
    redacted: String,
}

#[derive(Clone)]
struct Api {
    console: Console,
    token: String,
}

/// Serves for as long as the process lives, and names socket and token in `vars`.
pub(super) fn serve(folder: &Path, console: &Console, vars: &mut Vars) -> io::Result<()> {
    let path = folder.join("job-api.sock");
    let token = hex::encode(rand::rng().random::<[u8; 24]>());
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let api = Api { console: console.clone(), token: token.clone() };
    let app = Router::new().route(REDACTIONS, post(redact)).with_state(api);
    tokio::spawn(async move { axum::serve(listener, app).await });
    vars.set(SOCKET, path);
    vars.set(TOKEN, token);
    Ok(())
}

async fn redact(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(body): Json<Redaction>,
) -> Result<(StatusCode, Json<Redacted>), StatusCode> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given.strip_prefix("Bearer ") != Some(api.token.as_str()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    api.console.hide(body.redact.as_bytes()).await;
    Ok((StatusCode::CREATED, Json(Redacted { redacted: "[REDACTED]".into() })))
}
