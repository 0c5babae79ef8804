//! Job counts as a CI would tell them to the scaler, and as a broken CI would.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;

/// What the CI answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// So many jobs are scheduled, so many run.
    Jobs { scheduled: u64, running: u64 },
    /// This status and text, whoever asks.
    Status(u16, &'static str),
}

#[derive(Debug)]
struct Said {
    answer: Answer,
    /// Only who has this token is told anything.
    token: Option<String>,
}

/// The CI's metrics API. It ends when it is dropped.
pub struct Counts {
    url: String,
    said: Arc<Mutex<Said>>,
    server: JoinHandle<()>,
}

impl Counts {
    /// Starts with no jobs, for everybody.
    pub async fn start() -> Self {
        let answer = Answer::Jobs { scheduled: 0, running: 0 };
        let said = Arc::new(Mutex::new(Said { answer, token: None }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v3", listener.local_addr().unwrap());
        let router = Router::new().fallback(metrics).with_state(Arc::clone(&said));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, said, server }
    }

    /// The function's variables with which the scaler asks here, one tick an invocation.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [("BUILDKITE_AGENT_ENDPOINT", self.url.as_str()), ("LAMBDA_TIMEOUT", "1s")];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Answers so from now on.
    pub fn say(&self, answer: Answer) {
        self.said.lock().unwrap().answer = answer;
    }

    /// Only this token is good from now on.
    pub fn only_for(&self, token: &str) {
        self.said.lock().unwrap().token = Some(token.to_owned());
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn metrics(State(said): State<Arc<Mutex<Said>>>, headers: HeaderMap) -> (StatusCode, String) {
    let (answer, token) = {
        let said = said.lock().unwrap();
        (said.answer.clone(), said.token.clone())
    };
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if token.is_some_and(|token| authorization != format!("Token {token}")) {
        return (StatusCode::UNAUTHORIZED, r#"{"message":"Invalid access token"}"#.to_owned());
    }
    match answer {
        Answer::Jobs { scheduled, running } => {
            let total = scheduled + running;
            let body = json!({
                "agents": {"idle": 0, "busy": running, "total": running},
                "jobs": {"scheduled": scheduled, "running": running, "waiting": 0, "total": total},
                "organization": {"slug": "lab"},
            });
            (StatusCode::OK, body.to_string())
        }
        Answer::Status(status, text) => (StatusCode::from_u16(status).unwrap(), text.to_owned()),
    }
}
