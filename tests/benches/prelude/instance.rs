//! A bare instance again and again: from the start of `boot` to the moment its agent connects to the CI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use crate::measure::Once;

/// Metadata answers at once, AWS after one round trip, the CI tells when an agent connected.
pub struct Surroundings {
    url: String,
    connected: Mutex<Receiver<Instant>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Served {
    delay: Duration,
    connected: Sender<Instant>,
}

impl Surroundings {
    pub fn start(delay: Duration) -> Self {
        let (sender, connected) = channel();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new()
            .route(
                "/latest/api/token",
                put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token") }),
            )
            .route("/latest/{*path}", get(metadata))
            .route("/", post(aws))
            .route("/service/{service}/operation/{operation}", post(metrics))
            .route("/v3/{*path}", post(agent_api).get(agent_api))
            .with_state(Served { delay, connected: sender });
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { url, connected: Mutex::new(connected), _runtime: runtime }
    }
}

async fn metadata(UrlPath(path): UrlPath<String>, headers: HeaderMap) -> Response {
    let host = headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let text = match path.as_str() {
        "meta-data/instance-id" => "i-0abc".to_owned(),
        "meta-data/placement/region" => "us-east-1".to_owned(),
        "meta-data/placement/availability-zone" => "us-east-1a".to_owned(),
        "meta-data/instance-type" => "t3.small".to_owned(),
        "meta-data/tags/instance/aws:autoscaling:groupName" => "ci-instances".to_owned(),
        "meta-data/autoscaling/target-lifecycle-state" => "InService".to_owned(),
        "user-data" => format!(
            "stack: ci\nqueue: default\nlaunching-hook: launching\nagent-endpoint: http://{host}/v3\n\
             agent-token: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf'\n"
        ),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    text.into_response()
}

async fn aws(State(served): State<Served>, headers: HeaderMap) -> Response {
    tokio::time::sleep(served.delay).await;
    match headers.contains_key("x-amz-target") {
        true => json!({ "SecretString": "t0ken" }).to_string().into_response(),
        false => "<CompleteLifecycleActionResponse/>".into_response(),
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    tokio::time::sleep(served.delay).await;
    ([("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")], vec![0xa0_u8])
        .into_response()
}

async fn agent_api(State(served): State<Served>, UrlPath(path): UrlPath<String>, _: Bytes) -> Response {
    tokio::time::sleep(served.delay).await;
    match path.as_str() {
        "register" => axum::Json(json!({
            "id": "0190", "name": "agent", "access_token": "access", "ping_interval": 5,
            "job_status_interval": 5, "heartbeat_interval": 60
        }))
        .into_response(),
        "connect" => {
            let _ = served.connected.send(Instant::now());
            axum::Json(json!({})).into_response()
        }
        _ => axum::Json(json!({})).into_response(),
    }
}

/// One boot of a new instance; the times of its phases go to `phases`.
pub fn boot(programs: &Path, around: &Surroundings, phases: &mut BTreeMap<String, Vec<u64>>) -> Once {
    let root = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let child = command(&programs.join("agent-bootstrap"), root.path(), &around.url).spawn();
    let mut child: Child = child.expect("the program starts");
    let receiver = around.connected.lock().expect("not poisoned");
    let connected = receiver.recv_timeout(Duration::from_secs(30)).expect("the agent connects");
    assert!(child.wait().expect("boot ends").success());
    let rss_kib = crate::measure::children_rss_kib();
    let report = std::fs::read_to_string(root.path().join("var/lib/tidemark/boot.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("the report is JSON");
    for phase in report["phases"].as_array().expect("phases") {
        let took = phase["milliseconds"].as_u64().expect("a time");
        phases.entry(phase["name"].as_str().expect("a name").to_owned()).or_default().push(took);
    }
    end_agent(&root.path().join("run/tidemark/agents/1.pid"));
    Once { took: connected - began, rss_kib }
}

fn command(program: &Path, root: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg("boot")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TIDEMARK_ROOT", root)
        .env("TIDEMARK_UNIT_MANAGER", "processes")
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Ends the agent and waits until it is gone: it must not take time from the next boot.
fn end_agent(pid_file: &PathBuf) {
    let text = std::fs::read_to_string(pid_file).expect("an agent");
    let pid: i32 = text.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("a process id");
    let pid = nix::unistd::Pid::from_raw(pid);
    while nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
}
