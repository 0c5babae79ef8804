//! The scaler as Lambda runs it, and how soon it asks AWS for capacity: the real program, AWS and the CI on loopback.

mod by_url;
mod hint;
mod many;

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

pub use by_url::ByUrl;
pub use many::Many;

use crate::measure::{Measured, Once, measure};
use crate::services::largest_rss_kib;

/// Between two reads of the job counts.
pub const POLL: Duration = Duration::from_secs(2);

/// A day's burst.
const JOBS: u64 = 500;

/// What was measured.
pub struct Scaler {
    /// Many queues in one process.
    pub many: Vec<Many>,
    /// From the start of the process to its first question for work.
    pub init: Measured,
    /// From jobs that are runnable to the call for their capacity, without hints.
    pub reaction: Measured,
    /// From a webhook to the call for capacity, and the slowest of these but one in a hundred.
    pub hint: (Measured, Duration),
    /// From a webhook at the function's URL to the call for capacity.
    pub by_url: ByUrl,
    /// Calls that a burst of jobs took.
    pub writes: usize,
}

#[derive(Clone)]
struct Served {
    asked: Sender<Instant>,
    answered: Sender<()>,
    set: Sender<Instant>,
    jobs: Arc<Mutex<u64>>,
    desired: Arc<Mutex<u64>>,
    /// Events of invocations that are to be handed out.
    invocations: Arc<Mutex<VecDeque<String>>>,
    offered: Arc<tokio::sync::Notify>,
    /// Calls of the scaler's table.
    asked_table: Arc<Mutex<usize>>,
}

impl Served {
    fn offer(&self, event: String) {
        lock(&self.invocations).push_back(event);
        self.offered.notify_one();
    }
}

struct Around {
    url: String,
    asked: Receiver<Instant>,
    answered: Receiver<()>,
    set: Receiver<Instant>,
    served: Served,
    _runtime: tokio::runtime::Runtime,
}

impl Around {
    fn start() -> Self {
        let ((ask, asked), (reply, answered), (write, set)) = (channel(), channel(), channel());
        let served = Served {
            asked: ask,
            answered: reply,
            set: write,
            jobs: Arc::default(),
            desired: Arc::default(),
            invocations: Arc::default(),
            offered: Arc::default(),
            asked_table: Arc::default(),
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = listener.local_addr().expect("an address").to_string();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer_of))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/url", post(by_url::url))
            .route("/v3/metrics/queue", get(counts))
            .route("/", post(aws))
            .with_state(served.clone());
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { url, asked, answered, set, served, _runtime: runtime }
    }

    fn command(&self, programs: &Path, verb: &str) -> Command {
        command_at(&self.url, programs, verb)
    }

    /// From the start to the first question, and what one invocation leaves resident at most.
    fn init(&self, programs: &Path) -> Once {
        self.served.offer("{}".to_owned());
        let began = Instant::now();
        let mut child = self.command(programs, "lambda").spawn().expect("the program starts");
        let asked = self.asked.recv_timeout(Duration::from_secs(10)).expect("it asks for work");
        self.answered.recv_timeout(Duration::from_secs(10)).expect("it ends an invocation well");
        self.asked.recv_timeout(Duration::from_secs(10)).expect("it asks for more");
        let rss_kib = largest_rss_kib(&child);
        end(&mut child);
        Once { took: asked - began, rss_kib }
    }

    /// Jobs become runnable at some time between two looks.
    fn react(&self, child: &Child, round: u32) -> Once {
        *lock(&self.served.jobs) = 0;
        *lock(&self.served.desired) = 0;
        std::thread::sleep(Duration::from_millis(u64::from(round) * 173 % 2000));
        let _ = self.set.try_iter().count();
        *lock(&self.served.jobs) = JOBS;
        let runnable = Instant::now();
        let set = self.set.recv_timeout(POLL * 5).expect("capacity is asked for");
        Once { took: set - runnable, rss_kib: largest_rss_kib(child) }
    }
}

