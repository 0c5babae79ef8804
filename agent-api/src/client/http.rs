//! Requests and answers over HTTP: authentication, headers, compression, and failures as [`ApiError`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use reqwest::header::{
    AGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::wire::ErrorBody;

/// So much of an error body that is no JSON is quoted.
const QUOTED_BYTES: usize = 512;

/// Longest answer read: a job's environment is the largest there is.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One request, ready to be sent as often as its policy says.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    path: String,
    body: Option<(Bytes, &'static str)>,
    gzip: bool,
    headers: Vec<(&'static str, &'static str)>,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, gzip: false, headers: Vec::new() }
    }

    pub fn json<T: Serialize>(mut self, body: &T) -> Result<Self, ApiError> {
        self.body = Some((super::to_json(self.name(), body)?.into(), "application/json"));
        Ok(self)
    }

    pub fn gzip(mut self, text: &[u8]) -> Result<Self, ApiError> {
        let name = self.name();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(text).and_then(|()| encoder.finish());
        let packed = packed.map_err(|error| ApiError::Request { call: name, cause: error.to_string() })?;
        self.body = Some((packed.into(), "text/plain"));
        self.gzip = true;
        Ok(self)
    }

    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The route for people, without ids.
    pub fn name(&self) -> &'static str {
        let path = self.path.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "register" => "POST register",
            "connect" => "POST connect",
            "heartbeat" => "POST heartbeat",
            "ping" => "GET ping",
            "disconnect" => "POST disconnect",
            "accept" => "PUT accept",
            "acquire" => "PUT acquire",
            "start" => "PUT start",
            "chunks" => "POST chunks",
            "header_times" => "POST header_times",
            "finish" => "PUT finish",
            "set" => "POST data/set",
            "get" => "POST data/get",
            "exists" => "POST data/exists",
            "keys" => "POST data/keys",
            _ => "GET job",
        }
    }
}

/// Where requests go, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    endpoint: Arc<str>,
    token: SecretString,
    headers: Arc<RwLock<BTreeMap<String, String>>>,
}

impl Transport {
    pub fn new(
        endpoint: &str,
        token: SecretString,
        user_agent: &str,
        timeout: Duration,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            http: http_client("client", endpoint, user_agent, timeout)?,
            endpoint: base(endpoint),
            token,
            headers: Arc::default(),
        })
    }

    pub fn with_token(&self, token: SecretString) -> Self {
        Self { token, ..self.clone() }
    }

    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: base(endpoint), ..self.clone() }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn headers(&self) -> BTreeMap<String, String> {
        self.headers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_headers(&self, headers: &BTreeMap<String, String>) {
        let kept = headers.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("buildkite-"));
        let kept = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        *self.headers.write().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Sends once. `Ok` is a 2xx answer.
    pub async fn send(&self, call: &Call) -> Result<reqwest::Response, ApiError> {
        let name = call.name();
        let mut request = self.http.request(call.method.clone(), format!("{}/{}", self.endpoint, call.path));
        request = request.header(AUTHORIZATION, authorization(name, &self.token)?);
        for (header, value) in &call.headers {
            request = request.header(*header, *value);
        }
        for (header, value) in self.headers() {
            request = request.header(header, value);
        }
        match &call.body {
            Some((body, kind)) => request = request.header(CONTENT_TYPE, *kind).body(body.clone()),
            None if call.method != Method::GET => request = request.header(CONTENT_LENGTH, "0"),
            None => {}
        }
        if call.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let response = request.send().await.map_err(|error| send_error(name, &error))?;
        if response.status().is_success() { Ok(response) } else { Err(status_error(name, response).await) }
    }
}

fn base(endpoint: &str) -> Arc<str> {
    Arc::from(endpoint.trim_end_matches('/'))
}

/// `Authorization: Token …`, marked so that no debug output shows it.
pub(crate) fn authorization(call: &'static str, token: &SecretString) -> Result<HeaderValue, ApiError> {
    let text = format!("Token {}", token.expose_secret());
    let mut value = HeaderValue::from_str(&text).map_err(|_| ApiError::Request {
        call,
        cause: "the token holds characters that no header may hold".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// An HTTP client with our TLS stack, after a look at the endpoint it is for.
pub(crate) fn http_client(
    call: &'static str,
    endpoint: &str,
    user_agent: &str,
    timeout: Duration,
) -> Result<reqwest::Client, ApiError> {
    let url = reqwest::Url::parse(endpoint)
        .map_err(|error| ApiError::Request { call, cause: format!("endpoint {endpoint}: {error}") })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ApiError::Request { call, cause: format!("endpoint {endpoint} is no http(s) URL") });
    }
    // The second installation of a process fails, and that is fine: the first one stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(user_agent)
        .timeout(timeout)
        .build()
        .map_err(|error| ApiError::Request { call, cause: error.to_string() })
}

/// A failure below HTTP.
pub(crate) fn send_error(call: &'static str, error: &reqwest::Error) -> ApiError {
    if error.is_timeout() {
        return ApiError::Timeout { call };
    }
    if error.is_builder() {
        return ApiError::Request { call, cause: innermost(error) };
    }
    ApiError::Unreachable { call, cause: innermost(error) }
}

/// The cause that says most: reqwest's own text names only the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// An answer that is not 2xx.
pub(crate) async fn status_error(call: &'static str, response: reqwest::Response) -> ApiError {
    let status = response.status().as_u16();
    let retry_after = retry_after(&response);
    let body = read_body(call, response).await.unwrap_or_default();
    let message = match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES)]).trim().to_owned(),
    };
    match status {
        401 => ApiError::Unauthorized { call, message },
        429 => ApiError::Throttled { call, message, retry_after },
        500.. => ApiError::Server { call, status, message, retry_after },
        _ => ApiError::Rejected { call, status, message, retry_after },
    }
}

/// What `Retry-After` asks for: seconds, or the time until a date. By the server's own clock where it tells that one too:
/// this machine's may be wrong.
fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let text = header(RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let now = header(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    // A date that is over asks for nothing.
    date(text).map(|until| until.duration_since(now).try_into().unwrap_or_default())
}

/// When the server says that its answer is of: what `Date` says, less the time that a cache had it (`Age`).
pub(crate) fn answered_at(response: &reqwest::Response) -> Option<Timestamp> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let date = jiff::fmt::rfc2822::parse(header(DATE)?).ok()?.timestamp();
    let age: i64 = header(AGE).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    date.checked_sub(SignedDuration::from_secs(age.max(0))).ok()
}

/// The JSON of a good answer.
pub(crate) async fn answer_json<T: DeserializeOwned>(
    call: &'static str,
    response: reqwest::Response,
) -> Result<T, ApiError> {
    let body = read_body(call, response).await?;
    serde_json::from_slice(&body).map_err(|error| ApiError::Garbage { call, cause: error.to_string() })
}

async fn read_body(call: &'static str, mut response: reqwest::Response) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| send_error(call, &error))? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(ApiError::Garbage {
                call,
                cause: format!("it is longer than {MAX_ANSWER_BYTES} bytes"),
            });
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
