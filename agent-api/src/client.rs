//! The agent's side of the API: one method per route, each with the retry and give-up rule the protocol has for it
//! ([`retry`]). Registration uses the registration token, everything after it the access token, and a job may
//! bring its own: [`Client::with_token`] makes the client of the next stage.

mod error;
mod http;
pub mod retry;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Call, Transport};
use retry::Policy;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ApiError;
pub(crate) use http::{answer_json, answered_at, authorization, http_client, send_error, status_error};

use crate::wire::{
    Heartbeat, Job, JobFinish, JobStart, JobState, MetaDataExists, MetaDataItem, MetaDataKey, Ping,
    RegisterRequest, RegisterResponse,
};

/// Longest time of one request; what the open-source agent waits too.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to one server under one token. Clones share connections and request headers.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    /// Factor on every pause between attempts: 1 but in tests.
    pause_factor: f64,
}

impl Client {
    /// A client of the API below `endpoint` (for example `https://ci.example/v3`).
    ///
    /// # Errors
    /// The endpoint is no http URL, or the TLS settings of this machine cannot be read.
    pub fn new(endpoint: &str, token: SecretString, user_agent: &str) -> Result<Self, ApiError> {
        Ok(Self {
            transport: Transport::new(endpoint, token, user_agent, REQUEST_TIMEOUT)?,
            pause_factor: 1.0,
        })
    }

