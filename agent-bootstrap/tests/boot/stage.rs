//! An instance before `boot`: its metadata, what of AWS it calls, an agent that only stays alive.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use agent_bootstrap::layout::Layout;
use agent_bootstrap::units::process::Process;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::process::Command;

pub const INSTANCE: &str = "i-0abc";
pub const TOKEN: &str = "t0ken-of-the-agents";
pub const TOKEN_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf";

/// What AWS answers; a text is a value, a pair an error's code and message.
type Answer = Result<String, (&'static str, &'static str)>;

struct World {
    metadata: BTreeMap<String, String>,
    secret: Answer,
    parameters: BTreeMap<String, String>,
    health: Answer,
    calls: Vec<String>,
}

pub struct Stage {
    pub layout: Layout,
    root: tempfile::TempDir,
    world: Arc<Mutex<World>>,
    url: String,
}

/// How a run of `boot` ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Stage {
    pub async fn new() -> Self {
        let root = tempfile::Builder::new().prefix("tm").tempdir().unwrap();
        let agent = root.path().join("agent");
        std::fs::write(
            &agent,
            "#!/bin/sh\necho \"$BUILDKITE_AGENT_NAME $*\" >> \"$TIDEMARK_ROOT/started\"\nexec sleep 600\n",
        )
        .unwrap();
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
        let identity = json!({ "accountId": "123456789012", "region": "us-east-1" }).to_string();
        let metadata = [
            ("meta-data/instance-id", INSTANCE),
            ("meta-data/placement/region", "us-east-1"),
            ("meta-data/placement/availability-zone", "us-east-1a"),
            ("meta-data/instance-type", "t3.small"),
            ("meta-data/tags/instance/aws:autoscaling:groupName", "ci-instances"),
            ("dynamic/instance-identity/document", &identity),
        ];
        let world = World {
            metadata: metadata.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect(),
            secret: Ok(TOKEN.to_owned()),
            parameters: BTreeMap::new(),
            health: Ok(String::new()),
            calls: Vec::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let router = Router::new()
            .route(
                "/latest/api/token",
                put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "60")], "imds") }),
            )
            .route("/latest/{*path}", get(metadata_at))
            .route("/", post(aws_call))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        let stage = Self { layout: Layout::below(root.path()), root, world, url };
        stage.settings("")
    }

    /// The user data: the stack's settings and more.
    pub fn settings(self, more: &str) -> Self {
        let agent = self.root.path().join("agent");
        let text = format!(
            "stack: ci\nqueue: default\nagent-program: {}\nagent-token: '{TOKEN_ARN}'\n{more}",
            agent.display()
        );
        self.user_data(&text)
    }

    pub fn user_data(self, text: &str) -> Self {
        self.world.lock().unwrap().metadata.insert("user-data".to_owned(), text.to_owned());
        self
    }

    pub fn without_metadata(self, path: &str) -> Self {
        self.world.lock().unwrap().metadata.remove(path);
        self
    }

    pub fn parameter(self, name: &str, value: &str) -> Self {
        self.world.lock().unwrap().parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn secret(&self, answer: Result<&str, (&'static str, &'static str)>) {
        self.world.lock().unwrap().secret = answer.map(str::to_owned);
    }

    pub fn health_is_refused(self, code: &'static str, message: &'static str) -> Self {
        self.world.lock().unwrap().health = Err((code, message));
        self
    }

    /// Calls to AWS so far, with what they name.
    pub fn calls(&self) -> Vec<String> {
        self.world.lock().unwrap().calls.clone()
    }

    pub async fn boot(&self) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_agent-bootstrap"))
            .arg("boot")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TIDEMARK_ROOT", self.root.path())
            .env("TIDEMARK_UNIT_MANAGER", "processes")
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.url)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .await
            .unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A file below the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }

    /// The agents' processes, as their pid files name them.
    pub fn agents(&self) -> Vec<Process> {
        let files = std::fs::read_dir(self.path("run/tidemark/agents")).into_iter().flatten();
        let mut agents: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        agents.sort();
        agents.iter().map(|file| std::fs::read_to_string(file).unwrap().parse().unwrap()).collect()
    }
}

/// Whatever a test started must not outlive it.
impl Drop for Stage {
    fn drop(&mut self) {
        for agent in self.agents() {
            let _ = agent.terminate();
        }
    }
}

async fn metadata_at(
    State(world): State<Arc<Mutex<World>>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    if headers.get("x-aws-ec2-metadata-token").is_none_or(|token| token != "imds") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match world.lock().unwrap().metadata.get(&path) {
        Some(text) => text.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn aws_call(State(world): State<Arc<Mutex<World>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut world = world.lock().unwrap();
    let Some(target) = headers.get("x-amz-target") else { return query(&mut world, &body) };
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let (named, answer) = match target.to_str().unwrap() {
        "secretsmanager.GetSecretValue" => {
            let value = world.secret.clone().map(|text| json!({ "SecretString": text }));
            (asked["SecretId"].clone(), value)
        }
        "AmazonSSM.GetParameter" => {
            let value = world.parameters.get(asked["Name"].as_str().unwrap());
            let value = value.map(|text| json!({ "Parameter": { "Value": text } }));
            (asked["Name"].clone(), value.ok_or(("ParameterNotFound", "")))
        }
        other => (json!(other), Err(("UnknownOperationException", "not expected of boot"))),
    };
    world.calls.push(format!("{} {}", target.to_str().unwrap(), named.as_str().unwrap()));
    match answer {
        Ok(value) => value.to_string().into_response(),
        Err((code, message)) => {
            (StatusCode::BAD_REQUEST, json!({ "__type": code, "message": message }).to_string())
                .into_response()
        }
    }
}

/// Auto Scaling's protocol.
fn query(world: &mut World, body: &[u8]) -> Response {
    let body = std::str::from_utf8(body).unwrap();
    let field = |name: &str| body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
    assert_eq!(field("Action"), "SetInstanceHealth");
    world.calls.push(format!("SetInstanceHealth {} {}", field("InstanceId"), field("HealthStatus")));
    match &world.health {
        Ok(_) => "<SetInstanceHealthResponse/>".into_response(),
        Err((code, message)) => {
            let xml = format!(
                "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            );
            (StatusCode::FORBIDDEN, xml).into_response()
        }
    }
}
