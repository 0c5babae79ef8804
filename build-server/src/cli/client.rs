//! The build API from the command line.

use std::{path::PathBuf, time::Duration};

use agent_api::wire::ErrorBody;
use clap::Args;
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::store::views::BuildView;

/// Which server, and with what right.
#[derive(Args)]
pub struct Access {
    /// The server's URL
    #[arg(long, env = "BUILD_SERVER_URL", global = true, default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File with an API token: the server's DATA/api-token
    #[arg(long, env = "BUILD_SERVER_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// Why a command failed. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The command line or a file it names is wrong.
    #[error("{0}")]
    Usage(String),
    /// The server did not answer.
    #[error("reach {0}: {1}; is it running, and is --server right?")]
    Unreachable(String, String),
    /// The server said no.
    #[error("{step}: {status}: {message}")]
    Refused {
        /// What was asked.
        step: String,
        /// Its answer.
        status: StatusCode,
        /// Its reason.
        message: String,
    },
    /// The answer was not as expected.
    #[error("{0}: the answer makes no sense: {1}; is --server a build-server?")]
    Answer(String, String),
    /// The output is closed.
    #[error("write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl Fault {
    /// As ARCHITECTURE.md says.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable(..) => 69,
            Self::Refused { status, .. } if status.is_server_error() => 75,
            Self::Refused { status: StatusCode::UNAUTHORIZED, .. } => 77,
            _ => 1,
        }
    }
}

/// Speaks to one server.
pub struct Api {
    http: Client,
    url: String,
    token: SecretString,
}

impl Api {
    /// Reads the token; the server is not asked yet.
    pub fn new(access: Access) -> Result<Self, Fault> {
        let usage = |text: String| Fault::Usage(text);
        let file =
            access.token_file.ok_or_else(|| usage("name the API token's file: --token-file F".into()))?;
        let text = std::fs::read_to_string(&file)
            .map_err(|fault| usage(format!("read the API token {}: {fault}", file.display())))?;
        let token = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let token = token.ok_or_else(|| usage(format!("{} holds no token", file.display())))?;
        let http = Client::builder().timeout(Duration::from_secs(60)).build();
        let http = http.map_err(|fault| usage(format!("make an HTTP client: {fault}")))?;
        Ok(Self {
            http,
            url: access.server.trim_end_matches('/').to_owned(),
            token: SecretString::from(token),
        })
    }

    /// One request; an error answer is a [`Fault::Refused`].
    pub async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response, Fault> {
        let step = format!("{method} {path}");
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(self.token.expose_secret()).body(body.unwrap_or_default());
        let unreachable = |fault: reqwest::Error| Fault::Unreachable(self.url.clone(), cause(&fault));
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let message = serde_json::from_str(&text).map_or(text, |body: ErrorBody| body.message);
        Err(Fault::Refused { step, status, message })
    }

    /// The same with a JSON answer.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, Fault> {
        let step = format!("{method} {path}");
        let answer = self.send(method, path, body).await?;
        answer.json().await.map_err(|fault| Fault::Answer(step, cause(&fault)))
    }

    /// The build of this id or number.
    pub async fn build(&self, id: &str) -> Result<BuildView, Fault> {
        self.json(Method::GET, &format!("/api/builds/{}", segment(id)?), None).await
    }
}

/// An id as one path segment.
pub fn segment(id: &str) -> Result<&str, Fault> {
    let good = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if good { Ok(id) } else { Err(Fault::Usage(format!("{id:?} is no id or number"))) }
}

fn cause(fault: &dyn std::error::Error) -> String {
    let mut deepest = fault;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}
