//! Refusals in the words and formats of each protocol.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::answer::{Answer, escape};
use super::call::Protocol;
use super::cbor;
use super::credentials::Unknown;

/// A refusal, before it is written in a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, whose code differs by protocol.
    pub kind: Kind,
    /// The message for people.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A permission is missing.
    Denied,
    /// The access key or token is not known.
    UnknownKey,
    /// The session is over.
    Expired,
    /// Too many calls.
    Throttled,
    /// The service failed.
    Internal,
    /// Another error, by its code and status.
    Other(&'static str, StatusCode),
}

impl Refusal {
    /// A missing permission with AWS's message.
    pub fn denied(message: impl Into<String>) -> Self {
        Self { kind: Kind::Denied, message: message.into() }
    }

    /// Another error of the service.
    pub fn other(code: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        Self { kind: Kind::Other(code, status), message: message.into() }
    }

    /// The lab's own failure to decide: a policy that cannot be read.
    pub fn undecided(error: &anyhow::Error) -> Self {
        tracing::warn!("decide: {error:#}");
        Self { kind: Kind::Internal, message: format!("the lab cannot decide: {error:#}") }
    }

    /// Writes the refusal.
    #[must_use]
    pub fn answer(&self, protocol: Protocol) -> Answer {
        let (code, status) = self.code(protocol);
        match protocol {
            Protocol::Query => Answer::query_fault(status, code, &self.message),
            Protocol::Ec2 => {
                let body = format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{}</Message></Error></Errors><RequestID>{}</RequestID></Response>",
                    escape(&self.message),
                    uuid::Uuid::new_v4()
                );
                Answer::new(status, "text/xml", body)
            }
            Protocol::S3 => {
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{}</Message><RequestId>{}</RequestId></Error>",
                    escape(&self.message),
                    uuid::Uuid::new_v4().simple()
                );
                Answer::new(status, "application/xml", body)
            }
            Protocol::Json | Protocol::Rest => {
                let body = json!({"__type": code, "message": self.message, "Message": self.message});
                named(Answer::new(status, "application/x-amz-json-1.1", body.to_string()), code)
            }
            Protocol::Cbor => cbor_error(status, code, &self.message),
        }
    }

    fn code(&self, protocol: Protocol) -> (&'static str, StatusCode) {
        use Protocol::{Cbor, Ec2, Json, Query, Rest, S3};
        let bad = StatusCode::BAD_REQUEST;
        let forbidden = StatusCode::FORBIDDEN;
        match (&self.kind, protocol) {
            (Kind::Denied, Query | S3) => ("AccessDenied", forbidden),
            (Kind::Denied, Ec2) => ("UnauthorizedOperation", forbidden),
            (Kind::Denied, Json | Cbor) => ("AccessDeniedException", bad),
            (Kind::Denied, Rest) => ("AccessDeniedException", forbidden),
            (Kind::UnknownKey, Query) => ("InvalidClientTokenId", forbidden),
            (Kind::UnknownKey, Ec2) => ("AuthFailure", StatusCode::UNAUTHORIZED),
            (Kind::UnknownKey, S3) => ("InvalidAccessKeyId", forbidden),
            (Kind::UnknownKey, Json | Cbor) => ("UnrecognizedClientException", bad),
            (Kind::UnknownKey, Rest) => ("UnrecognizedClientException", forbidden),
            (Kind::Expired, Query) => ("ExpiredToken", forbidden),
            (Kind::Expired, Ec2) => ("RequestExpired", bad),
            (Kind::Expired, S3) => ("ExpiredToken", bad),
            (Kind::Expired, Json | Cbor) => ("ExpiredTokenException", bad),
            (Kind::Expired, Rest) => ("ExpiredTokenException", forbidden),
            (Kind::Throttled, S3) => ("SlowDown", StatusCode::SERVICE_UNAVAILABLE),
            (Kind::Throttled, Ec2) => ("RequestLimitExceeded", StatusCode::SERVICE_UNAVAILABLE),
            (Kind::Throttled, Query) => ("Throttling", bad),
            (Kind::Throttled, Json | Cbor) => ("ThrottlingException", bad),
            (Kind::Throttled, Rest) => ("TooManyRequestsException", StatusCode::TOO_MANY_REQUESTS),
            (Kind::Internal, Query | Ec2) => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
            (Kind::Internal, S3) => ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
            (Kind::Internal, _) => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
            (Kind::Other(code, status), _) => (code, *status),
        }
    }
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Self {
        let (kind, message) = match unknown {
            Unknown::Invalid => (Kind::UnknownKey, "The security token included in the request is invalid."),
            Unknown::Expired => (Kind::Expired, "The security token included in the request is expired"),
        };
        Self { kind, message: message.into() }
    }
}

/// An error in CBOR, as CloudWatch answers it.
#[must_use]
pub fn cbor_error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = cbor::from_json(&json!({"__type": code, "message": message}));
    let mut answer = Answer::new(status, "application/cbor", Bytes::from(body));
    answer.headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    answer
}

fn named(mut answer: Answer, code: &str) -> Answer {
    if let Ok(code) = HeaderValue::from_str(code) {
        answer.headers.insert("x-amzn-errortype", code);
    }
    answer
}