    /// The same server under another token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        Self { transport: self.transport.with_token(token), ..self.clone() }
    }

    /// The same token and headers at another base URL.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self { transport: self.transport.at(endpoint), ..self.clone() }
    }

    /// Multiplies every pause between attempts; tests use 0.
    #[must_use]
    pub fn with_pause_factor(self, pause_factor: f64) -> Self {
        Self { pause_factor, ..self }
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.transport.endpoint()
    }

    /// Headers sent with every later request, of all clones. Only names that start with `Buildkite-` are kept.
    pub fn set_request_headers(&self, headers: &BTreeMap<String, String>) {
        self.transport.set_headers(headers);
    }

    /// The headers that [`Client::set_request_headers`] kept.
    #[must_use]
    pub fn request_headers(&self) -> BTreeMap<String, String> {
        self.transport.headers()
    }

    /// `POST register`, with the registration token.
    ///
    /// # Errors
    /// After 30 attempts, or at once on a refusal.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ApiError> {
        self.json(retry::REGISTER, Call::post("register").json(request)?).await
    }

    /// `POST connect`.
    ///
    /// # Errors
    /// After 10 attempts.
    pub async fn connect(&self) -> Result<(), ApiError> {
        self.done(retry::CONNECT, Call::post("connect")).await
    }

    /// `POST heartbeat`.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal: then the server knows this agent no more.
    pub async fn heartbeat(&self, sent_at: jiff::Timestamp) -> Result<Heartbeat, ApiError> {
        let body = Heartbeat { sent_at: sent_at.to_string(), received_at: None };
        self.json(retry::HEARTBEAT, Call::post("heartbeat").json(&body)?).await
    }

    /// `GET ping`, one attempt: the next ping is the retry.
    ///
    /// # Errors
    /// Any failure.
    pub async fn ping(&self) -> Result<Ping, ApiError> {
        self.json(retry::ONCE, Call::get("ping")).await
    }

    /// `POST disconnect`.
    ///
    /// # Errors
    /// After 4 attempts.
    pub async fn disconnect(&self) -> Result<(), ApiError> {
        self.done(retry::DISCONNECT, Call::post("disconnect")).await
    }

    /// `PUT jobs/:id/accept`.
    ///
    /// # Errors
    /// On any HTTP error at once (the job is not ours), after 30 attempts without any answer.
    pub async fn accept(&self, job: &str) -> Result<Job, ApiError> {
        self.json(retry::ACCEPT, Call::put(job_path(job, "accept"))).await
    }

    /// `PUT jobs/:id/acquire`.
    ///
    /// # Errors
    /// 422: never ours. 423: still locked after all attempts.
    pub async fn acquire(&self, job: &str) -> Result<Job, ApiError> {
        self.json(
            retry::ACQUIRE,
            Call::put(job_path(job, "acquire")).header("X-Buildkite-Lock-Acquire-Job", "1"),
        )
        .await
    }

    /// `PUT jobs/:id/start`.
    ///
    /// # Errors
    /// The job must not run then, nor be finished.
    pub async fn start(&self, job: &str, body: &JobStart) -> Result<(), ApiError> {
        self.done(retry::START, Call::put(job_path(job, "start")).json(body)?).await
    }

    /// `GET jobs/:id`, one attempt.
    ///
    /// # Errors
    /// Any failure; [`ApiError::Unauthorized`] means that the job must end.
    pub async fn job_state(&self, job: &str) -> Result<JobState, ApiError> {
        self.json(retry::ONCE, Call::get(format!("jobs/{}", segment(job)))).await
    }

    /// `POST jobs/:id/chunks`: `text` is sent compressed; `sequence` counts from 1, `offset` in bytes of `text`.
    ///
    /// # Errors
    /// The chunk is lost: refused, or 12 attempts (about ten minutes) failed.
    pub async fn chunk(&self, job: &str, sequence: u64, offset: u64, text: &[u8]) -> Result<(), ApiError> {
        let path = job_path(job, "chunks");
        let call = Call::post(format!("{path}?sequence={sequence}&offset={offset}&size={}", text.len()));
        self.done(retry::CHUNK, call.gzip(text)?).await
    }

    /// `POST jobs/:id/header_times`, only for logs without inline times.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal.
    pub async fn header_times(&self, job: &str, body: &crate::wire::HeaderTimes) -> Result<(), ApiError> {
        self.done(retry::HEADER_TIMES, Call::post(job_path(job, "header_times")).json(body)?).await
    }

    /// `PUT jobs/:id/finish`.
    ///
    /// # Errors
    /// Refused, or 12 attempts (about ten minutes) failed.
    pub async fn finish(&self, job: &str, body: &JobFinish) -> Result<(), ApiError> {
        self.done(retry::FINISH, Call::put(job_path(job, "finish")).json(body)?).await
    }

    /// `POST jobs/:id/data/set`.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal.
    pub async fn meta_data_set(&self, job: &str, key: &str, value: &str) -> Result<(), ApiError> {
        let body = MetaDataItem { key: key.to_owned(), value: value.to_owned() };
        self.done(retry::META_DATA, Call::post(job_path(job, "data/set")).json(&body)?).await
    }

    /// `POST jobs/:id/data/get`; `None` when the key is not set.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal other than 404.
    pub async fn meta_data_get(&self, job: &str, key: &str) -> Result<Option<String>, ApiError> {
        let call = Call::post(job_path(job, "data/get")).json(&MetaDataKey { key: key.to_owned() })?;
        match self.json::<MetaDataItem>(retry::META_DATA, call).await {
            Ok(item) => Ok(Some(item.value)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST jobs/:id/data/exists`.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal.
    pub async fn meta_data_exists(&self, job: &str, key: &str) -> Result<bool, ApiError> {
        let call = Call::post(job_path(job, "data/exists")).json(&MetaDataKey { key: key.to_owned() })?;
        Ok(self.json::<MetaDataExists>(retry::META_DATA, call).await?.exists)
    }

    /// `POST jobs/:id/data/keys`.
    ///
    /// # Errors
    /// After 10 attempts, or at once on a refusal.
    pub async fn meta_data_keys(&self, job: &str) -> Result<Vec<String>, ApiError> {
        self.json(retry::META_DATA, Call::post(job_path(job, "data/keys"))).await
    }

    async fn json<T: DeserializeOwned>(&self, policy: Policy, call: Call) -> Result<T, ApiError> {
        let mut attempt = 1;
        loop {
            let result = match self.transport.send(&call).await {
                Ok(response) => answer_json(call.name(), response).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(error) => self.pause_or_give_up(policy, attempt, error).await?,
            }
            attempt += 1;
        }
    }

    async fn done(&self, policy: Policy, call: Call) -> Result<(), ApiError> {
        let mut attempt = 1;
        while let Err(error) = self.transport.send(&call).await {
            self.pause_or_give_up(policy, attempt, error).await?;
            attempt += 1;
        }
        Ok(())
    }

    async fn pause_or_give_up(&self, policy: Policy, attempt: u32, error: ApiError) -> Result<(), ApiError> {
        let Some(pause) = policy.pause_after(attempt, &error, rand::random()) else { return Err(error) };
        tracing::warn!(attempt, pause_s = pause.as_secs(), "{error}; trying again");
        tokio::time::sleep(pause.mul_f64(self.pause_factor)).await;
        Ok(())
    }
}

fn job_path(job: &str, rest: &str) -> String {
    format!("jobs/{}/{rest}", segment(job))
}

/// One path segment with everything but letters, digits, `-` and `_` percent-encoded, dots too: ids come from the
/// network and must stay one segment.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What `serde_json` says about a body of ours that cannot be written (it never happens for the types of `wire`).
fn to_json<T: Serialize>(name: &'static str, body: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|error| ApiError::Request { call: name, cause: error.to_string() })
}

#[cfg(test)]
mod tests;
