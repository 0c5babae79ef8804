//! S3 in memory, as far as a job's prelude asks it, with a round trip that can be set: each new connection and each
//! answer takes one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555";

/// What the prelude finds: two env files, one key, one git-credentials, like most pipelines.
fn object(key: &str, ssh_key: &str) -> Option<String> {
    match key {
        "env" => Some("TEAM=platform\nGREETING=hello from the root\n".to_owned()),
        "app/env" => Some("GREETING='hello from app'\nDATABASE=postgres://localhost/app\n".to_owned()),
        "app/private_ssh_key" => Some(ssh_key.to_owned()),
        "git-credentials" => Some("https://me:s3cret@example.com\n".to_owned()),
        _ => None,
    }
}

#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    connections: AtomicUsize,
    /// When each call came in, to tell round trips apart.
    times: Mutex<Vec<Instant>>,
}

struct World {
    delay: Duration,
    ssh_key: String,
    seen: Seen,
}

/// Counts since the last [`Bucket::forget`].
pub struct Counted {
    pub calls: usize,
    pub rounds: usize,
    pub connections: usize,
}

/// The server, on its own thread.
pub struct Bucket {
    address: std::net::SocketAddr,
    world: Arc<World>,
}

impl Bucket {
    pub fn start(delay: Duration) -> Self {
        let world = Arc::new(World { delay, ssh_key: ssh_key(), seen: Seen::default() });
        let served = world.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                sender.send(listener.local_addr().expect("bound")).expect("the bench waits");
                let router = Router::new().fallback(answer).with_state(served.clone());
                let listener = Delayed { listener, world: served };
                axum::serve(listener, router).await.expect("serves");
            });
        });
        Self { address: receiver.recv().expect("the server is up"), world }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn forget(&self) {
        self.world.seen.calls.store(0, Ordering::Relaxed);
        self.world.seen.connections.store(0, Ordering::Relaxed);
        self.world.seen.times.lock().expect("not poisoned").clear();
    }

    /// What came in since then.
    pub fn counted(&self) -> Counted {
        let times = self.world.seen.times.lock().expect("not poisoned");
        let apart = self.world.delay.max(Duration::from_millis(2)) / 2;
        let gaps = times.windows(2).filter(|pair| pair[1].duration_since(pair[0]) > apart).count();
        Counted {
            calls: self.world.seen.calls.load(Ordering::Relaxed),
            rounds: gaps + 1,
            connections: self.world.seen.connections.load(Ordering::Relaxed),
        }
    }
}

/// A listener on which each connection takes one round trip to come up.
struct Delayed {
    listener: TcpListener,
    world: Arc<World>,
}

impl axum::serve::Listener for Delayed {
    type Io = TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (TcpStream, Self::Addr) {
        loop {
            if let Ok(accepted) = self.listener.accept().await {
                self.world.seen.connections.fetch_add(1, Ordering::Relaxed);
                return accepted;
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn answer(State(world): State<Arc<World>>, uri: Uri) -> Response {
    world.seen.calls.fetch_add(1, Ordering::Relaxed);
    world.seen.times.lock().expect("not poisoned").push(Instant::now());
    tokio::time::sleep(world.delay).await;
    if uri.query().is_some_and(|query| query.contains("list-type=2")) {
        return r#"<?xml version="1.0"?><ListBucketResult><Name>secrets</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"#
            .into_response();
    }
    let key = uri.path().trim_start_matches("/secrets/");
    match object(key, &world.ssh_key) {
        Some(body) => (
            [
                ("x-amz-server-side-encryption", "aws:kms"),
                ("x-amz-server-side-encryption-aws-kms-key-id", KEY),
            ],
            body,
        )
            .into_response(),
        None => {
            let missing =
                "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
            (StatusCode::NOT_FOUND, missing).into_response()
        }
    }
}

fn ssh_key() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let status = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&file)
        .status()
        .expect("ssh-keygen runs");
    assert!(status.success());
    std::fs::read_to_string(file).expect("a key")
}
