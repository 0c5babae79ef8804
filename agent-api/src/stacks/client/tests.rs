//! Answers as Buildkite documents them, as build-server gives them, and broken ones. Each is served over HTTP.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::*;

/// In the form of Buildkite's documentation, which says `dispatch_paused`.
const DOCUMENTED: &str = include_str!("answers/documented.json");
/// Recorded from a build-server.
const BUILD_SERVER: &str = include_str!("answers/build-server.json");

/// When all answers are of.
const DATE: &str = "Sun, 22 Nov 2026 03:24:39 GMT";

const ALL: Extent = Extent { page: 2, pages: 9, within: Duration::from_secs(60) };

type Asked = Arc<Mutex<Vec<BTreeMap<String, String>>>>;
type Answers = Arc<Vec<(StatusCode, String)>>;

/// A server that gives these answers one after the other, the last one for ever.
async fn serve(answers: Vec<(StatusCode, String)>) -> (StacksClient, Asked) {
    let asked = Asked::default();
    let answer = |State((asked, answers)): State<(Asked, Answers)>,
                  Query(query): Query<BTreeMap<String, String>>,
                  headers: HeaderMap| async move {
        assert_eq!(headers["authorization"], "Token cluster-token");
        let mut asked = asked.lock().unwrap();
        asked.push(query);
        let place = (asked.len() - 1).min(answers.len() - 1);
        let (status, text) = answers[place].clone();
        (status, [("date", DATE)], text).into_response()
    };
    let state = (Arc::clone(&asked), Arc::new(answers));
    let app = Router::new().route("/v3/stacks/tide%2Emark/scheduled-jobs", get(answer)).with_state(state);
    (client(app).await, asked)
}

async fn client(app: Router) -> StacksClient {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v3/", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    StacksClient::new(&endpoint, "cluster-token".to_owned().into(), Duration::from_secs(5)).unwrap()
}

async fn read(answers: &[String], extent: Extent) -> Result<ScheduledJobs, ApiError> {
    let answers = answers.iter().map(|text| (StatusCode::OK, text.clone())).collect();
    serve(answers).await.0.scheduled_jobs("tide.mark", "linux", extent).await
}

/// A page of these jobs, and the cursor to the next.
fn page(ids: &[&str], next: Option<&str>) -> String {
    let job = |id: &&str| json!({"id": id, "priority": 0, "agent_query_rules": [], "scheduled_at": "2026-11-22T02:00:00Z"});
    let jobs: Vec<Value> = ids.iter().map(job).collect();
    json!({
        "jobs": jobs, "cluster_queue": {"paused": false},
        "page_info": {"has_next_page": next.is_some(), "end_cursor": next},
    })
    .to_string()
}

fn ids(all: &ScheduledJobs) -> Vec<&str> {
    all.jobs.iter().map(|job| job.id.as_str()).collect()
}

#[tokio::test]
async fn a_documented_answer_is_read_whatever_else_it_has() {
    let all = read(&[DOCUMENTED.to_owned()], ALL).await.unwrap();
    assert!(all.paused && all.complete, "{all:?}");
    assert_eq!(all.as_of, "2026-11-22T03:24:39Z".parse().ok());
    let [first, second] = &all.jobs[..] else { panic!("{all:?}") };
    assert_eq!((first.priority, second.priority), (1, -2));
    assert_eq!(first.agent_query_rules, ["queue=linux", "docker=true"]);
    assert_eq!(first.scheduled_at, "2026-11-22T02:00:00Z".parse().unwrap());
    assert_eq!((first.step.key.as_deref(), second.step.key.as_deref()), (None, Some("tests")));
}

#[tokio::test]
async fn an_answer_of_build_server_is_read() {
    let all = read(&[BUILD_SERVER.to_owned()], ALL).await.unwrap();
    assert!(!all.paused && all.complete, "{all:?}");
    assert_eq!(all.jobs.len(), 2);
    assert_eq!(all.jobs[0].agent_query_rules, ["queue=linux", "docker=true"]);
    assert_eq!((all.jobs[0].priority, all.jobs[1].priority), (3, 0));
    assert_eq!(all.jobs[0].pipeline.slug.as_deref(), Some("app"));
}

#[tokio::test]
async fn pages_follow_the_cursor_and_a_job_counts_once() {
    let pages = [page(&["a", "b"], Some("c1")), page(&["b", "c"], Some("c+/=2")), page(&["d"], None)];
    let answers = pages.into_iter().map(|text| (StatusCode::OK, text)).collect();
    let (client, asked) = serve(answers).await;
    let all = client.scheduled_jobs("tide.mark", "lin ux", ALL).await.unwrap();
    assert_eq!((ids(&all), all.complete), (vec!["a", "b", "c", "d"], true));
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|query| query["queue_key"] == "lin ux" && query["limit"] == "2"), "{asked:?}");
    let after: Vec<Option<&str>> = asked.iter().map(|query| query.get("after").map(String::as_str)).collect();
    assert_eq!(after, [None, Some("c1"), Some("c+/=2")]);
}

