//! `scaler trace` from what Buildkite remembers: saved pages, and its REST API as it is documented.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};

use super::{scaler, simulated, text};

const PAGES: [&str; 2] = [include_str!("history/buildkite-1.json"), include_str!("history/buildkite-2.json")];

fn folder() -> String {
    format!("{}/tests/simulate/history", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn saved_pages_become_a_trace_that_can_be_simulated() {
    let files = [1, 2].map(|page| format!("{}/buildkite-{page}.json", folder()));
    let output = scaler(&["trace", "--history", &files[0], &files[1]], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout), @r"
    runnable_at,duration_s,queue,pipeline,build,hinted_at,hinted_jobs
    1794819540.000,600.000,default,lib,lib#3,1794819510.000,1
    1794819630.000,120.500,default,app,app#7,1794819600.000,2
    1794819791.000,30.000,arm,app,app#7,1794819600.000,2
    1794820200.450,10.000,default,app,app#8,1794820170.000,1
    ");
    insta::assert_snapshot!(text(&output.stderr), @"scaler: jobs: 4, of builds: 3; left out: steps without an agent (wait, block, trigger): 2, never ran: 1, still running: 1, no queue in its rules or its agent's tags: 1; builds read twice, counted once: 1");
    let trace = text(&output.stdout);
    let report = simulated(&["--policy", "tidemark", "--queue", "default", "--seeds", "1"], &trace);
    assert_eq!(report["jobs"], 3, "{report}");
    // Both pages in one file, as a loop of curl appends them.
    let appended = scaler(&["trace", "--history", "-"], &PAGES.concat());
    assert_eq!(text(&appended.stdout), trace);
    let asked =
        ["trace", "--history", "-", "--queue", "default", "--from", "2026-11-16T09:00:00Z", "--blind"];
    let some = scaler(&asked, &PAGES.concat());
    insta::assert_snapshot!(text(&some.stdout), @r"
    runnable_at,duration_s,queue,pipeline,build,hinted_at,hinted_jobs
    1794819630.000,120.500,default,app,app#7,,
    1794820200.450,10.000,default,app,app#8,,
    ");
    insta::assert_snapshot!(text(&some.stderr), @"scaler: jobs: 2, of builds: 2; left out: steps without an agent (wait, block, trigger): 2, never ran: 1, still running: 1, no queue in its rules or its agent's tags: 1, other queues: 1, runnable at another time: 1; builds read twice, counted once: 1");
}

#[test]
fn broken_pages_are_told_whole_and_nothing_is_printed() {
    let told = |input: &str| {
        let output = scaler(&["trace", "--history", "-"], input);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(78), ""));
        text(&output.stderr)
    };
    let cut = &PAGES[0][..PAGES[0].len() - 40];
    assert!(
        told(cut).starts_with("scaler: history of -:\nscaler: standard input: EOF while parsing"),
        "{}",
        told(cut)
    );
    assert_eq!(told(""), "scaler: history of -:\nscaler: standard input: is empty\n");
    let negative = PAGES[0].replace("2026-11-16T09:03:10.500Z", "2026-11-16T09:01:09Z");
    assert_eq!(
        told(&negative),
        "scaler: history of -:\nscaler: standard input: builds[1] (app#7).jobs[0].finished_at: \
         2026-11-16T09:01:09Z is before started_at, 2026-11-16T09:01:10Z\n"
    );
    assert!(told("[]").contains("no job is left for the trace: jobs: 0"));
    let usage = |arguments: &[&str]| scaler(&[&["trace"], arguments].concat(), "").status.code();
    assert_eq!(usage(&["--queue", "default"]), Some(2), "of what is made there is one queue");
    assert_eq!(usage(&["--history", "-", "--shape", "burst"]), Some(2));
    assert_eq!(usage(&["--history", "-", "--organization", "acme"]), Some(2));
    assert_eq!(usage(&["--history", "/nowhere.json"]), Some(1));
}

/// What is asked of the API, and how it answers.
#[derive(Default)]
struct Api {
    asked: Mutex<Vec<String>>,
    status: Mutex<Option<StatusCode>>,
}

type Answer = (StatusCode, HeaderMap, String);

async fn builds(
    State(api): State<Arc<Api>>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Answer {
    api.asked.lock().unwrap().push(uri.to_string());
    let refused = |status, message: &str| (status, HeaderMap::new(), format!(r#"{{"message":"{message}"}}"#));
    if let Some(status) = *api.status.lock().unwrap() {
        return refused(status, "not now");
    }
    if headers.get("authorization").is_none_or(|token| token != "Bearer good") {
        return refused(StatusCode::UNAUTHORIZED, "Authentication required");
    }
    let page: usize = query["page"].parse().unwrap();
    let mut links = HeaderMap::new();
    if page < PAGES.len() {
        let next = "<https://api.buildkite.com/v2/organizations/acme/builds?page=2>; rel=\"next\", <…>; rel=\"last\"";
        links.insert("link", next.replace('…', "https://api.buildkite.com/last").parse().unwrap());
    }
    (StatusCode::OK, links, PAGES[page - 1].to_owned())
}

async fn trace_with(token: &str, api: &str, more: &[&str]) -> Output {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_scaler"));
    program.args(["trace", "--organization", "acme", "--api", api]).args(more);
    program.env_clear().env("BUILDKITE_API_TOKEN", token);
    tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildkite_is_asked_page_by_page() {
    let api = Arc::new(Api::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(builds).with_state(Arc::clone(&api));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let window = ["--from", "2026-11-16T00:00:00Z", "--until", "2026-11-17T00:00:00Z"];
    let output = trace_with("good", &url, &window).await;
    let saved = scaler(&[&["trace", "--history", "-"], window.as_slice()].concat(), &PAGES.concat());
    assert_eq!((text(&output.stdout), text(&output.stderr)), (text(&saved.stdout), text(&saved.stderr)));
    insta::assert_snapshot!(api.asked.lock().unwrap().join("\n"), @r"
    /v2/organizations/acme/builds?page=1&per_page=100&include_retried_jobs=true&created_from=2026-11-15T00%3A00%3A00Z&created_to=2026-11-17T00%3A00%3A00Z
    /v2/organizations/acme/builds?page=2&per_page=100&include_retried_jobs=true&created_from=2026-11-15T00%3A00%3A00Z&created_to=2026-11-17T00%3A00%3A00Z
    ");
    let refusals = [
        ("bad", None, 77, "401 Unauthorized: Authentication required: check BUILDKITE_API_TOKEN"),
        ("", None, 78, "BUILDKITE_API_TOKEN: give an API access token"),
        (
            "good",
            Some(StatusCode::TOO_MANY_REQUESTS),
            75,
            "429 Too Many Requests: not now: try again in a minute",
        ),
        ("good", Some(StatusCode::BAD_GATEWAY), 69, "502 Bad Gateway: not now: try again"),
        ("good", Some(StatusCode::NOT_FOUND), 1, "404 Not Found: not now: check BUILDKITE_API_TOKEN"),
    ];
    for (token, status, code, why) in refusals {
        *api.status.lock().unwrap() = status;
        let output = trace_with(token, &url, &[]).await;
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("good"), "the token is nobody's business");
    }
    server.abort();
    let output = trace_with("good", "http://127.0.0.1:9", &[]).await;
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
}
