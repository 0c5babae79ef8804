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

use super::answer::{Answer, Xml, text_of};
use super::authorize::Asked;
use super::call::{Call, Protocol};
use super::caller::Caller;
use super::calls::CallRecord;
use super::credentials::Unknown;
use super::faults::{self, Outcome};
use super::refusal::{Kind, Refusal, cbor_error};
use super::{Shared, admin, cbor, ecr, encryption, needs, s3, sts};

/// The largest body: a Lambda zip or a build's artifact, with room.
const BODY_LIMIT: usize = 512 * 1024 * 1024;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().merge(admin::routes(&shared)).fallback(serve).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (at, begun) = (Timestamp::now(), Instant::now());
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return respond(Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "body too large"), false);
    };
    let call = Call::read(&parts, &body);
    let head = parts.method == http::Method::HEAD;
    let caller = identify(&shared, &call, at);
    let resource = resource(&call);
    let action = format!("{}:{}", call.service, call.action);
    let name = caller.as_ref().map_or_else(|_| "anonymous".into(), Caller::name);
    let effect = shared.faults.take(&action, &name, resource.as_deref());
    let fate = faults::suffer(effect, &action, &name).await;
    let answered = match (&caller, fate) {
        (_, Outcome::Dropped) => {
            shared.calls.add(record(at, begun, &action, &name, resource, 0), false, begun.elapsed());
            return faults::cut();
        }
        (Ok(_), Outcome::Refused(refusal)) => Err(refusal),
        (Ok(caller), Outcome::GoOn) => {
            shared.used.saw(caller);
            let headers = parts.headers.clone();
            let asked = Asked { shared: &shared, caller, call: &call, headers: &headers, now: at };
            handle(&asked, parts, body).await
        }
        (Err(refusal), _) => Err(refusal.clone()),
    };
    if encryption::changes_policies(&call) {
        shared.policies.forget();
    }
    let denied = matches!(&answered, Err(refusal) if refusal.kind == Kind::Denied);
    let answer = answered.unwrap_or_else(|refusal| refusal.answer(call.protocol));
    let record = record(at, begun, &action, &name, resource, answer.status.as_u16());
    shared.calls.add(record, denied, begun.elapsed());
    respond(answer, head)
}

fn record(
    at: Timestamp,
    begun: Instant,
    action: &str,
    caller: &str,
    resource: Option<String>,
    status: u16,
) -> CallRecord {
    CallRecord {
        at,
        action: action.to_owned(),
        caller: caller.to_owned(),
        resource,
        status,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// What a call is about, for its record and for faults: S3's bucket and key, or the name that the request gives.
fn resource(call: &Call) -> Option<String> {
    if let Some(bucket) = &call.bucket {
        return Some(format!("{bucket}/{}", call.key.as_deref().unwrap_or_default()));
    }
    ["AutoScalingGroupName", "SecretId", "KeyId", "StackName", "RoleArn", "Name", "Namespace", "logGroupName"]
        .iter()
        .find_map(|name| call.field(name))
        .or(call.key.as_deref())
        .map(str::to_owned)
}

fn identify(shared: &Shared, call: &Call, now: Timestamp) -> Result<Caller, Refusal> {
    let key = call.access_key.as_deref().ok_or(Unknown::Invalid)?;
    Ok(shared.identities.caller(key, call.session_token.as_deref(), now)?)
}

async fn handle(asked: &Asked<'_>, mut parts: Parts, body: Bytes) -> Result<Answer, Refusal> {
    let (shared, call) = (asked.shared, asked.call);
    let needs = needs::needs(call, &parts.headers);
    if call.service == "s3" {
        if let s3::Next::Answer(answer) = s3::before(asked, &needs, &mut parts).await? {
            return Ok(answer);
        }
        return s3::after(asked, pass(shared, call, &parts, body).await).await;
    }
    // The one call that no policy can forbid or needs to allow.
    if (call.service.as_str(), call.action.as_str()) == ("sts", "GetCallerIdentity") {
        return Ok(sts::caller_identity(asked.caller));
    }
    for need in &needs {
        asked.check(need).await?;
    }
    let implied = encryption::implied(shared, call).await.map_err(|error| Refusal::undecided(&error))?;
    for need in &implied {
        asked.check(need).await?;
    }
    if let Some(answer) = own(asked).await? {
        return Ok(answer);
    }
    Ok(ecr::fresh(call, pass(shared, call, &parts, body).await, asked.now))
}

/// What the endpoint, or the keeper of the groups, answers in moto's place.
async fn own(asked: &Asked<'_>) -> Result<Option<Answer>, Refusal> {
    let (shared, call) = (asked.shared, asked.call);
    match (call.service.as_str(), call.action.as_str()) {
        ("sts", "AssumeRole") => sts::assume_role(call, &shared.identities, asked.now).map(Some),
        ("autoscaling", action) => {
            if let Some(keeper) = shared.keeper()
                && let Some(answer) = keeper.handle(action, &call.params, asked.caller).await
            {
                return Ok(Some(answer));
            }
            // moto answers these with 500: without a keeper of groups nothing waits for them.
            let done = matches!(action, "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction");
            Ok(done.then(|| Answer::autoscaling(action, &Xml::Fields(vec![]))))
        }
        ("ecr-public", "GetAuthorizationToken") => Ok(Some(ecr::public(asked.now))),
        ("cloudformation", "SignalResource") => signal(shared, call).await.map(Some),
        _ => Ok(None),
    }
}

/// moto lacks `SignalResource`. Its stacks are complete as soon as they are there, and a complete stack takes no signal.
async fn signal(shared: &Shared, call: &Call) -> Result<Answer, Refusal> {
    let name = call.field("StackName").unwrap_or_default();
    let mut form = call.params.clone();
    form.insert("Action".into(), "DescribeStacks".into());
    let found = shared.upstream.xml("cloudformation", &call.region, &form).await.unwrap_or_default();
    let message = match text_of(&found, "StackStatus") {
        Some(status) if status.ends_with("_IN_PROGRESS") => {
            let namespace = "http://cloudformation.amazonaws.com/doc/2010-05-15/";
            return Ok(Answer::query("SignalResource", namespace, &Xml::Fields(vec![])));
        }
        Some(status) => format!("Stack:{name} is in {status} state and can not be signaled."),
        None => format!("Stack:{name} does not exist"),
    };
    Err(Refusal::other("ValidationError", StatusCode::BAD_REQUEST, message))
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