#[tokio::test]
async fn what_lies_beyond_the_extent_makes_it_incomplete() {
    let pages = [page(&["a"], Some("1")), page(&["b"], Some("2")), page(&["c"], None)];
    let two = read(&pages, Extent { pages: 2, ..ALL }).await.unwrap();
    assert_eq!((ids(&two), two.complete), (vec!["a", "b"], false));
    let late = read(&pages, Extent { within: Duration::ZERO, ..ALL }).await.unwrap();
    assert_eq!((ids(&late), late.complete), (vec!["a"], false));
    let just = read(&pages, Extent { pages: 3, ..ALL }).await.unwrap();
    assert_eq!((just.jobs.len(), just.complete), (3, true));
}

#[tokio::test]
async fn broken_answers_are_refused_with_what_is_wrong() {
    let changed = |change: fn(&mut Value)| {
        let mut answer: Value = serde_json::from_str(DOCUMENTED).unwrap();
        change(&mut answer);
        answer.to_string()
    };
    let cases: [(&str, Vec<String>, &str); 15] = [
        ("a truncated page", vec![DOCUMENTED[..300].to_owned()], "EOF"),
        (
            "a truncated second page",
            vec![page(&["a"], Some("1")), page(&["b"], None)[..40].to_owned()],
            "EOF",
        ),
        ("no JSON", vec!["<html>".into()], "expected value"),
        (
            "no jobs",
            vec![changed(|a| drop(a.as_object_mut().unwrap().remove("jobs")))],
            "missing field `jobs`",
        ),
        ("no pause", vec![changed(|a| a["cluster_queue"] = json!({"id": "q"}))], "whether it is paused"),
        (
            "no queue",
            vec![changed(|a| drop(a.as_object_mut().unwrap().remove("cluster_queue")))],
            "cluster_queue",
        ),
        (
            "two words on the pause",
            vec![changed(|a| a["cluster_queue"] = json!({"paused": false, "dispatch_paused": true}))],
            "whether it is paused",
        ),
        (
            "no page_info",
            vec![changed(|a| drop(a.as_object_mut().unwrap().remove("page_info")))],
            "page_info",
        ),
        ("no priority", vec![changed(|a| a["jobs"][1]["priority"] = json!(null))], "null"),
        ("no time", vec![changed(|a| a["jobs"][0]["scheduled_at"] = json!(null))], "null"),
        ("a garbled time", vec![changed(|a| a["jobs"][0]["scheduled_at"] = json!("soon"))], "got s"),
        (
            "the beginning of time",
            vec![changed(|a| a["jobs"][0]["scheduled_at"] = json!("0001-01-01T00:00:00Z"))],
            "scheduled_at 0001",
        ),
        (
            "the far future",
            vec![changed(|a| a["jobs"][0]["scheduled_at"] = json!("2026-11-22T03:29:40Z"))],
            "scheduled_at 2026",
        ),
        (
            "a cursor that repeats",
            vec![page(&["a"], Some("1")), page(&["b"], Some("2")), page(&["c"], Some("1"))],
            "the cursor repeats",
        ),
        (
            "a page without a cursor",
            vec![changed(|a| a["page_info"]["has_next_page"] = json!(true))],
            "no cursor",
        ),
    ];
    for (name, answers, cause) in cases {
        let error = read(&answers, ALL).await.expect_err(name);
        assert!(matches!(error, ApiError::Garbage { .. }), "{name}: {error}");
        assert!(error.to_string().contains(cause), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_page_that_fails_fails_all() {
    for (status, expected) in [(401, 401), (404, 404), (429, 429), (503, 503)] {
        let failed = (StatusCode::from_u16(status).unwrap(), r#"{"message":"no"}"#.to_owned());
        let answers = vec![(StatusCode::OK, page(&["a"], Some("1"))), failed];
        let error = serve(answers).await.0.scheduled_jobs("tide.mark", "q", ALL).await.unwrap_err();
        assert_eq!(error.status(), Some(expected), "{error}");
    }
}

#[tokio::test]
async fn a_stack_registers_and_is_answered_for() {
    let stack = StackRequest {
        key: "tidemark".into(),
        kind: "custom".into(),
        queue_key: "linux".into(),
        metadata: BTreeMap::from([("version".into(), "1".into())]),
    };
    let register = async |answer: fn(&Value) -> Response| {
        let route = move |request: Request| async move {
            let body = axum::body::to_bytes(request.into_body(), 4096).await.unwrap();
            answer(&serde_json::from_slice(&body).unwrap())
        };
        client(Router::new().route("/v3/stacks/register", axum::routing::post(route)))
            .await
            .register(&stack)
            .await
    };
    let registered = register(|body| {
        assert_eq!(
            *body,
            json!({"key": "tidemark", "type": "custom", "queue_key": "linux", "metadata": {"version": "1"}})
        );
        (StatusCode::CREATED, json!({"key": "tidemark", "state": "connected", "new": 1}).to_string())
            .into_response()
    });
    assert_eq!(registered.await.unwrap().state, "connected");
    let other = register(|_| r#"{"key":"other"}"#.into_response()).await.unwrap_err();
    assert!(other.to_string().contains("another key"), "{other}");
    let refused =
        register(|_| (StatusCode::UNPROCESSABLE_ENTITY, r#"{"message":"too many stacks"}"#).into_response());
    assert!(refused.await.unwrap_err().to_string().contains("too many stacks"));
}
