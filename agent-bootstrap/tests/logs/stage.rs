//! A journald of its own, `agent-bootstrap logs` beside it, and a CloudWatch Logs that keeps what it is given.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::{Value, json};

const JOURNALD: &str = "/lib/systemd/systemd-journald";

const PATIENCE: Duration = Duration::from_secs(60);

/// A journald whose `/run` is its own.
const INIT: &str =
    "mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal && exec \"$0\"";

#[derive(Default)]
struct World {
    streams: Vec<String>,
    messages: Vec<String>,
    calls: usize,
    refused: usize,
    throttle: usize,
}

pub struct Stage {
    root: tempfile::TempDir,
    world: Arc<Mutex<World>>,
    url: String,
    journald: Child,
    /// The process whose mounts are the journal's.
    init: i32,
}

/// A running `agent-bootstrap logs`.
pub struct Shipping {
    child: tokio::process::Child,
    pid_file: std::path::PathBuf,
}

impl Stage {
    pub async fn new() -> Option<Self> {
        if !Uid::effective().is_root() || !std::path::Path::new(JOURNALD).exists() {
            eprintln!("SKIPPED: the journal is read only where this runs as root and has {JOURNALD}");
            return None;
        }
        let world = Arc::new(Mutex::new(World::default()));
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        let root = tempfile::tempdir().unwrap();
        write_instance_file(root.path());
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--fork", "--kill-child", "sh", "-c", INIT, JOURNALD]);
        let journald = unshare.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stage = Self { root, world, url, journald, init: 0 };
        if !stage.journal_is_up().await {
            eprintln!("SKIPPED: this machine allows no journald with mounts of its own");
            return None;
        }
        Some(stage)
    }

    async fn journal_is_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.journald.try_wait().unwrap().is_some() {
                return false;
            }
            let children = format!("/proc/{0}/task/{0}/children", self.journald.id());
            let child = std::fs::read_to_string(children).unwrap_or_default();
            self.init = child.trim().parse().unwrap_or(0);
            let socket = format!("/proc/{}/root/run/systemd/journal/stdout", self.init);
            if self.init > 0 && std::path::Path::new(&socket).exists() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// A program beside that journald.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", &format!("--target={}", self.init), program]);
        command
    }

    /// A program of this name prints.
    pub fn say(&self, name: &str, text: &[u8]) {
        let mut cat =
            self.inside("systemd-cat").args(["-t", name, "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        cat.stdin.take().unwrap().write_all(text).unwrap();
        assert!(cat.wait().unwrap().success());
    }

    /// Starts the program under test.
    pub fn ship(&self) -> Shipping {
        let mut command = self.inside(env!("CARGO_BIN_EXE_agent-bootstrap"));
        command
            .arg("logs")
            .env("TIDEMARK_ROOT", self.root.path())
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("TIDEMARK_UNIT_MANAGER")
            .stderr(Stdio::piped());
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        Shipping { child, pid_file: self.root.path().join("run/tidemark/logs.pid") }
    }

    /// The next calls are throttled.
    pub fn throttle(&self, calls: usize) {
        self.world.lock().unwrap().throttle = calls;
    }

    /// Messages of one who said them, as they came.
    pub fn of(&self, name: &str) -> Vec<String> {
        let label = format!("{name}: ");
        let world = self.world.lock().unwrap();
        world.messages.iter().filter(|m| m.starts_with(&label)).cloned().collect()
    }

    /// Calls that stored something.
    pub fn calls(&self) -> usize {
        self.world.lock().unwrap().calls
    }

    pub fn refused(&self) -> usize {
        self.world.lock().unwrap().refused
    }

    pub async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !wanted(self) {
            assert!(begun.elapsed() < PATIENCE, "{} lines came", self.world.lock().unwrap().messages.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.init > 0 {
            let _ = kill(Pid::from_raw(self.init), Signal::SIGKILL);
        }
        let _ = self.journald.kill();
        let _ = self.journald.wait();
    }
}

impl Shipping {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap())
    }

    /// Its pid file says that it hears SIGTERM.
    async fn listens(&self) {
        let begun = Instant::now();
        let own = format!("{} ", self.pid());
        while !std::fs::read_to_string(&self.pid_file).is_ok_and(|text| text.starts_with(&own)) {
            assert!(begun.elapsed() < PATIENCE, "it does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Told to end: its exit status and what it said.
    pub async fn ended(self) -> (Option<i32>, String) {
        self.listens().await;
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Told to end, and it does so well.
    pub async fn stop(self) {
        let (code, said) = self.ended().await;
        assert_eq!(code, Some(0), "{said}");
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn write_instance_file(root: &std::path::Path) {
    let watch = json!({
        "idle-period": null, "poll-interval": "1s", "fail-safe-after": null, "terminating-hook": null,
        "heartbeat-interval": "5m", "update-check": "1m",
    });
    let file = json!({
        "instance-id": "i-0abc", "region": "us-east-1", "availability-zone": "us-east-1a",
        "instance-type": "t3.small", "stack": "ci", "queue": "default", "agents": 1,
        "agent-program": "/usr/local/bin/build-agent", "watch": watch,
    });
    std::fs::create_dir_all(root.join("etc/tidemark")).unwrap();
    std::fs::write(root.join("etc/tidemark/instance.json"), file.to_string()).unwrap();
}

/// Stores events as CloudWatch Logs would, and refuses what it would refuse.
async fn answer(
    State(world): State<Arc<Mutex<World>>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> (StatusCode, String) {
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let stream = format!("{} {}", body["logGroupName"], body["logStreamName"]);
    let mut world = world.lock().unwrap();
    let refusal =
        |code: &str| (StatusCode::BAD_REQUEST, json!({"__type": code, "message": code}).to_string());
    match target.split_once('.').unwrap().1 {
        "CreateLogStream" => {
            world.streams.push(stream);
            (StatusCode::OK, "{}".to_owned())
        }
        "PutLogEvents" if world.throttle > 0 => {
            world.throttle = world.throttle.saturating_sub(1);
            world.refused += 1;
            refusal("ThrottlingException")
        }
        "PutLogEvents" if !world.streams.contains(&stream) => refusal("ResourceNotFoundException"),
        "PutLogEvents" => {
            let events = body["logEvents"].as_array().unwrap();
            let times: Vec<i64> = events.iter().map(|e| e["timestamp"].as_i64().unwrap()).collect();
            let texts: Vec<&str> = events.iter().map(|e| e["message"].as_str().unwrap()).collect();
            let bytes: usize = texts.iter().map(|text| text.len() + 26).sum();
            let valid = times.is_sorted()
                && times.last().unwrap() - times[0] < 24 * 60 * 60 * 1000
                && bytes <= 1_048_576
                && events.len() <= 10_000
                && texts.iter().all(|text| !text.is_empty());
            if !valid {
                return refusal("InvalidParameterException");
            }
            world.messages.extend(texts.into_iter().map(str::to_owned));
            world.calls += 1;
            (StatusCode::OK, "{}".to_owned())
        }
        other => panic!("an action that the role may not: {other}"),
    }
}
