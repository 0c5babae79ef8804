//! What ECR does and moto does not: tokens that are still good when they are handed out, and the public registry's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;

/// How long ECR's tokens are good.
const LIFE: SignedDuration = SignedDuration::from_hours(12);

/// moto's tokens ended in 2015, and a client that keeps tokens until they end would keep none of them.
pub(super) fn fresh(call: &Call, mut answer: Answer, now: Timestamp) -> Answer {
    if (call.service.as_str(), call.action.as_str()) != ("ecr", "GetAuthorizationToken") {
        return answer;
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
        return answer;
    };
    for token in body["authorizationData"].as_array_mut().into_iter().flatten() {
        token["expiresAt"] = json!((now + LIFE).as_second());
    }
    answer.body = body.to_string().into();
    answer
}

/// The public registry's answer to `GetAuthorizationToken`; moto knows no such service.
pub(super) fn public(now: Timestamp) -> Answer {
    let token = STANDARD.encode(format!("AWS:lab-public-{}", now.as_second()));
    let data = json!({"authorizationToken": token, "expiresAt": (now + LIFE).as_second()});
    let body = json!({"authorizationData": data}).to_string();
    Answer::new(StatusCode::OK, "application/x-amz-json-1.1", body)
}
