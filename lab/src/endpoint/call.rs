//! What a request asks for: service, action, region, parameters and the access key that signed it.

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::autoscaling::Params;
use super::cbor;
use super::s3_route;

/// How a service spells requests and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A form with `Action=`, XML answers.
    Query,
    /// The same with EC2's own error format.
    Ec2,
    /// `X-Amz-Target` and JSON.
    Json,
    /// `smithy-rpc-v2-cbor`: `/service/X/operation/Y` and CBOR.
    Cbor,
    /// S3's REST with XML.
    S3,
    /// REST with JSON (Lambda).
    Rest,
}

/// One request, understood.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service's prefix in IAM actions (`s3`, `cloudwatch`, …).
    pub service: String,
    /// The API action (`PutObject`); the method and path where it is not known.
    pub action: String,
    /// The region of the signature.
    pub region: String,
    /// The access key id; none in an unsigned request.
    pub access_key: Option<String>,
    /// The session token sent with it.
    pub session_token: Option<String>,
    /// How to answer.
    pub protocol: Protocol,
    /// A query protocol's form, or the URL's query.
    pub params: Params,
    /// A JSON or CBOR body as JSON; null otherwise.
    pub json: Value,
    /// S3's bucket and object key, or a REST path's parts.
    pub bucket: Option<String>,
    /// S3's object key, decoded.
    pub key: Option<String>,
}

impl Call {
    /// Reads a request.
    #[must_use]
    pub fn read(parts: &Parts, body: &Bytes) -> Self {
        let query = form(parts.uri.query().unwrap_or_default().as_bytes());
        let signature = Signature::read(&parts.headers, &query);
        let mut call = Self {
            service: signature.service,
            action: String::new(),
            region: signature.region,
            access_key: signature.access_key,
            session_token: header(&parts.headers, "x-amz-security-token")
                .or_else(|| query.get("X-Amz-Security-Token").cloned()),
            protocol: Protocol::Rest,
            params: query,
            json: Value::Null,
            bucket: None,
            key: None,
        };
        call.read_action(parts, body);
        call
    }

    fn read_action(&mut self, parts: &Parts, body: &Bytes) {
        let path = parts.uri.path();
        if let Some(target) = header(&parts.headers, "x-amz-target") {
            self.protocol = Protocol::Json;
            self.action = after_last(&target, '.');
            self.json = serde_json::from_slice(body).unwrap_or_default();
        } else if path.starts_with("/service/") && path.contains("/operation/") {
            self.protocol = Protocol::Cbor;
            self.action = after_last(path, '/');
            self.json = cbor::to_json(body).unwrap_or_default();
        } else if self.service == "s3" {
            let route = s3_route::route(&parts.method, path, &self.params, &parts.headers);
            self.protocol = Protocol::S3;
            self.action = route.action.into();
            self.bucket = route.bucket;
            self.key = route.key;
        } else if let Some(form) = form_with_action(body, &self.params) {
            self.protocol = if self.service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
            self.action = form["Action"].clone();
            self.params = form;
        } else {
            self.action = rest_action(&self.service, &parts.method, path)
                .map_or_else(|| format!("{} {path}", parts.method), str::to_owned);
            self.key = rest_resource(path);
            self.json = serde_json::from_slice(body).unwrap_or_default();
        }
    }

    /// A field of the request by its name, whatever the protocol.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.json.get(name).and_then(Value::as_str).or_else(|| self.params.get(name).map(String::as_str))
    }
}

fn form_with_action(body: &Bytes, query: &Params) -> Option<Params> {
    let sent = form(body);
    if sent.contains_key("Action") {
        return Some(sent);
    }
    query.contains_key("Action").then(|| query.clone())
}

/// The pairs of an `application/x-www-form-urlencoded` text.
fn form(text: &[u8]) -> Params {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// A header's text, if it is there and is text.
pub fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn after_last(text: &str, separator: char) -> String {
    text.rsplit(separator).next().unwrap_or_default().to_owned()
}

/// The Lambda actions that Tidemark meets, by method and path.
fn rest_action(service: &str, method: &http::Method, path: &str) -> Option<&'static str> {
    if service != "lambda" {
        return None;
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("POST", [_, "functions", _, "invocations"]) => Some("Invoke"),
        ("GET", [_, "functions", _, "configuration"]) => Some("GetFunctionConfiguration"),
        ("GET", [_, "functions", _]) => Some("GetFunction"),
        ("GET", [_, "functions"]) => Some("ListFunctions"),
        ("POST", [_, "functions"]) => Some("CreateFunction"),
        ("PUT", [_, "functions", _, "code"]) => Some("UpdateFunctionCode"),
        ("PUT", [_, "functions", _, "configuration"]) => Some("UpdateFunctionConfiguration"),
        ("DELETE", [_, "functions", _]) => Some("DeleteFunction"),
        _ => None,
    }
}

