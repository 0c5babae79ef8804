//! A bare instance again and again: from the start of `boot` to the moment its agent connects to the CI, and from its
//! group's word that it shall go to the moment it lets go. In between, what `watch` and `logs` take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
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
    released: Mutex<Receiver<Instant>>,
    leaving: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Served {
    delay: Duration,
    connected: Sender<Instant>,
    released: Sender<Instant>,
    /// Does the group want the instance to go?
    leaving: Arc<AtomicBool>,
}

impl Surroundings {
    pub fn start(delay: Duration) -> Self {
        let (agent, connected) = channel();
        let (hook, released) = channel();
        let leaving = Arc::new(AtomicBool::new(false));
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
            .with_state(Served { delay, connected: agent, released: hook, leaving: Arc::clone(&leaving) });
        runtime.spawn(async { axum::serve(listener, router).await });
        let (connected, released) = (Mutex::new(connected), Mutex::new(released));
        Self { url, connected, released, leaving, _runtime: runtime }
    }
}

async fn metadata(
    State(served): State<Served>,
    UrlPath(path): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let text = match path.as_str() {
        "meta-data/instance-id" => "i-0abc".to_owned(),
        "meta-data/placement/region" => "us-east-1".to_owned(),
        "meta-data/placement/availability-zone" => "us-east-1a".to_owned(),
        "meta-data/instance-type" => "t3.small".to_owned(),
        "meta-data/tags/instance/aws:autoscaling:groupName" => "ci-instances".to_owned(),
        "meta-data/autoscaling/target-lifecycle-state" => served.target().to_owned(),
        "user-data" => format!(
            "stack: ci\nqueue: default\nlaunching-hook: launching\nterminating-hook: terminating\nagent-endpoint: http://{host}/v3\n\
             agent-token: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf'\n"
        ),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    text.into_response()
}

impl Served {
    fn target(&self) -> &'static str {
        if self.leaving.load(Ordering::Relaxed) { "Terminated" } else { "InService" }
    }
}

async fn aws(State(served): State<Served>, headers: HeaderMap, body: String) -> Response {
    tokio::time::sleep(served.delay).await;
    if headers.contains_key("x-amz-target") {
        return json!({ "SecretString": "t0ken" }).to_string().into_response();
    }
    let action = body.split('&').find_map(|field| field.strip_prefix("Action=")).unwrap_or_default();
    let answer = match action {
        "CompleteLifecycleAction" if body.contains("=terminating") => {
            let _ = served.released.send(Instant::now());
            ""
        }
        "DescribeAutoScalingInstances" => {
            "<AutoScalingInstances><member><InstanceId>i-0abc</InstanceId><LifecycleState>InService</LifecycleState>\
             <ProtectedFromScaleIn>true</ProtectedFromScaleIn></member></AutoScalingInstances>"
        }
        "DescribeAutoScalingGroups" => {
            "<AutoScalingGroups><member><MinSize>0</MinSize><MaxSize>3</MaxSize><DesiredCapacity>1</DesiredCapacity>\
             </member></AutoScalingGroups>"
        }
        _ => "",
    };
    format!("<{action}Response><{action}Result>{answer}</{action}Result></{action}Response>").into_response()
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
    let took = agent_connects(programs, root.path(), around);
    let rss_kib = crate::measure::children_rss_kib();
    let report = std::fs::read_to_string(root.path().join("var/lib/tidemark/boot.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("the report is JSON");
    for phase in report["phases"].as_array().expect("phases") {
        let took = phase["milliseconds"].as_u64().expect("a time");
        phases.entry(phase["name"].as_str().expect("a name").to_owned()).or_default().push(took);
    }
    end_agent(&root.path().join("run/tidemark/agents/1.pid"));
    Once { took, rss_kib }
}

fn agent_connects(programs: &Path, root: &Path, around: &Surroundings) -> Duration {
    let began = Instant::now();
    let mut child = start(programs, "boot", root, around);
    let receiver = around.connected.lock().expect("not poisoned");
    let connected = receiver.recv_timeout(Duration::from_secs(30)).expect("the agent connects");
    assert!(child.wait().expect("boot ends").success());
    connected - began
}

/// An instance whose agent, `watch` and `logs` run.
pub struct Living<'a> {
    around: &'a Surroundings,
    root: tempfile::TempDir,
    pub watch: Child,
    pub logs: Child,
}

impl<'a> Living<'a> {
    pub fn start(programs: &Path, around: &'a Surroundings) -> Self {
        around.leaving.store(false, Ordering::Relaxed);
        let root = tempfile::tempdir().expect("a folder");
        let _ = agent_connects(programs, root.path(), around);
        let logs = start(programs, "logs", root.path(), around);
        let watch = start(programs, "watch", root.path(), around);
        let living = Self { around, root, watch, logs };
        let until = Instant::now() + Duration::from_secs(30);
        while !living.is_ready() {
            assert!(Instant::now() < until, "watch is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        living
    }

    fn is_ready(&self) -> bool {
        let memory = std::fs::read_to_string(self.root.path().join("run/tidemark/watch.json"));
        let logs = self.root.path().join("run/tidemark/logs.pid").exists();
        logs && memory.is_ok_and(|text| text.contains("\"ready\""))
    }

    /// From the metadata's word to the hook's completion: the agent has left and the logs were sent.
    pub fn retire(mut self) -> Once {
        let began = Instant::now();
        self.around.leaving.store(true, Ordering::Relaxed);
        let receiver = self.around.released.lock().expect("not poisoned");
        let released = receiver.recv_timeout(Duration::from_secs(90)).expect("the hook is completed");
        assert!(self.logs.wait().expect("logs end").success());
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        Once { took: released - began, rss_kib: crate::measure::children_rss_kib() }
    }
}

fn start(programs: &Path, verb: &str, root: &Path, around: &Surroundings) -> Child {
    command(&programs.join("agent-bootstrap"), verb, root, &around.url).spawn().expect("the program starts")
}

fn command(program: &Path, verb: &str, root: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(verb)
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
