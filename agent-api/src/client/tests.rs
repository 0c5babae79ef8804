//! The client against a server that fails on demand.

use std::future::IntoFuture as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::*;

/// What arrived: method, path with query, headers, body.
type Seen = Arc<Mutex<Vec<(String, axum::http::HeaderMap, Bytes)>>>;

#[derive(Clone)]
struct Script {
    seen: Seen,
    answers: Arc<Mutex<Vec<(u16, &'static str)>>>,
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    script.seen.lock().unwrap().push((format!("{} {}", parts.method, parts.uri), parts.headers, body));
    let mut answers = script.answers.lock().unwrap();
    let (status, text) = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

/// A client of a server that gives `answers` in turn and the last one for ever.
async fn client(answers: &[(u16, &'static str)]) -> (Client, Seen) {
    let script = Script { seen: Seen::default(), answers: Arc::new(Mutex::new(answers.to_vec())) };
    let seen = script.seen.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v3/", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer).with_state(script)).into_future());
    (Client::new(&endpoint, "s3cret".to_owned().into(), "test").unwrap().with_pause_factor(0.0), seen)
}

#[tokio::test]
async fn chunk_is_gzip_text_with_query_and_token() {
    let (client, seen) = client(&[(201, "")]).await;
    client.chunk("job-1", 2, 7, b"some log").await.unwrap();
    let seen = seen.lock().unwrap();
    let (line, headers, body) = &seen[0];
    assert_eq!(line, "POST /v3/jobs/job-1/chunks?sequence=2&offset=7&size=8");
    assert_eq!(headers["authorization"], "Token s3cret");
    assert_eq!(
        (&headers["content-encoding"], &headers["content-type"]),
        (&"gzip".parse().unwrap(), &"text/plain".parse().unwrap())
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "some log");
}

#[tokio::test]
async fn bodyless_calls_have_length_0_and_no_type() {
    let (client, seen) = client(&[(200, "{}")]).await;
    client.connect().await.unwrap();
    let headers = &seen.lock().unwrap()[0].1;
    assert_eq!(headers["content-length"], "0");
    assert!(!headers.contains_key("content-type"));
}

#[tokio::test]
async fn row_18_finish_goes_on_after_503_and_stops_at_422() {
    let (client, seen) = client(&[(503, ""), (200, "")]).await;
    client.finish("j", &JobFinish::default()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
    let (client, seen) = self::client(&[(422, r#"{"message":"gone"}"#)]).await;
    let error = client.finish("j", &JobFinish::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "PUT finish: refused (422): gone");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn row_20_finish_on_404_ends() {
    let (client, seen) = client(&[(404, "")]).await;
    assert!(client.finish("j", &JobFinish::default()).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn garbage_in_a_good_answer_is_tried_again() {
    let (client, seen) = client(&[(200, ""), (200, r#"{"id":"a","access_token":"t"}"#)]).await;
    assert_eq!(client.register(&RegisterRequest::default()).await.unwrap().id, "a");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn request_headers_are_filtered_and_sent() {
    let (client, seen) = client(&[(200, "{}")]).await;
    let headers = [("Buildkite-Shard", "7"), ("Authorization", "evil")];
    client.set_request_headers(&headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    client.with_token("other".to_owned().into()).ping().await.unwrap();
    let headers = &seen.lock().unwrap()[0].1;
    assert_eq!(
        (&headers["buildkite-shard"], &headers["authorization"]),
        (&"7".parse().unwrap(), &"Token other".parse().unwrap())
    );
}

#[tokio::test]
async fn meta_data_get_of_an_unset_key_is_none() {
    let (client, _) = client(&[(404, r#"{"message":"no"}"#)]).await;
    assert_eq!(client.meta_data_get("j", "k").await.unwrap(), None);
}

#[test]
fn ids_stay_one_path_segment() {
    assert_eq!(segment("0190-ab_c"), "0190-ab_c");
    assert_eq!(segment("../x?y"), "%2E%2E%2Fx%3Fy");
}

#[test]
fn debug_shows_no_token() {
    let client = Client::new("http://127.0.0.1:1/v3", "s3cret".to_owned().into(), "t").unwrap();
    assert!(!format!("{client:?}").contains("s3cret"));
}
