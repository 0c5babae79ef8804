//! Job counts as the scaler sees them: `BuildkiteJobCounts`, from either source, before the real build-server.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lab::build_server::BuildServer;
use scaler::config::{Config, TokenSource};
use scaler::job_counts::BuildkiteJobCounts;
use scaler::ports::{Agents, Counts, JobCounts};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// Whatever the source, the same jobs are told.
const SOURCES: [&str; 2] = ["metrics", "stacks"];

async fn server(folder: &tempfile::TempDir) -> BuildServer {
    // Installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    BuildServer::start(&lab::instances::programs().unwrap(), folder.path()).await.unwrap()
}

/// The adapter at this server, with this token, for the queues `default` and `other`.
async fn counts_at(server: &BuildServer, source: &str, token: &str, document: &str) -> BuildkiteJobCounts {
    let session = aws::Session::at("http://127.0.0.1:9", "us-east-1", "key", &"secret".into(), None).await;
    let token = TokenSource::Given(token.to_owned().into());
    let counts = BuildkiteJobCounts::new(&server.agent_endpoint(), &token, &session);
    ["default", "other"].iter().fold(counts, |counts, queue| {
        let settings = BTreeMap::from([
            ("BUILDKITE_AGENT_TOKEN", "unused"),
            ("BUILDKITE_QUEUE", queue),
            ("JOB_SOURCE", source),
            ("ASG_NAME", "g"),
        ]);
        let lookup = |name: &str| settings.get(name).map(|value| (*value).to_owned());
        counts.with(&Config::read(&lookup, Some(document)).unwrap().queues[0])
    })
}

async fn counts(server: &BuildServer, source: &str) -> BuildkiteJobCounts {
    counts_at(server, source, server.registration_token().expose_secret(), "").await
}

