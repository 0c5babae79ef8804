//! A CI, an AWS and a Lambda runtime API on loopback, each misbehaving as told, and the real program before them.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;

/// How the CI answers.
#[derive(Clone)]
pub enum Ci {
    Answers(u16, String),
    FailsThen(u32, String),
    /// Once too often, with this `Retry-After`; then as it says.
    TooOften(&'static str, String),
    Silent,
    HangsUp,
}

impl Ci {
    pub fn json(body: Value) -> Self {
        Self::Answers(200, body.to_string())
    }

    pub fn status(code: u16, body: &str) -> Self {
        Self::Answers(code, body.to_owned())
    }

    /// Fails a whole tick: the first try and the second.
    pub fn fails_a_tick_then(body: Value) -> Self {
        Self::FailsThen(2, body.to_string())
    }
}

/// What the Stacks API answers: status, body (`NEXT` stands for a cursor that never repeats) and date.
type Listed = (u16, String, Option<String>);

struct World {
    ci: Mutex<Ci>,
    /// When the CI was asked for counts.
    asked: Mutex<Vec<Instant>>,
    listed: Mutex<Listed>,
    token: Mutex<String>,
    secret: Mutex<String>,
    secret_reads: Mutex<usize>,
    rotation: Mutex<Option<(usize, String)>>,
    refusal: Mutex<Option<(String, u16, String)>>,
    /// When boots failed.
    failed_boots: Mutex<Vec<jiff::Timestamp>>,
    desired: Mutex<Vec<u32>>,
    published: Mutex<usize>,
    invoked: Mutex<bool>,
    answer: Mutex<Option<Value>>,
    answered: Notify,
}

pub struct Stage {
    world: Arc<World>,
    ci: String,
    aws: String,
    runtime: String,
}

pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The one decision record of the run.
    pub fn record(&self) -> Value {
        self.stdout
            .lines()
            .last()
            .map_or(Value::Null, |line| serde_json::from_str(line).expect("a JSON line"))
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

impl Stage {
    pub async fn start(ci: Ci) -> Self {
        let world = Arc::new(World {
            ci: Mutex::new(ci.clone()),
            asked: Mutex::default(),
            listed: Mutex::default(),
            token: Mutex::new("the-token".into()),
            secret: Mutex::default(),
            secret_reads: Mutex::default(),
            rotation: Mutex::default(),
            refusal: Mutex::default(),
            failed_boots: Mutex::default(),
            desired: Mutex::default(),
            published: Mutex::default(),
            invoked: Mutex::default(),
            answer: Mutex::default(),
            answered: Notify::new(),
        });
        let ci_address = if matches!(ci, Ci::HangsUp) {
            hangs_up().await
        } else {
            let ci = Router::new()
                .route("/v3/metrics/queue", get(metrics))
                .route("/v3/stacks/register", post(async |body: axum::Json<Value>| body))
                .route("/v3/stacks/{key}/scheduled-jobs", get(scheduled_jobs));
            serve(ci.with_state(world.clone())).await
        };
        let aws = serve(Router::new().fallback(any(aws)).with_state(world.clone())).await;
        let runtime = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(answered))
            .with_state(world.clone());
        let runtime = serve(runtime).await;
        Self { world, ci: ci_address, aws, runtime }
    }

    pub fn keep_secret(&self, value: &str) {
        *self.world.secret.lock().unwrap() = value.into();
    }

    /// From the CI's third answer on, only `value` is accepted, and the secret holds it.
    pub fn rotate_at_third_read(&self, value: &str) {
        *self.world.rotation.lock().unwrap() = Some((3, value.into()));
    }

    /// What the Stacks API answers, always.
    pub fn list(&self, status: u16, body: &str, date: Option<&str>) {
        *self.world.listed.lock().unwrap() = (status, body.to_owned(), date.map(str::to_owned));
    }

    /// When the CI was asked for counts, so far.
    pub fn asked(&self) -> Vec<Instant> {
        self.world.asked.lock().unwrap().clone()
    }

    pub fn secret_reads(&self) -> usize {
        *self.world.secret_reads.lock().unwrap()
    }

    /// Refuses calls of Auto Scaling whose names begin so.
    pub fn refuse_autoscaling(&self, action: &str, status: u16, code: &str, message: &str) {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>r</RequestId></ErrorResponse>"
        );
        *self.world.refusal.lock().unwrap() = Some((action.to_owned(), status, body));
    }

    /// An instance of the group failed to boot just now.
    pub fn fail_a_boot(&self) {
        self.world.failed_boots.lock().unwrap().push(jiff::Timestamp::now());
    }

    pub fn desired_set(&self) -> Vec<u32> {
        self.world.desired.lock().unwrap().clone()
    }

    pub fn published(&self) -> usize {
        *self.world.published.lock().unwrap()
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaler"));
        command
            .args(arguments)
            .env_clear()
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.aws))
            .env("BUILDKITE_AGENT_ENDPOINT", format!("http://{}/v3", self.ci))
            .env("BUILDKITE_AGENT_TOKEN", "the-token")
            .env("ASG_NAME", "g")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        let output = self.command(arguments, environment).output().await.expect("the scaler starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub async fn once(&self, environment: &[(&str, &str)]) -> Run {
        self.run(&["once"], environment).await
    }

    /// One invocation of `scaler lambda`; its answer, or its error document.
    pub async fn invoke(&self, environment: &[(&str, &str)]) -> Value {
        let mut command = self.command(&["lambda"], environment);
        command
            .env("AWS_LAMBDA_RUNTIME_API", &self.runtime)
            .env("AWS_LAMBDA_FUNCTION_NAME", "scaler")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "s")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "g")
            .stdout(Stdio::null());
        let child = command.spawn().expect("the scaler starts");
        self.world.answered.notified().await;
        drop(child);
        self.world.answer.lock().unwrap().take().expect("an answer")
    }
}

