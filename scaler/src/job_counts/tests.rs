//! One answer about all queues; tokens, and registrations: a CI and a Secrets Manager on loopback.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::Mutex;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;

#[derive(Default)]
struct World {
    /// Jobs that each good token is told of.
    tokens: Mutex<BTreeMap<String, u64>>,
    secret: Mutex<String>,
    secret_reads: Mutex<usize>,
    registered: Mutex<Vec<String>>,
    registrations: Mutex<usize>,
    questions: Mutex<usize>,
    /// The next question for counts is one too many.
    too_often: Mutex<bool>,
}

impl World {
    fn new(tokens: &[(&str, u64)], secret: &str) -> Arc<Self> {
        let world = Self::default();
        world.accept(tokens);
        *world.secret.lock().unwrap() = secret.into();
        Arc::new(world)
    }

    /// No other token is good from now on.
    fn accept(&self, tokens: &[(&str, u64)]) {
        *self.tokens.lock().unwrap() =
            tokens.iter().map(|(token, jobs)| (format!("Token {token}"), *jobs)).collect();
    }

    async fn serve(self: &Arc<Self>) -> String {
        let router = Router::new()
            .route("/v3/metrics/queue", get(metrics))
            .route("/v3/stacks/register", post(register))
            .route("/v3/stacks/{key}/scheduled-jobs", get(scheduled))
            .fallback(secret)
            .with_state(Arc::clone(self));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }

    fn jobs(&self, headers: &HeaderMap) -> Result<u64, Refused> {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
        let jobs = self.tokens.lock().unwrap().get(token).copied();
        jobs.ok_or((StatusCode::UNAUTHORIZED, r#"{"message":"no"}"#))
    }
}

type Shared = State<Arc<World>>;
type Refused = (StatusCode, &'static str);

async fn metrics(State(world): Shared, headers: HeaderMap) -> Result<axum::Json<Value>, Response> {
    *world.questions.lock().unwrap() += 1;
    if std::mem::take(&mut *world.too_often.lock().unwrap()) {
        return Err((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "100")]).into_response());
    }
    let scheduled = world.jobs(&headers).map_err(IntoResponse::into_response)?;
    Ok(axum::Json(json!({
        "organization": {"slug": "acme"}, "agents": {"idle": 0, "busy": 0, "total": 0},
        "jobs": {"scheduled": scheduled, "running": 0, "waiting": 0, "total": scheduled},
    })))
}

async fn register(
    State(world): Shared,
    headers: HeaderMap,
    axum::Json(stack): axum::Json<Value>,
) -> Result<axum::Json<Value>, Refused> {
    world.jobs(&headers)?;
    *world.registrations.lock().unwrap() += 1;
    world.registered.lock().unwrap().push(stack["key"].as_str().unwrap().to_owned());
    Ok(axum::Json(stack))
}

async fn scheduled(
    State(world): Shared,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<axum::Json<Value>, Refused> {
    world.jobs(&headers)?;
    if !world.registered.lock().unwrap().contains(&key) {
        return Err((StatusCode::NOT_FOUND, r#"{"message":"no such stack"}"#));
    }
    Ok(axum::Json(json!({
        "jobs": [], "cluster_queue": {"id": "q", "dispatch_paused": false},
        "page_info": {"has_next_page": false, "end_cursor": null},
    })))
}

/// All that is asked of AWS is the token.
async fn secret(State(world): Shared) -> axum::Json<Value> {
    *world.secret_reads.lock().unwrap() += 1;
    let value = world.secret.lock().unwrap().clone();
    axum::Json(json!({"ARN": "a", "Name": "token", "SecretString": value}))
}

fn queue(name: &str, source: &str) -> QueueConfig {
    let settings = [
        ("ASG_NAME", "ci-instances"),
        ("BUILDKITE_AGENT_TOKEN", "unused"),
        ("BUILDKITE_QUEUE", name),
        ("JOB_SOURCE", source),
    ];
    let lookup = |name: &str| settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Config::read(&lookup, None).unwrap().queues.remove(0)
}

fn stored() -> TokenSource {
    TokenSource::Stored(aws::StoredToken::SecretsManager("token".into()))
}

async fn session(url: &str) -> Session {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Session::at(url, "us-east-1", "key", &"secret".into(), None).await
}

#[tokio::test]
async fn queues_share_a_connection_and_a_rotated_token_is_read_once_for_all() {
    let world = World::new(&[("old", 3)], "old");
    let url = world.serve().await;
    let connection = Arc::new(Connection::new(&format!("{url}/v3"), &stored(), &session(&url).await));
    let queues = [("a", "metrics"), ("b", "metrics"), ("c", "stacks")]
        .map(|(name, source)| BuildkiteJobCounts::over(Arc::clone(&connection)).with(&queue(name, source)));
    let read = async || {
        let [a, b, c] = &queues;
        let (a, b, c) = tokio::join!(a.read("a"), b.read("b"), c.read("c"));
        [a, b, c].map(|counts| counts.unwrap().jobs.scheduled)
    };
    assert_eq!((read().await, *world.secret_reads.lock().unwrap()), ([3; 3], 1));
    *world.secret.lock().unwrap() = "new".into();
    world.accept(&[("new", 4)]);
    assert_eq!((read().await, *world.secret_reads.lock().unwrap()), ([4; 3], 2));
    // One that is simply wrong is fetched once more, and that is that.
    world.accept(&[]);
    let problem = queues[0].read("a").await.unwrap_err();
    assert_eq!((problem.code, *world.secret_reads.lock().unwrap()), (77, 3), "{problem}");
}

#[tokio::test]
async fn tokens_of_several_clusters_stand_side_by_side() {
    let world = World::new(&[("a", 1), ("b", 2)], "");
    let url = world.serve().await;
    let session = session(&url).await;
    let of = |token: &str, source| {
        let token = TokenSource::Given(token.to_owned().into());
        let counts = BuildkiteJobCounts::new(&format!("{url}/v3"), &token, &session);
        counts.with(&queue("default", source))
    };
    let (a, b) = (of("a", "stacks"), of("b", "metrics"));
    for _ in 0..2 {
        let (a, b) = tokio::join!(a.read("default"), b.read("default"));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.jobs.scheduled, b.jobs.scheduled), (1, 2));
        assert_eq!((a.paused, b.paused), (Some(false), None), "each from its own source");
    }
}

#[tokio::test]
async fn a_pause_is_kept_by_all_queues_of_its_token_and_by_no_other() {
    let world = World::new(&[("a", 1), ("b", 2)], "");
    let url = world.serve().await;
    let session = session(&url).await;
    let connection = |token: &str| {
        let token = TokenSource::Given(token.to_owned().into());
        Arc::new(Connection::new(&format!("{url}/v3"), &token, &session))
    };
    let (a, b) = (connection("a"), connection("b"));
    let counts = |connection: &Arc<Connection>, name, source| {
        BuildkiteJobCounts::over(Arc::clone(connection)).with(&queue(name, source))
    };
    let (first, second) = (counts(&a, "first", "metrics"), counts(&a, "second", "stacks"));
    let other = counts(&b, "first", "metrics");
    *world.too_often.lock().unwrap() = true;
    let problem = first.read("first").await.unwrap_err();
    assert!(problem.code == 75 && problem.message.contains("(429)"), "{problem}");
    for (counts, queue) in [(&first, "first"), (&second, "second")] {
        let problem = counts.read(queue).await.unwrap_err();
        assert_eq!(problem.code, 75, "{problem}");
        assert!(problem.message.contains(&format!("queue {queue} from {url}/v3: not asked: ")), "{problem}");
        assert!(counts.paused_for().is_some_and(|left| left > Duration::from_secs(40)), "{problem}");
    }
    assert_eq!((*world.questions.lock().unwrap(), *world.registrations.lock().unwrap()), (1, 0));
    assert_eq!((other.read("first").await.unwrap().jobs.scheduled, other.paused_for()), (2, None));
}

#[tokio::test]
async fn a_stack_registers_once_and_again_when_the_ci_forgot_it() {
    let world = World::new(&[("t", 0)], "t");
    let url = world.serve().await;
    let counts = BuildkiteJobCounts::new(&format!("{url}/v3"), &stored(), &session(&url).await);
    let counts = counts.with(&queue("default", "stacks"));
    for _ in 0..3 {
        counts.read("default").await.unwrap();
    }
    assert_eq!(*world.registrations.lock().unwrap(), 1);
    assert_eq!(*world.registered.lock().unwrap(), ["tidemark-us-east-1-ci-instances"]);
    world.registered.lock().unwrap().clear();
    counts.read("default").await.unwrap();
    assert_eq!(*world.registrations.lock().unwrap(), 2);
}

#[test]
fn a_stacks_key_is_plain_short_and_its_groups_own() {
    let key = |group: &str| stack_key("us-east-1", group);
    assert_eq!(key("ci-instances"), "tidemark-us-east-1-ci-instances");
    let (dots, blanks) = (key("ci.instances"), key("ci instances"));
    assert!(
        dots.starts_with("tidemark-us-east-1-ci-instances-") && dots != blanks && dots != key("ci-instances")
    );
    let (long, longer) = (key(&"g".repeat(200)), key(&"g".repeat(201)));
    assert!(long.len() == KEY_BYTES && long != longer, "{long} {longer}");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    assert!([dots, long, key("grüße")].iter().all(|key| key.chars().all(plain) && key.len() <= KEY_BYTES));
}

fn answer(total: u64) -> AllAnswer {
    let text = format!(
        r#"{{"agents":{{"idle":1,"busy":2,"total":3,"queues":{{"linux":{{"idle":1,"busy":2,"total":3}}}}}},
        "jobs":{{"scheduled":1,"running":2,"waiting":4,"total":{total},
        "queues":{{"linux":{{"scheduled":1,"running":2,"waiting":0,"total":3}},
        "mac":{{"scheduled":0,"running":0,"waiting":4,"total":4}}}}}},"organization":{{"slug":"acme"}}}}"#
    );
    AllAnswer {
        metrics: serde_json::from_str(&text).unwrap(),
        as_of: None,
        poll_after: Some(Duration::from_secs(9)),
    }
}

#[test]
fn a_queue_that_is_not_listed_has_no_jobs_only_if_the_others_have_them_all() {
    let told = |total, queue| of_all(&answer(total), queue, Timestamp::UNIX_EPOCH);
    let linux = told(7, "linux").unwrap();
    assert_eq!((linux.jobs.scheduled, linux.jobs.running, linux.unfinished), (1, 2, 3));
    assert_eq!(
        (linux.agents.busy, linux.organization.as_str(), linux.poll_after),
        (2, "acme", Some(Duration::from_secs(9)))
    );
    let mac = told(7, "mac").unwrap();
    assert_eq!((mac.jobs.waiting, mac.agents), (4, Agents::default()));
    assert_eq!(told(7, "gone").unwrap().unfinished, 0);
    assert_eq!(told(8, "gone"), None, "an eighth job is somewhere");
    assert_eq!(told(8, "linux"), Some(linux), "what is listed is told");
}
