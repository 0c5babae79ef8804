//! A server with a clock of its own, and agents that send exactly what a test says.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use build_server::{
    config::{Config, Intervals},
    serve::{self, Running},
};
use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const REGISTRATION: &str = "registration-token";

/// Seconds on the stage's clock.
pub const SECOND: i64 = 1000;

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        let content_type = self.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(content_type, Some("application/json"), "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.text))
    }

    /// The reason in an error's body.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("an error has a message").to_owned()
    }

    /// The same answer, which must be a success.
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
        self
    }
}

pub struct Stage {
    running: Option<Running>,
    config: Config,
    clock: Arc<AtomicI64>,
    http: Client,
    pub dir: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("registration-tokens");
        std::fs::write(&tokens, format!("{REGISTRATION}\n")).unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: dir.path().join("data"),
            registration_token_file: tokens,
            api_token_file: dir.path().join("api-token"),
            organization: "acme".into(),
            base_url: Some("https://ci.example/".into()),
            metrics_poll: 7,
            intervals: Intervals { ping: 1, job_status: 2, heartbeat: 10 },
            log_bytes_limit: 1_000_000,
        };
        change(&mut config);
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
        let mut stage = Self { running: None, config, clock, http: Client::new(), dir };
        stage.start().await;
        stage
    }

    async fn start(&mut self) {
        let clock = Arc::clone(&self.clock);
        let clock = Arc::new(move || clock.load(Ordering::SeqCst));
        self.running = Some(serve::start_at(self.config.clone(), clock).await.unwrap());
    }

    /// Stops the server and starts another on the same folder, at another port.
    pub async fn restart(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
        self.start().await;
    }

    pub fn advance(&self, milliseconds: i64) {
        self.clock.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        self.running.as_ref().unwrap().address.clone()
    }

    pub async fn send(&self, method: Method, path: &str, auth: &str, body: Option<Value>) -> Answer {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url())).header("authorization", auth);
        // As stock agents: a body has a content type, no body has none.
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        } else {
            request = request.header("content-length", 0);
        }
        answer(request).await
    }

    pub async fn registration(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(method, path, &format!("Token {REGISTRATION}"), body).await
    }

    pub async fn user(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let token = std::fs::read_to_string(&self.config.api_token_file).unwrap();
        self.send(method, path, &format!("Bearer {}", token.trim()), body).await
    }

    /// Makes a build of these jobs.
    pub async fn build(&self, jobs: Value) -> Value {
        let body = json!({"pipeline": "app", "repo": "https://github.com/acme/app.git", "jobs": jobs});
        self.user(Method::POST, "/api/builds", Some(body)).await.ok().json()
    }

    pub async fn job(&self, number: &Value, place: usize) -> Value {
        self.user(Method::GET, &format!("/api/builds/{number}"), None).await.ok().json()["jobs"][place]
            .clone()
    }

    pub async fn cancel(&self, number: &Value) {
        self.user(Method::PUT, &format!("/api/builds/{number}/cancel"), None).await.ok();
    }

    /// Waits until the build's first job is in a state, and gives it.
    pub async fn job_becomes(&self, number: &Value, state: &str) -> Value {
        for _ in 0..1200 {
            let job = self.job(number, 0).await;
            if job["state"] == state {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the job is {} and not {state}", self.job(number, 0).await["state"]);
    }

    /// A registered and connected agent.
    pub async fn agent(&self, more: Value) -> Agent<'_> {
        let mut body = json!({"name": "a-1", "version": "3.18.0", "meta_data": ["queue=default"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.registration(Method::POST, "/v3/register", Some(body)).await.ok().json();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        let agent = Agent { stage: self, id: text("id"), token: text("access_token") };
        agent.post("/connect", None).await.ok();
        agent
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

pub struct Agent<'a> {
    pub stage: &'a Stage,
    pub id: String,
    pub token: String,
}

impl Agent<'_> {
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.stage.send(method, &format!("/v3{path}"), &format!("Token {}", self.token), body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Option<Value>) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Option<Value>) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    /// The job that a ping names.
    pub async fn pinged(&self) -> Option<String> {
        let ping = self.get("/ping").await.ok().json();
        ping["job"]["id"].as_str().map(str::to_owned)
    }

    /// Pings, accepts and starts.
    pub async fn runs(&self) -> String {
        let job = self.pinged().await.expect("a job waits");
        self.put(&format!("/jobs/{job}/accept"), None).await.ok();
        self.put(&format!("/jobs/{job}/start"), Some(json!({"started_at": "2027-01-15T08:00:00Z"})))
            .await
            .ok();
        job
    }

    pub async fn state(&self, job: &str) -> Value {
        self.get(&format!("/jobs/{job}")).await.ok().json()["state"].clone()
    }

    pub async fn finish(&self, job: &str, exit_status: &str) -> Answer {
        let body = json!({"exit_status": exit_status, "finished_at": "2027-01-15T08:00:01Z", "chunks_failed_count": 0});
        self.put(&format!("/jobs/{job}/finish"), Some(body)).await
    }

    pub async fn chunk(&self, job: &str, sequence: i64, bytes: &[u8]) -> Answer {
        self.raw_chunk(job, &format!("sequence={sequence}&offset=0&size={}", bytes.len()), gzip(bytes)).await
    }

    pub async fn raw_chunk(&self, job: &str, query: &str, body: Vec<u8>) -> Answer {
        let url = format!("{}/v3/jobs/{job}/chunks?{query}", self.stage.url());
        let request = self.stage.http.post(url).header("authorization", format!("Token {}", self.token));
        answer(request.header("content-type", "text/plain").header("content-encoding", "gzip").body(body))
            .await
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