/// Accepts connections and closes them at once.
async fn hangs_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    address
}

async fn metrics(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    world.asked.lock().unwrap().push(Instant::now());
    rotate(&world);
    let expected = format!("Token {}", world.token.lock().unwrap());
    if headers.get("authorization").is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, r#"{"message":"Invalid token"}"#).into_response();
    }
    let ci = world.ci.lock().unwrap().clone();
    match ci {
        Ci::Answers(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Ci::FailsThen(left, body) => {
            *world.ci.lock().unwrap() =
                if left > 1 { Ci::FailsThen(left - 1, body) } else { Ci::Answers(200, body) };
            StatusCode::BAD_GATEWAY.into_response()
        }
        Ci::TooOften(retry_after, body) => {
            *world.ci.lock().unwrap() = Ci::Answers(200, body);
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", retry_after)], "slow down").into_response()
        }
        Ci::Silent => std::future::pending().await,
        Ci::HangsUp => unreachable!("another server"),
    }
}

async fn scheduled_jobs(State(world): State<Arc<World>>, uri: axum::http::Uri) -> Response {
    let (status, body, date) = world.listed.lock().unwrap().clone();
    let page: u32 = uri.query().and_then(|query| query.split_once("after=")?.1.parse().ok()).unwrap_or(0);
    let body = body.replace("NEXT", &(page + 1).to_string());
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    if let Some(date) = date {
        answer.headers_mut().insert("date", date.parse().unwrap());
    }
    answer
}

/// Counts the CI's answers down to the rotation.
fn rotate(world: &World) {
    let mut rotation = world.rotation.lock().unwrap();
    if let Some((left, value)) = rotation.as_mut() {
        *left -= 1;
        if *left == 0 {
            *world.token.lock().unwrap() = value.clone();
            *world.secret.lock().unwrap() = value.clone();
            *rotation = None;
        }
    }
}

async fn aws(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
    if target.ends_with("GetSecretValue") {
        *world.secret_reads.lock().unwrap() += 1;
        let value = world.secret.lock().unwrap().clone();
        return axum::Json(json!({"ARN": "arn:aws:secretsmanager:us-east-1:1:secret:t", "Name": "token-secret", "SecretString": value})).into_response();
    }
    let authorization = headers.get("authorization").and_then(|a| a.to_str().ok()).unwrap_or_default();
    if authorization.contains("/monitoring/") || uri.path().contains("PutMetricData") {
        *world.published.lock().unwrap() += 1;
        return cloudwatch_answer(&headers);
    }
    let form = String::from_utf8_lossy(&body).into_owned();
    if let Some((action, status, body)) = world.refusal.lock().unwrap().clone()
        && form.contains(&format!("Action={action}"))
    {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    if form.contains("Action=DescribeScalingActivities") {
        return activities(&world.failed_boots.lock().unwrap()).into_response();
    }
    if form.contains("Action=SetDesiredCapacity") {
        let desired =
            form.split('&').find_map(|p| p.strip_prefix("DesiredCapacity=")).unwrap().parse().unwrap();
        world.desired.lock().unwrap().push(desired);
        return "<SetDesiredCapacityResponse/>".into_response();
    }
    describe(form.contains("member.1=g&") || form.ends_with("member.1=g")).into_response()
}

/// CloudWatch's answer to PutMetricData is empty, in whichever protocol the SDK asked.
fn cloudwatch_answer(headers: &HeaderMap) -> Response {
    match headers.get("smithy-protocol") {
        Some(protocol) => ([("smithy-protocol", protocol.clone())], [0xa0u8].to_vec()).into_response(),
        None => "<PutMetricDataResponse/>".into_response(),
    }
}

fn describe(known: bool) -> String {
    let instance = |id: &str| {
        format!(
            "<member><InstanceId>{id}</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone>\
             <LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus>\
             <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let group = format!(
        "<member><AutoScalingGroupName>g</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>5</MaxSize>\
         <DesiredCapacity>2</DesiredCapacity><Instances>{}{}</Instances></member>",
        instance("i-1"),
        instance("i-2")
    );
    format!(
        "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups>{}\
         </AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>",
        if known { group.as_str() } else { "" }
    )
}

fn activities(failed_boots: &[jiff::Timestamp]) -> String {
    let launches = failed_boots.iter().rev().map(|at| {
        format!(
            "<member><ActivityId>{at}</ActivityId><AutoScalingGroupName>g</AutoScalingGroupName>\
             <Description>Launching a new EC2 instance: i-0bad</Description><Cause>At 10:00 …</Cause>\
             <StartTime>{at}</StartTime><EndTime>{at}</EndTime><StatusCode>Cancelled</StatusCode>\
             <StatusMessage>Instance failed to complete user's Lifecycle Action</StatusMessage></member>"
        )
    });
    format!(
        "<DescribeScalingActivitiesResponse><DescribeScalingActivitiesResult><Activities>{}</Activities>\
         </DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>",
        launches.collect::<String>()
    )
}

async fn next(State(world): State<Arc<World>>) -> Response {
    let first = !std::mem::replace(&mut *world.invoked.lock().unwrap(), true);
    if !first {
        return std::future::pending().await;
    }
    let deadline = jiff::Timestamp::now().as_millisecond() + 60_000;
    let headers = [
        ("lambda-runtime-aws-request-id", "r-1".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:scaler".to_owned()),
    ];
    (headers, "{}").into_response()
}

async fn answered(State(world): State<Arc<World>>, body: Bytes) -> StatusCode {
    *world.answer.lock().unwrap() = serde_json::from_slice(&body).ok();
    world.answered.notify_one();
    StatusCode::ACCEPTED
}
