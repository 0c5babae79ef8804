//! Events and answers of a function URL (payload version 2.0), and who may invoke it. Pure.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::schedule::model::Function;

/// A function that has a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrl {
    /// The function.
    pub function: Function,
    /// May everybody use it?
    pub open: bool,
}

/// Does a function's policy let everybody use its URL? Both statements are needed.
#[must_use]
pub fn is_open(policy: &Value) -> bool {
    let statements: Vec<&Value> = policy["Statement"].as_array().into_iter().flatten().collect();
    let allows = |action: &str, key: &str, value: &Value| {
        statements.iter().any(|statement| {
            let everybody = statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*";
            statement["Effect"] == "Allow"
                && statement["Action"] == action
                && everybody
                && statement[key] == *value
        })
    };
    allows("lambda:InvokeFunctionUrl", "FunctionUrlAuthType", &json!("NONE"))
        && allows("lambda:InvokeFunction", "InvokedViaFunctionUrl", &json!(true))
}

/// A request.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The function's name.
    pub function: &'a str,
    /// `POST`.
    pub method: &'a str,
    /// Below the URL, with its slash.
    pub path: &'a str,
    /// After the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
    /// Whose connection it is.
    pub from: IpAddr,
}

impl Asked<'_> {
    /// The event that the function gets.
    #[must_use]
    pub fn event(&self, now: Timestamp) -> Value {
        let text = |name: &HeaderName| {
            let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.collect::<Vec<_>>().join(",")
        };
        let headers: serde_json::Map<String, Value> =
            self.headers.keys().map(|name| (name.as_str().to_owned(), text(name).into())).collect();
        let kind = headers.get("content-type").and_then(Value::as_str).unwrap_or_default();
        let readable = kind.starts_with("text/") || kind.starts_with("application/json");
        let as_text = readable.then(|| std::str::from_utf8(self.body).ok()).flatten();
        let body = as_text.map_or_else(|| STANDARD.encode(self.body), str::to_owned);
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": self.function,
                "domainName": "127.0.0.1",
                "domainPrefix": self.function,
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": self.from.to_string(),
                    "userAgent": headers.get("user-agent"),
                },
                "requestId": uuid::Uuid::new_v4().to_string(),
                "routeKey": "$default",
                "stage": "$default",
                "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": now.as_millisecond(),
            },
            "body": body,
            "isBase64Encoded": as_text.is_none(),
        })
    }
}

/// The response that a function's answer is: its own status, headers and body, or all of it as JSON.
#[must_use]
pub fn answer(text: &str) -> Response {
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    let status = read["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return ([("content-type", "application/json")], text.to_owned()).into_response();
    };
    let mut response = (status, read["body"].as_str().unwrap_or_default().to_owned()).into_response();
    for (name, value) in read["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_needs_both_permissions() {
        let url = json!({"Effect": "Allow", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"});
        let by_url = json!({"Effect": "Allow", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": true});
        let open = |statements: &[&Value]| is_open(&json!({ "Statement": statements }));
        assert!(open(&[&url, &by_url]));
        assert!(!open(&[&url]) && !open(&[&by_url]) && !open(&[]));
        let mut anyway = by_url.clone();
        anyway["InvokedViaFunctionUrl"] = false.into();
        let mut signed = url.clone();
        signed["FunctionUrlAuthType"] = "AWS_IAM".into();
        let mut events = by_url.clone();
        events["Principal"] = json!({"Service": "events.amazonaws.com"});
        assert!(!open(&[&url, &anyway]) && !open(&[&signed, &by_url]) && !open(&[&url, &events]));
    }

    #[test]
    fn a_body_is_text_where_its_type_says_so() {
        let event = |kind: &'static str, body: &[u8]| {
            let headers = HeaderMap::from_iter([
                ("content-type".parse().unwrap(), HeaderValue::from_static(kind)),
                ("x-buildkite-signature".parse().unwrap(), HeaderValue::from_static("a=b")),
            ]);
            let from = "192.0.2.1".parse().unwrap();
            let (function, method, path, query) = ("hints", "POST", "/", "");
            let asked = Asked { function, method, path, query, headers: &headers, body, from };
            asked.event(Timestamp::UNIX_EPOCH)
        };
        let json = event("application/json; charset=utf-8", b"{}");
        assert_eq!((&json["body"], &json["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        assert_eq!(json["headers"]["x-buildkite-signature"], "a=b");
        assert_eq!(json["requestContext"]["http"]["method"], "POST");
        for other in [event("application/octet-stream", b"{}"), event("", b"{}")] {
            assert_eq!((&other["body"], &other["isBase64Encoded"]), (&json!("e30="), &json!(true)));
        }
        assert_eq!(event("text/plain", &[0xff])["isBase64Encoded"], true);
    }

    #[test]
    fn an_answer_without_a_status_is_json() {
        let read = |text: &str| {
            let response = answer(text);
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            (response.status().as_u16(), kind)
        };
        assert_eq!(read("{\"ticks\":5}"), (200, "application/json".to_owned()));
        let said = r#"{"statusCode":401,"headers":{"content-type":"text/css"},"body":"no"}"#;
        assert_eq!(read(said), (401, "text/css".to_owned()));
    }
}
