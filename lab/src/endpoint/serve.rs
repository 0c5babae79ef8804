//! A request's way through the endpoint: understand, identify, answer or pass on, count.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Answer, Xml};
use super::call::{Call, Protocol};
use super::caller::Caller;
use super::calls::CallRecord;
use super::credentials::Unknown;
use super::refusal::{Refusal, cbor_error};
use super::{Shared, cbor, sts};

/// The largest body: a Lambda zip or a build's artifact, with room.
const BODY_LIMIT: usize = 512 * 1024 * 1024;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (at, begun) = (Timestamp::now(), Instant::now());
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return respond(Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "body too large"), false);
    };
    let call = Call::read(&parts, &body);
    let caller = identify(&shared, &call, at);
    let (answer, denied) = match &caller {
        Ok(caller) => match handle(&shared, &call, caller, &parts, body, at).await {
            Ok(answer) => (answer, false),
            Err(refusal) => (refusal.answer(call.protocol), true),
        },
        Err(refusal) => (refusal.answer(call.protocol), true),
    };
    let record = CallRecord {
        at,
        action: format!("{}:{}", call.service, call.action),
        caller: caller.map_or_else(|_| "anonymous".into(), |caller| caller.name()),
        resource: None,
        status: answer.status.as_u16(),
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    shared.calls.add(record, denied, begun.elapsed());
    respond(answer, parts.method == http::Method::HEAD)
}

fn identify(shared: &Shared, call: &Call, now: Timestamp) -> Result<Caller, Refusal> {
    let key = call.access_key.as_deref().ok_or(Unknown::Invalid)?;
    Ok(shared.identities.caller(key, call.session_token.as_deref(), now)?)
}

async fn handle(
    shared: &Shared,
    call: &Call,
    caller: &Caller,
    parts: &Parts,
    body: Bytes,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    match (call.service.as_str(), call.action.as_str()) {
        ("sts", "GetCallerIdentity") => return Ok(sts::caller_identity(caller)),
        ("sts", "AssumeRole") => return sts::assume_role(call, &shared.identities, now),
        ("autoscaling", action) => {
            if let Some(keeper) = shared.autoscaling.get()
                && let Some(answer) = keeper.handle(action, &call.params, caller).await
            {
                return Ok(answer);
            }
            // moto answers these with 500: without a keeper of groups nothing waits for them.
            if matches!(action, "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction") {
                return Ok(Answer::autoscaling(action, &Xml::Fields(vec![])));
            }
        }
        _ => {}
    }
    Ok(pass(shared, call, parts, body).await)
}

async fn pass(shared: &Shared, call: &Call, parts: &Parts, body: Bytes) -> Answer {
    let passed = if call.protocol == Protocol::Cbor {
        pass_cbor(shared, call, parts).await
    } else {
        shared.upstream.pass(parts, body).await
    };
    passed.unwrap_or_else(|error| {
        tracing::warn!("{}:{}: {error:#}", call.service, call.action);
        let refusal =
            Refusal::other("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE, "moto does not answer");
        refusal.answer(call.protocol)
    })
}

/// CloudWatch from the AWS SDK for Rust: CBOR, which moto does not read, becomes JSON and back.
async fn pass_cbor(shared: &Shared, call: &Call, parts: &Parts) -> anyhow::Result<Answer> {
    let mut parts = parts.clone();
    let service = parts.uri.path().split('/').nth(2).unwrap_or_default();
    let target = HeaderValue::from_str(&format!("{service}.{}", call.action))?;
    parts.uri = http::Uri::from_static("/");
    parts.headers.insert("x-amz-target", target);
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.headers.remove(header::ACCEPT);
    let answer = shared.upstream.pass(&parts, Bytes::from(call.json.to_string())).await?;
    let value: Value = if answer.body.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(&answer.body)?
    };
    if answer.status.is_success() {
        let mut translated = cbor_error(StatusCode::OK, "", "");
        translated.body = cbor::from_json(&value).into();
        return Ok(translated);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(cbor_error(answer.status, text("__type"), text("message")))
}

fn respond(answer: Answer, head: bool) -> Response {
    let mut response = Response::new(if head { Body::empty() } else { Body::from(answer.body) });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let id = uuid::Uuid::new_v4().to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().entry("x-amzn-requestid").or_insert(id);
    }
    response
}
