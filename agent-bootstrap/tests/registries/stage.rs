//! What the tests stand on: an instance's folder, AWS's ECR API and metadata service, real registries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use agent_bootstrap::layout::Layout;
use agent_bootstrap::registry;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use base64::Engine;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

pub const TOKEN: &str = "t0ken-of-the-instance";
const REGISTRY: &str = "123456789012.us-east-1";

pub type Variables = BTreeMap<String, String>;

/// ECR's API and the metadata service, both as small as the SDK allows.
pub struct Cloud {
    addr: SocketAddr,
    state: Arc<CloudState>,
}

#[derive(Default)]
struct CloudState {
    calls: AtomicU32,
    refuses: AtomicBool,
}

impl Cloud {
    pub async fn start() -> Self {
        let state = Arc::new(CloudState::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { addr, state }
    }

    pub fn token_calls(&self) -> u32 {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub fn refuse(&self) {
        self.state.refuses.store(true, Ordering::SeqCst);
    }
}

/// The metadata service's token comes with its lifetime; elsewhere the header does no harm.
type Answer = (StatusCode, [(&'static str, &'static str); 1], String);

const TTL: [(&str, &str); 1] = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];

async fn answer(State(state): State<Arc<CloudState>>, method: Method, uri: Uri) -> Answer {
    let credentials = "/latest/meta-data/iam/security-credentials/";
    let body = match (method.as_str(), uri.path()) {
        ("PUT", "/latest/api/token") => "imds-token".to_owned(),
        ("GET", path) if path == credentials || path == credentials.trim_end_matches('/') => {
            "role".to_owned()
        }
        ("GET", path) if path.starts_with(credentials) => json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "s",
            "Token": "t", "LastUpdated": "2020-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"
        })
        .to_string(),
        ("POST", "/") if state.refuses.load(Ordering::SeqCst) => {
            let refusal = json!({ "__type": "AccessDeniedException", "message": "not authorized" });
            return (StatusCode::BAD_REQUEST, TTL, refusal.to_string());
        }
        ("POST", "/") => {
            state.calls.fetch_add(1, Ordering::SeqCst);
            let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{TOKEN}"));
            let expires = jiff::Timestamp::now().as_second() + 12 * 3600;
            json!({ "authorizationData": [{ "authorizationToken": token, "expiresAt": expires }] })
                .to_string()
        }
        _ => return (StatusCode::NOT_FOUND, TTL, String::new()),
    };
    (StatusCode::OK, TTL, body)
}

/// The real docker-registry, for one user; ends with the test.
pub struct Registry {
    host: String,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl Registry {
    pub async fn start(user: &str, password: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let passwords = dir.path().join("htpasswd");
        std::fs::write(&passwords, hashed(user, password).await).expect("written");
        let config = dir.path().join("config.yml");
        let content = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": dir.path().join("storage") } },
            "http": { "addr": "127.0.0.1:0", "relativeurls": true },
            "auth": { "htpasswd": { "realm": "test", "path": passwords } }
        });
        std::fs::write(&config, content.to_string()).expect("written");
        let log = dir.path().join("log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("docker-registry is installed (make setup)");
        Self { host: listening(&log).await, _dir: dir, _child: child }
    }

    pub fn host(&self) -> &str {
        &self.host
    }
}

async fn hashed(user: &str, password: &str) -> Vec<u8> {
    let mut htpasswd = Command::new("htpasswd");
    let output = fed(htpasswd.args(["-niB", "-C", "4", user]), password).await;
    assert!(output.status.success(), "htpasswd is installed (make setup)");
    output.stdout
}

/// The address in the log, written once the socket listens.
async fn listening(log: &Path) -> String {
    let found = tokio::time::timeout(Duration::from_secs(60), async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            pause.tick().await;
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let address = text.split_once("listening on ").and_then(|(_, after)| after.split_once('"'));
            if let Some((address, _)) = address {
                return address.to_owned();
            }
        }
    });
    found.await.expect("docker-registry listens")
}

async fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).await.expect("the program reads its stdin");
    drop(stdin);
    child.wait_with_output().await.expect("the program ends")
}

/// An instance's folder, and jobs on it.
pub struct Stage {
    pub layout: Layout,
    image: PathBuf,
    cloud: SocketAddr,
    hosts: String,
    dir: tempfile::TempDir,
}

impl Stage {
    pub fn new(cloud: &Cloud, ecr: &[&Registry]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let image = dir.path().join("image");
        write_image(&image).expect("written");
        let hosts: Vec<String> = ecr.iter().map(|r| format!("{}={REGISTRY}", r.host())).collect();
        let layout = Layout::below(dir.path().join("root"));
        Self { layout, image, cloud: cloud.addr, hosts: hosts.join(","), dir }
    }

    /// What every process of the instance has.
    pub fn instance_variables(&self) -> Variables {
        let cloud = format!("http://{}", self.cloud);
        let root = self.layout.root().to_str().expect("UTF-8").to_owned();
        [
            ("AWS_ENDPOINT_URL", cloud.clone()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud),
            ("TIDEMARK_ECR_HOSTS", self.hosts.clone()),
            ("TIDEMARK_ROOT", root),
            ("HOME", self.dir.path().to_str().expect("UTF-8").to_owned()),
            ("PATH", std::env::var("PATH").expect("set")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// A job's variables after the environment hook.
    pub async fn job(&self, id: &str, more: &[(&str, &str)]) -> Variables {
        let mut variables = self.instance_variables();
        variables.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let lookup = |name: &str| variables.get(name).cloned();
        let exports = registry::prepare(&self.layout, id, &lookup).await.expect("prepared");
        // In a test the library's own program is the test: the link must name the real one.
        let link = self.layout.job(id).join("docker/bin/docker-credential-tidemark");
        std::fs::remove_file(&link).expect("made");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_agent-bootstrap"), &link).expect("linked");
        variables.extend(exports.0);
        variables
    }

    /// Pushes an image with nothing but `variables`.
    pub async fn push(&self, variables: &Variables, registry: &Registry, tag: &str) -> Output {
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:latest", self.image.display()))
            .arg(format!("docker://{}/team/app:{tag}", registry.host()))
            .env_clear()
            .envs(variables)
            .output()
            .await
            .expect("skopeo is installed (make setup)")
    }

    /// Exit code and stdout of the helper.
    pub async fn helper(&self, variables: &Variables, operation: &str, input: &str) -> (i32, String) {
        let mut helper = Command::new(env!("CARGO_BIN_EXE_agent-bootstrap"));
        answered(helper.args(["docker-credential", operation]).env_clear().envs(variables), input).await
    }

    /// The helper with an empty environment, called by a shell that has the job's.
    pub async fn stripped(&self, variables: &Variables, input: &str) -> (i32, String) {
        let mut shell = Command::new("sh");
        let script = r#"env -i "$0" docker-credential get; exit $?"#;
        let program = env!("CARGO_BIN_EXE_agent-bootstrap");
        answered(shell.args(["-c", script, program]).env_clear().envs(variables), input).await
    }
}

async fn answered(command: &mut Command, input: &str) -> (i32, String) {
    let output = fed(command, input).await;
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An OCI layout with an image of no layers, tagged `latest`.
fn write_image(dir: &Path) -> std::io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let blob = |kind: &str, content: &serde_json::Value| -> std::io::Result<serde_json::Value> {
        let content = content.to_string();
        let digest = hex::encode(Sha256::digest(&content));
        std::fs::write(blobs.join(&digest), &content)?;
        let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() }))
    };
    let rootfs = json!({ "type": "layers", "diff_ids": [] });
    let config = blob("config", &json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs }))?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [] });
    let mut entry = blob("manifest", &manifest)?;
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    std::fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())?;
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}