/// The third part of a REST path: a Lambda function's name or ARN.
fn rest_resource(path: &str) -> Option<String> {
    let part = path.trim_matches('/').split('/').nth(2)?;
    Some(percent_decode_str(part).decode_utf8_lossy().into_owned())
}

struct Signature {
    access_key: Option<String>,
    region: String,
    service: String,
}

impl Signature {
    /// The credential scope (`KEY/20261121/us-east-1/s3/aws4_request`) of the `Authorization` header or of a presigned
    /// URL. An unsigned request counts as one to S3, as it does in moto.
    fn read(headers: &HeaderMap, query: &Params) -> Self {
        let scope = header(headers, "authorization")
            .and_then(|value| {
                let (_, after) = value.split_once("Credential=")?;
                Some(after.split([',', ' ']).next()?.to_owned())
            })
            .or_else(|| query.get("X-Amz-Credential").cloned());
        let parts: Vec<&str> = scope.as_deref().unwrap_or_default().split('/').collect();
        match parts.as_slice() {
            [key, _, region, service, _] => Self {
                access_key: Some((*key).to_owned()),
                region: (*region).to_owned(),
                service: prefix(service),
            },
            _ => Self { access_key: None, region: "us-east-1".into(), service: "s3".into() },
        }
    }
}

/// The prefix of IAM actions for a signing name.
fn prefix(signing: &str) -> String {
    match signing {
        "monitoring" => "cloudwatch",
        "s3express" => "s3",
        other => other,
    }
    .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Call {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Call::read(&parts, &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn signed(service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIAX/20261121/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    }

    #[test]
    fn every_protocol_tells_service_and_action() {
        let table = [
            (
                "POST",
                "/",
                "autoscaling",
                "",
                "Action=SetDesiredCapacity&DesiredCapacity=3",
                "autoscaling:SetDesiredCapacity",
                Protocol::Query,
            ),
            ("POST", "/", "ec2", "", "Action=DescribeInstances", "ec2:DescribeInstances", Protocol::Ec2),
            ("POST", "/", "kms", "TrentService.Decrypt", "{}", "kms:Decrypt", Protocol::Json),
            (
                "POST",
                "/",
                "monitoring",
                "GraniteServiceVersion20100801.PutMetricData",
                "{}",
                "cloudwatch:PutMetricData",
                Protocol::Json,
            ),
            (
                "POST",
                "/service/GraniteServiceVersion20100801/operation/PutMetricData",
                "monitoring",
                "",
                "",
                "cloudwatch:PutMetricData",
                Protocol::Cbor,
            ),
            ("GET", "/bucket/a%20b/c?x-id=GetObject", "s3", "", "", "s3:GetObject", Protocol::S3),
            (
                "POST",
                "/2015-03-31/functions/scaler/invocations",
                "lambda",
                "",
                "{}",
                "lambda:Invoke",
                Protocol::Rest,
            ),
            ("GET", "/unheard/of", "lambda", "", "", "lambda:GET /unheard/of", Protocol::Rest),
        ];
        for (method, uri, service, target, body, action, protocol) in table {
            let authorization = signed(service);
            let mut headers = vec![("authorization", authorization.as_str())];
            if !target.is_empty() {
                headers.push(("x-amz-target", target));
            }
            let call = read(method, uri, &headers, body);
            assert_eq!(format!("{}:{}", call.service, call.action), action);
            assert_eq!(call.protocol, protocol, "{action}");
            assert_eq!(call.region, "eu-west-1");
            assert_eq!(call.access_key.as_deref(), Some("AKIAX"));
        }
    }

    #[test]
    fn a_presigned_url_names_its_key_and_an_object_key_is_decoded() {
        let call = read(
            "GET",
            "/secrets/pipe%2Ba/env?X-Amz-Credential=ASIAY%2F20261121%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Security-Token=t%2Bt",
            &[],
            "",
        );
        assert_eq!(call.access_key.as_deref(), Some("ASIAY"));
        assert_eq!(call.session_token.as_deref(), Some("t+t"));
        assert_eq!(call.bucket.as_deref(), Some("secrets"));
        assert_eq!(call.key.as_deref(), Some("pipe+a/env"));
    }
}
