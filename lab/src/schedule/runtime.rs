//! The Lambda runtime API (version 2018-06-01) for one function: the program asks for the next event, and posts its
//! answer or its error.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::model::Failed;

/// An event on its way to the program.
#[derive(Debug, Clone)]
pub struct Event {
    /// Request id.
    pub id: String,
    /// The payload.
    pub payload: String,
    /// When the function's time is up.
    pub deadline: Timestamp,
}

type Outcome = Result<String, Failed>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Event>,
    /// The invocation that runs and where its outcome goes.
    open: Option<(String, oneshot::Sender<Outcome>)>,
}

struct Shared {
    arn: String,
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the open invocation `id` (any, if `None`); false when there is no such.
    fn finish(&self, id: Option<&str>, outcome: Outcome) -> bool {
        let mut queue = self.lock();
        let matches = queue.open.as_ref().is_some_and(|(open, _)| id.is_none_or(|id| id == open));
        if let Some((_, reply)) = queue.open.take_if(|_| matches) {
            // Nobody waits any more when the invocation has timed out.
            let _ = reply.send(outcome);
        }
        matches
    }
}

/// A serving runtime API.
pub struct RuntimeApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl RuntimeApi {
    /// Serves on a free port of 127.0.0.1 for the function with this ARN.
    ///
    /// # Errors
    /// No port.
    pub async fn start(arn: &str) -> Result<Self> {
        let shared =
            Arc::new(Shared { arn: arn.to_owned(), queue: Mutex::default(), arrived: Notify::new() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            // Serving ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, serving })
    }

    /// `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts an event before the program; the outcome comes through the receiver. One at a time.
    pub fn offer(&self, event: Event) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            queue.open = Some((event.id.clone(), reply));
            queue.waiting.clear();
            queue.waiting.push_back(event);
        }
        self.shared.arrived.notify_one();
        outcome
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    loop {
        let arrived = shared.arrived.notified();
        let event = shared.lock().waiting.pop_front();
        if let Some(event) = event {
            let headers = [
                ("Lambda-Runtime-Aws-Request-Id", event.id),
                ("Lambda-Runtime-Deadline-Ms", event.deadline.as_millisecond().to_string()),
                ("Lambda-Runtime-Invoked-Function-Arn", shared.arn.clone()),
                ("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
                ("Content-Type", "application/json".to_owned()),
            ];
            return (headers, event.payload).into_response();
        }
        arrived.await;
    }
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let text = String::from_utf8_lossy(&body).into_owned();
    status(shared.finish(Some(&id), Ok(text)))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    status(shared.finish(Some(&id), Err(Failed::Told(told(&body)))))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    shared.finish(None, Err(Failed::Told(told(&body))));
    StatusCode::ACCEPTED
}

fn status(known: bool) -> StatusCode {
    if known { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST }
}

/// `errorType: errorMessage` of the program's error, or the start of what it sent instead.
fn told(body: &[u8]) -> String {
    let read: Value = serde_json::from_slice(body).unwrap_or_default();
    match (read["errorType"].as_str(), read["errorMessage"].as_str()) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        _ => String::from_utf8_lossy(body).chars().take(300).collect(),
    }
}
