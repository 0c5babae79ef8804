//! Faults on demand: chosen calls are delayed, throttled, denied, failed, dropped or left hanging.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::credentials::Unknown;
use super::refusal::{Kind, Refusal};
use crate::iam::context::Context;
use crate::iam::pattern::{self, Syntax};

/// Which calls, and what happens to them. A pattern that is not given fits everything; `*` and `?` are wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `service:Action`, without case: `s3:GetObject`, `autoscaling:*`.
    #[serde(default = "anything")]
    pub action: String,
    /// The caller's short name: `lab`, `ci-agent/i-0123`.
    #[serde(default = "anything")]
    pub caller: String,
    /// The resource's ARN, or the bucket and key of S3 (`secrets/pipe/env`).
    #[serde(default = "anything")]
    pub resource: String,
    /// What happens.
    pub effect: Effect,
    /// How many calls it hits before it goes; none for all until it is removed.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is answered as usual, so many milliseconds later.
    Delay(u64),
    /// It is throttled, in the protocol's words.
    Throttle,
    /// It is denied, as by a policy.
    Deny,
    /// The caller's session is over: `ExpiredToken`.
    Expire,
    /// The service fails: 500.
    Fail,
    /// The connection closes without an answer.
    Drop,
    /// Nothing is answered until the client gives up.
    Hang,
}

fn anything() -> String {
    "*".into()
}

impl Fault {
    /// A fault of all calls of `action`, until it is removed.
    #[must_use]
    pub fn on(action: &str, effect: Effect) -> Self {
        Self { action: action.to_owned(), caller: anything(), resource: anything(), effect, times: None }
    }

    /// The same for callers that fit `pattern`.
    #[must_use]
    pub fn of(self, pattern: &str) -> Self {
        Self { caller: pattern.to_owned(), ..self }
    }

    /// The same for so many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    fn hits(&self, action: &str, caller: &str, resource: Option<&str>) -> bool {
        let syntax = Syntax { wildcards: true, variables: false };
        let fits = |pattern: &str, text: &str| pattern::matches(pattern, text, syntax, &Context::default());
        pattern::matches_action(&self.action, action)
            && fits(&self.caller, caller)
            && (self.resource == "*" || resource.is_some_and(|resource| fits(&self.resource, resource)))
    }
}

/// The faults in force, by the order they were added.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<(u64, Vec<(u64, Fault)>)>,
}

impl Faults {
    /// Adds a fault; its number removes it.
    pub fn add(&self, fault: Fault) -> u64 {
        let mut inner = self.lock();
        inner.0 += 1;
        let number = inner.0;
        inner.1.push((number, fault));
        number
    }

    /// Removes a fault; whether it was still there.
    pub fn remove(&self, number: u64) -> bool {
        let mut inner = self.lock();
        let before = inner.1.len();
        inner.1.retain(|(other, _)| *other != number);
        inner.1.len() < before
    }

    /// Removes all.
    pub fn clear(&self) {
        self.lock().1.clear();
    }

    /// The faults in force with their numbers.
    pub fn list(&self) -> Vec<(u64, Fault)> {
        self.lock().1.clone()
    }

    /// What happens to this call: the first fault that fits, used once. One that is used up goes.
    pub fn take(&self, action: &str, caller: &str, resource: Option<&str>) -> Option<Effect> {
        let mut inner = self.lock();
        let at = inner
            .1
            .iter()
            .position(|(_, fault)| fault.hits(action, caller, resource) && fault.times != Some(0))?;
        let fault = &mut inner.1[at].1;
        let effect = fault.effect;
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                inner.1.remove(at);
            }
        }
        Some(effect)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Vec<(u64, Fault)>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a fault leads to.
pub enum Outcome {
    /// The call goes on.
    GoOn,
    /// It is refused.
    Refused(Refusal),
    /// The connection closes.
    Dropped,
}

/// Lets a fault take its time, and tells what becomes of the call.
pub async fn suffer(effect: Option<Effect>, action: &str, caller: &str) -> Outcome {
    let refused = |kind, message: String| Outcome::Refused(Refusal { kind, message });
    match effect {
        None => Outcome::GoOn,
        Some(Effect::Delay(millis)) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Outcome::GoOn
        }
        Some(Effect::Throttle) => refused(Kind::Throttled, "Rate exceeded".into()),
        Some(Effect::Deny) => refused(
            Kind::Denied,
            format!("User: {caller} is not authorized to perform: {action} (a fault of the lab)"),
        ),
        Some(Effect::Expire) => Outcome::Refused(Unknown::Expired.into()),
        Some(Effect::Fail) => {
            refused(Kind::Internal, "An internal error occurred (a fault of the lab)".into())
        }
        Some(Effect::Drop) => Outcome::Dropped,
        Some(Effect::Hang) => std::future::pending().await,
    }
}

/// An answer whose body breaks off before its announced length: the client sees the connection close.
pub(crate) fn cut() -> Response {
    let broken =
        futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("dropped by the lab")) });
    let mut response = Response::new(Body::from_stream(broken));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_what_it_names_so_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::on("s3:Get*", Effect::Throttle).of("agent/*").times(2));
        let number =
            faults.add(Fault { resource: "secrets/*".into(), ..Fault::on("s3:PutObject", Effect::Deny) });
        let get = || faults.take("s3:GetObject", "agent/i-1", None);
        assert_eq!(faults.take("s3:GetObject", "lab", None), None);
        assert_eq!([get(), get(), get()], [Some(Effect::Throttle), Some(Effect::Throttle), None]);
        let put = |resource| faults.take("s3:PutObject", "lab", resource);
        assert_eq!(put(Some("secrets/env")), Some(Effect::Deny));
        assert_eq!(put(Some("other/env")), None);
        assert_eq!(put(None), None);
        assert!(faults.remove(number) && !faults.remove(number));
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn a_fault_is_written_in_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"action": "kms:*", "effect": {"delay": 20}, "times": 1}"#).unwrap();
        assert_eq!(fault, Fault::on("kms:*", Effect::Delay(20)).times(1));
        assert!(serde_json::from_str::<Fault>(r#"{"effect": "throttle", "acton": "x"}"#).is_err());
    }
}