/// A request of the build API.
async fn user(server: &BuildServer, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
    let token = std::fs::read_to_string(server.api_token_file()).unwrap();
    let mut call = reqwest::Client::new().request(method, format!("{}{path}", server.url()));
    if let Some(body) = body {
        call = call.json(&body);
    }
    let answer = call.bearer_auth(token.trim()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn queue_as(server: &BuildServer, jobs: usize, job: Value) {
    let body = json!({ "pipeline": "app", "repo": "r", "jobs": vec![job; jobs] });
    user(server, reqwest::Method::POST, "/api/builds", Some(body)).await;
}

async fn queue(server: &BuildServer, queue: &str, jobs: usize) {
    queue_as(server, jobs, json!({ "command": "true", "queue": queue })).await;
}

/// An agent of the queue `default` that connects and asks for a job: its access token.
async fn agent(server: &BuildServer) -> (reqwest::Client, String) {
    let http = reqwest::Client::new();
    let token = server.registration_token().expose_secret().to_owned();
    let register = http.post(format!("{}/register", server.agent_endpoint()));
    let register = register.header("authorization", format!("Token {token}"));
    let answer = register.json(&json!({"name": "a", "meta_data": []})).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let token = format!("Token {}", answer["access_token"].as_str().unwrap());
    for call in [http.post(format!("{}/connect", server.agent_endpoint())), ping(server, &http)] {
        let answer = call.header("authorization", &token).header("content-length", "0").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    (http, token)
}

fn ping(server: &BuildServer, http: &reqwest::Client) -> reqwest::RequestBuilder {
    http.get(format!("{}/ping", server.agent_endpoint()))
}

/// Read just now, whole.
fn is_fresh(counts: &Counts) {
    let reading = counts.reading;
    assert!(reading.complete && reading.doubt(Timestamp::now()).is_none(), "{reading:?}");
    let as_of = reading.as_of.expect("build-server dates its answers");
    // Of a whole second, and read since.
    let around = jiff::SignedDuration::from_secs(1);
    assert!((reading.at - around..=Timestamp::now() + around).contains(&as_of), "{reading:?}");
    assert_eq!(counts.poll_after, Some(Duration::from_secs(1)), "the lab asks for a second");
}

#[tokio::test]
async fn counts_follow_queued_jobs_of_their_queue() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let sources = [counts(&server, SOURCES[0]).await, counts(&server, SOURCES[1]).await];
    for (added, scheduled) in [(0, 0), (3, 3), (1, 4)] {
        if added > 0 {
            queue(&server, "default", added).await;
        }
        for counts in &sources {
            let seen = counts.read("default").await.unwrap();
            assert_eq!((seen.jobs.scheduled, seen.unfinished), (scheduled, scheduled));
            assert_eq!((seen.jobs.running, seen.jobs.waiting, seen.agents), (0, 0, Agents::default()));
            assert_eq!(seen.organization, "lab");
            is_fresh(&seen);
        }
    }
    queue(&server, "other", 2).await;
    for counts in &sources {
        assert_eq!(counts.read("default").await.unwrap().jobs.scheduled, 4);
        assert_eq!(counts.read("other").await.unwrap().jobs.scheduled, 2);
        let names = ["other", "nobody's", "default"];
        let all: Vec<_> = counts.read_each(&names).await.into_iter().map(Result::unwrap).collect();
        for (name, told) in names.iter().zip(&all) {
            let alone = counts.read(name).await.unwrap();
            assert_eq!(
                (told.jobs, told.unfinished, told.agents),
                (alone.jobs, alone.unfinished, alone.agents)
            );
            is_fresh(told);
        }
        assert_eq!(all[0].jobs.scheduled, 2);
    }
    agent(&server).await;
    for counts in &sources {
        let seen = counts.read("default").await.unwrap();
        assert_eq!((seen.jobs.scheduled, seen.jobs.running, seen.unfinished), (3, 1, 4));
        assert_eq!(seen.agents, Agents { idle: 0, busy: 1, total: 1 });
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_stacks_api_tells_age_priority_and_who_can_run_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let stacks = counts(&server, "stacks").await;
    let none = stacks.read("default").await.unwrap();
    assert_eq!(
        (none.runnable.as_deref(), none.oldest_wait(Timestamp::now()).map(|w| w.as_secs())),
        (Some(&[][..]), Some(0))
    );
    let before = Timestamp::now() - jiff::SignedDuration::from_millis(1);
    queue_as(&server, 1, json!({"command": "true", "priority": 7, "agents": ["gpu=true"]})).await;
    queue_as(&server, 2, json!({"command": "true", "agents": ["os=mac"]})).await;
    let seen = stacks.read("default").await.unwrap();
    let after = Timestamp::now();
    let runnable = seen.runnable.as_deref().unwrap();
    assert_eq!(runnable.iter().map(|job| job.priority).collect::<Vec<_>>(), [7, 0, 0]);
    assert!(
        runnable.iter().all(|job| (before..=after).contains(&job.since)),
        "{before} {runnable:?} {after}"
    );
    assert_eq!((seen.jobs.scheduled, seen.unmatched), (3, 0), "what agents offer is not known");

    let token = server.registration_token().expose_secret();
    let gpu = counts_at(&server, "stacks", token, "agent-tags: [gpu=true, docker=true]").await;
    let seen = gpu.read("default").await.unwrap();
    assert_eq!((seen.jobs.scheduled, seen.unmatched, seen.unfinished), (1, 2, 1));
    assert_eq!(seen.runnable.map(|jobs| jobs.len()), Some(1));

    let metrics = counts(&server, "metrics").await.read("default").await.unwrap();
    assert_eq!((metrics.jobs.scheduled, metrics.runnable, metrics.unmatched), (3, None, 0));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_pause_is_seen_by_the_source_that_knows() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    queue(&server, "default", 2).await;
    let sources = [counts(&server, SOURCES[0]).await, counts(&server, SOURCES[1]).await];
    for (what, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        user(&server, reqwest::Method::PUT, &format!("/api/queues/default/{what}"), None).await;
        let [metrics, stacks] = [&sources[0], &sources[1]];
        assert_eq!(metrics.read("default").await.unwrap().paused, None);
        let seen = stacks.read("default").await.unwrap();
        assert_eq!((seen.paused, seen.jobs.scheduled), (Some(paused), 2));
        assert_eq!(stacks.read("other").await.unwrap().paused, Some(false));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn more_jobs_than_a_page_are_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    for _ in 0..2 {
        queue(&server, "default", 1000).await;
    }
    queue(&server, "default", 1).await;
    let seen = counts(&server, "stacks").await.read("default").await.unwrap();
    assert_eq!((seen.jobs.scheduled, seen.runnable.as_ref().map(Vec::len)), (2001, Some(2001)));
    is_fresh(&seen);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_a_stopped_server_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    for source in SOURCES {
        let problem = counts_at(&server, source, "wrong", "").await.read("default").await.unwrap_err();
        assert_eq!(problem.code, 77, "{problem}");
        assert!(
            problem.message.contains("check the agent token") && !problem.message.contains("wrong"),
            "{problem}"
        );
    }
    let sources = [counts(&server, SOURCES[0]).await, counts(&server, SOURCES[1]).await];
    server.stop().await.unwrap();
    for counts in sources {
        assert_eq!(counts.read("default").await.unwrap_err().code, 69);
        let problems = counts.read_each(&["default", "other"]).await;
        assert!(problems.iter().all(|problem| problem.as_ref().is_err_and(|p| p.code == 69)), "{problems:?}");
    }
}
