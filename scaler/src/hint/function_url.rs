//! Hints by the Lambda function's URL: events and answers of payload version 2.0. Pure.

use serde_json::{Value, json};

use super::desk::Taken;
use super::signature;

/// A request to the function's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The header of [`signature`].
    pub signature: Option<String>,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

/// The request, if the event is one; the schedule's events are none.
#[must_use]
pub fn request(event: &Value) -> Option<Request> {
    let method = event["requestContext"]["http"]["method"].as_str()?;
    let headers = event["headers"].as_object().into_iter().flatten();
    let signature = headers
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(signature::HEADER))
        .and_then(|(_, value)| value.as_str().map(str::to_owned));
    let text = event["body"].as_str().unwrap_or_default();
    let body = if event["isBase64Encoded"] == true { decode(text) } else { Some(text.as_bytes().to_vec()) };
    // A body that cannot be read, or no webhook at all, is not signed by anybody.
    let signature = signature.filter(|_| method == "POST" && body.is_some());
    Some(Request { signature, body: body.unwrap_or_default() })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// What the function answers.
#[must_use]
pub fn answer(taken: Taken) -> Value {
    let (status, body) = taken.answer();
    json!({"statusCode": status, "headers": {"content-type": "application/json"}, "body": body})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(method: &str, headers: &Value, body: &str, base64: bool) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
            "headers": headers, "body": body, "isBase64Encoded": base64,
            "requestContext": {"http": {"method": method, "path": "/", "sourceIp": "192.0.2.1"}, "stage": "$default"}
        })
    }

    #[test]
    fn a_request_is_told_from_the_schedule() {
        let signed =
            json!({"x-buildkite-signature": "timestamp=1,signature=00", "content-type": "application/json"});
        let read = |event: &Value| request(event).map(|request| (request.signature, request.body));
        let signature = Some("timestamp=1,signature=00".to_owned());
        assert_eq!(read(&event("POST", &signed, "{}", false)), Some((signature.clone(), b"{}".to_vec())));
        assert_eq!(read(&event("POST", &signed, "e30=", true)), Some((signature, b"{}".to_vec())));
        assert_eq!(read(&event("POST", &signed, "not base64!", true)), Some((None, Vec::new())));
        assert_eq!(read(&event("GET", &signed, "", false)), Some((None, Vec::new())));
        assert_eq!(read(&event("POST", &Value::Null, "{}", false)), Some((None, b"{}".to_vec())));
        let scheduled =
            json!({"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}});
        for other in [scheduled, json!({}), Value::Null, json!("x"), json!({"requestContext": {"http": 7}})] {
            assert_eq!(request(&other), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_has_no_detail() {
        let answer = answer(Taken::Refused);
        assert_eq!(
            answer.to_string(),
            r#"{"body":"{\"message\":\"unauthorized\"}\n","headers":{"content-type":"application/json"},"statusCode":401}"#
        );
    }
}