/// The program, with AWS and the CI at this address.
fn command_at(url: &str, programs: &Path, verb: &str) -> Command {
    let mut command = Command::new(programs.join("scaler"));
    command.arg(verb).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).envs([
        ("AWS_LAMBDA_RUNTIME_API", url),
        ("AWS_LAMBDA_FUNCTION_NAME", "scaler"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "scaler"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "scaler"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("ASG_NAME", "ci-instances"),
        ("BUILDKITE_QUEUE", "default"),
        ("BUILDKITE_AGENT_TOKEN", "token"),
        ("CLOUDWATCH_METRICS", "false"),
        ("LAMBDA_TIMEOUT", "1s"),
        ("LAMBDA_INTERVAL", "2s"),
    ]);
    let url = format!("http://{url}");
    command.env("AWS_ENDPOINT_URL", &url).env("BUILDKITE_AGENT_ENDPOINT", format!("{url}/v3"));
    command
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().expect("not poisoned")
}

fn end(child: &mut Child) {
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// Hands out an event as soon as there is one.
async fn next(State(served): State<Served>) -> Response {
    let now = Instant::now();
    // Before the question is heard of: the next process may be given one then.
    let given = lock(&served.invocations).pop_front();
    let _ = served.asked.send(now);
    let event = match given {
        Some(event) => event,
        None => loop {
            served.offered.notified().await;
            if let Some(event) = lock(&served.invocations).pop_front() {
                break event;
            }
        },
    };
    let headers = [
        ("lambda-runtime-aws-request-id", "1"),
        ("lambda-runtime-deadline-ms", "99999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:scaler"),
    ];
    (headers, event).into_response()
}

async fn answer_of(State(served): State<Served>, _: Bytes) -> StatusCode {
    let _ = served.answered.send(());
    StatusCode::ACCEPTED
}

/// Then the first invocation never ends well, and the bench says why.
async fn failed(body: String) -> StatusCode {
    eprintln!("bench: the scaler's invocation failed: {body}");
    StatusCode::ACCEPTED
}

async fn counts(State(served): State<Served>) -> Response {
    let scheduled = *lock(&served.jobs);
    axum::Json(json!({
        "organization": { "slug": "ci" },
        "jobs": { "scheduled": scheduled, "running": 0, "waiting": 0, "total": scheduled },
        "agents": { "idle": 0, "busy": 0, "total": 0 },
    }))
    .into_response()
}

async fn aws(State(served): State<Served>, headers: HeaderMap, body: String) -> Response {
    if headers.contains_key("x-amz-target") {
        // DynamoDB, of an empty table.
        *lock(&served.asked_table) += 1;
        return "{}".into_response();
    }
    let field = |name: &str| {
        body.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let action = field("Action").unwrap_or_default();
    let desired = match field("DesiredCapacity").and_then(|desired| desired.parse().ok()) {
        Some(desired) => {
            *lock(&served.desired) = desired;
            let _ = served.set.send(Instant::now());
            desired
        }
        None => *lock(&served.desired),
    };
    let answer = if action == "DescribeAutoScalingGroups" {
        format!(
            "<AutoScalingGroups><member><AutoScalingGroupName>ci-instances</AutoScalingGroupName><MinSize>0</MinSize>\
             <MaxSize>1000</MaxSize><DesiredCapacity>{desired}</DesiredCapacity><Tags><member><Key>tidemark:queue</Key>\
             <Value>default</Value></member></Tags></member></AutoScalingGroups>"
        )
    } else {
        String::new()
    };
    format!("<{action}Response><{action}Result>{answer}</{action}Result></{action}Response>").into_response()
}

/// The function's start, and the daemon's reaction to a burst.
pub fn scaler(programs: &Path) -> Scaler {
    let around = Around::start();
    let init = measure("scaler, start to first question (Lambda)", 30, || around.init(programs));
    let mut child = around.command(programs, "run").spawn().expect("the program starts");
    let (mut round, mut writes) = (0, 0);
    let reaction = measure("500 jobs runnable to capacity asked for, looks 2 s apart", 20, || {
        round += 1;
        let once = around.react(&child, round);
        // Everything that this burst still brings.
        std::thread::sleep(POLL + Duration::from_millis(500));
        writes = writes.max(1 + around.set.try_iter().count());
        once
    });
    end(&mut child);
    let hint = hint::reaction(&around, programs);
    let by_url = by_url::reaction(&around, programs);
    let many = many::many(programs);
    Scaler { many, init, reaction, hint, by_url, writes }
}
