//! Bodies in and out.

use agent_api::wire::ErrorBody;
use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use serde::de::DeserializeOwned;

use super::BODY_BYTES_LIMIT;
use crate::refusal::Refusal;

/// An error answer in the form that agents print.
pub fn message(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(ErrorBody { message: text.into() })).into_response()
}

/// A route for what this server does not do yet, in words that people see in the job's log.
pub fn not_here<S: Clone + Send + Sync + 'static>(status: StatusCode, what: &'static str) -> MethodRouter<S> {
    any(async move || message(status, format!("this server does not offer {what} yet")))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Store(_) | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!("{self}");
        }
        message(status, self.to_string())
    }
}

/// The framework's own refusals of a path or a query are plain text with 400: agents want a message in JSON, and 422
/// where asking again is no use.
pub async fn as_message(answer: Response) -> Response {
    let status = answer.status();
    let json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let text = to_bytes(answer.into_body(), 4096).await.unwrap_or_default();
    let status = if status == StatusCode::BAD_REQUEST { StatusCode::UNPROCESSABLE_ENTITY } else { status };
    message(status, String::from_utf8_lossy(&text))
}

/// A request's body, whatever its content type says: agents send none with an empty body.
pub struct Payload(pub Bytes);

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let too_large =
            |_| Refusal::TooLarge(format!("the body is longer than {BODY_BYTES_LIMIT} bytes, or cut off"));
        to_bytes(request.into_body(), BODY_BYTES_LIMIT).await.map(Self).map_err(too_large)
    }
}

impl Payload {
    /// The body as JSON; an empty one is an empty object.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let bytes: &[u8] = if self.0.trim_ascii().is_empty() { b"{}" } else { &self.0 };
        serde_json::from_slice(bytes)
            .map_err(|fault| Refusal::invalid(format!("the body is not as expected: {fault}")))
    }
}
