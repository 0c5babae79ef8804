//! S3 and KMS as far as the hooks call them, in memory, with faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub const BUCKET: &str = "acme-secrets";
pub const STACK_KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/5tack";
pub const MANAGED_KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/aws-s3";

#[derive(Clone)]
pub struct Stored {
    pub bytes: Vec<u8>,
    /// `aws:kms` under this key, `AES256`, or nothing.
    pub encryption: Option<String>,
}

/// An answer that S3 gives instead of the object: status, code, message.
#[derive(Clone)]
pub struct Refusal(pub u16, pub &'static str, pub &'static str);

#[derive(Default)]
pub struct Contents {
    pub objects: BTreeMap<String, Stored>,
    /// By key; `*` for every call.
    pub refusals: BTreeMap<String, Refusal>,
    pub region_header: Option<&'static str>,
    /// `GET key` and `LIST prefix`, in the order of arrival.
    pub calls: Vec<String>,
}

#[derive(Clone, Default)]
pub struct FakeS3 {
    pub contents: Arc<Mutex<Contents>>,
    pub url: String,
}

impl FakeS3 {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { url, ..Self::default() };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        fake
    }

    /// Uploads as the README says: `--sse aws:kms` with the stack's key.
    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        self.put_as(key, bytes, Some(STACK_KEY));
    }

    pub fn put_as(&self, key: &str, bytes: impl AsRef<[u8]>, encryption: Option<&str>) {
        let stored = Stored { bytes: bytes.as_ref().to_vec(), encryption: encryption.map(str::to_owned) };
        self.contents.lock().unwrap().objects.insert(key.to_owned(), stored);
    }

    pub fn refuse(&self, key: &str, refusal: Refusal) {
        self.contents.lock().unwrap().refusals.insert(key.to_owned(), refusal);
    }

    pub fn calls(&self) -> Vec<String> {
        self.contents.lock().unwrap().calls.clone()
    }
}

async fn answer(State(fake): State<FakeS3>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect();
    let mut contents = fake.contents.lock().unwrap();
    if let Some(target) = parts.headers.get("x-amz-target") {
        let body = futures_lite_read(body);
        contents.calls.push(format!("KMS {}", target.to_str().unwrap()));
        return describe_key(&body);
    }
    let path = decode(parts.uri.path());
    let key = path.strip_prefix(&format!("/{BUCKET}")).unwrap_or_default().trim_start_matches('/').to_owned();
    let listing = query.contains_key("list-type");
    let name = if listing { query.get("prefix").cloned().unwrap_or_default() } else { key };
    contents.calls.push(format!("{} {name}", if listing { "LIST" } else { "GET" }));
    let refusal = contents.refusals.get(&name).or_else(|| contents.refusals.get("*")).cloned();
    if let Some(Refusal(status, code, message)) = refusal {
        return error(status, code, message, contents.region_header);
    }
    if listing {
        return list(&contents, &name, query.get("continuation-token").map(String::as_str));
    }
    match contents.objects.get(&name) {
        Some(stored) => object(stored),
        None => error(404, "NoSuchKey", "The specified key does not exist.", None),
    }
}

/// The bodies of KMS calls are a line of JSON and arrive with the head.
fn futures_lite_read(body: Body) -> Bytes {
    std::thread::scope(|scope| {
        let read = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(axum::body::to_bytes(body, 64 * 1024)).unwrap()
        });
        read.join().unwrap()
    })
}

fn describe_key(body: &[u8]) -> Response {
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
    let arn = match asked["KeyId"].as_str().unwrap() {
        "alias/aws/s3" => MANAGED_KEY,
        "alias/stack" => STACK_KEY,
        arn if arn == STACK_KEY => STACK_KEY,
        _ => {
            let body = r#"{"__type":"NotFoundException","message":"no such key"}"#;
            return (StatusCode::BAD_REQUEST, body).into_response();
        }
    };
    let metadata = serde_json::json!({ "KeyMetadata": { "KeyId": arn.rsplit('/').next(), "Arn": arn } });
    ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], metadata.to_string()).into_response()
}

fn object(stored: &Stored) -> Response {
    let mut headers = HeaderMap::new();
    match stored.encryption.as_deref() {
        None => {}
        Some("AES256") => drop(headers.insert("x-amz-server-side-encryption", "AES256".parse().unwrap())),
        Some(key) => {
            headers.insert("x-amz-server-side-encryption", "aws:kms".parse().unwrap());
            headers.insert("x-amz-server-side-encryption-aws-kms-key-id", key.parse().unwrap());
        }
    }
    (headers, stored.bytes.clone()).into_response()
}

/// Pages of 1,000 keys, as S3 gives them.
fn list(contents: &Contents, prefix: &str, after: Option<&str>) -> Response {
    let matching: Vec<&String> = contents
        .objects
        .keys()
        .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
        .collect();
    let page = &matching[..matching.len().min(1000)];
    let more = matching.len() > page.len();
    let mut xml = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    if let (true, Some(last)) = (more, page.last()) {
        xml.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    for key in page {
        xml.push_str(&format!("<Contents><Key>{key}</Key></Contents>"));
    }
    xml.push_str("</ListBucketResult>");
    ([(header::CONTENT_TYPE, "application/xml")], xml).into_response()
}

fn error(status: u16, code: &str, message: &str, region: Option<&str>) -> Response {
    let xml = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut response = (StatusCode::from_u16(status).unwrap(), xml).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/xml".parse().unwrap());
    if let Some(region) = region {
        response.headers_mut().insert("x-amz-bucket-region", region.parse().unwrap());
    }
    response
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}
