//! What ECR does and moto does not: a token that is still good when it is handed out.

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
