//! What an instance sees of AWS: its metadata, and the few calls that boot makes, each remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};

/// What AWS answers: a value, or an error's code and message.
pub type Answer = Result<String, (&'static str, &'static str)>;

/// The world, as the test sets it.
pub struct World {
    pub metadata: BTreeMap<String, String>,
    pub secret: Answer,
    pub parameters: BTreeMap<String, String>,
    /// Objects by `bucket/key`, and files of a web server by `web/path`.
    pub objects: BTreeMap<String, String>,
    /// Action to the error that it is answered with, so many times.
    pub refusals: BTreeMap<&'static str, (usize, &'static str, &'static str)>,
    /// Metadata paths and actions that are never answered.
    pub silent: BTreeSet<String>,
    /// Those of them that were asked for, and how often.
    pub unanswered: BTreeMap<String, usize>,
    /// The instance's state in its group.
    pub state: &'static str,
    /// The least that its group may hold.
    pub min: u32,
    /// What its group has recorded: an instance, the status of its launch, seconds ago that it began and ended.
    pub launches: Vec<(&'static str, &'static str, u64, Option<u64>)>,
    /// Does CloudFormation wait for signals?
    pub creating: bool,
    pub calls: Vec<String>,
    /// Bodies of PutMetricData.
    pub metrics: Vec<String>,
}

pub type Shared = Arc<Mutex<World>>;

/// Serves it; the URL of everything.
pub async fn serve(world: &Shared) -> String {
    let router = Router::new()
        .route(
            "/latest/api/token",
            put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "60")], "imds") }),
        )
        .route("/latest/{*path}", get(metadata_at))
        .route("/", post(aws_call))
        .route("/service/{service}/operation/{operation}", post(cbor_call))
        .route("/{*path}", get(object))
        .with_state(Arc::clone(world));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

impl World {
    /// The error that an action is to be answered with now.
    fn refusal(&mut self, action: &str) -> Option<(&'static str, &'static str)> {
        let (times, code, message) = self.refusals.get_mut(action).filter(|(times, ..)| *times > 0)?;
        *times -= 1;
        Some((code, message))
    }
}

async fn silence(world: &Shared, what: &str) {
    let is_silent = || world.lock().unwrap().silent.contains(what);
    if is_silent() {
        *world.lock().unwrap().unanswered.entry(what.to_owned()).or_default() += 1;
    }
    while is_silent() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn metadata_at(State(world): State<Shared>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    silence(&world, &path).await;
    if headers.get("x-aws-ec2-metadata-token").is_none_or(|token| token != "imds") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match world.lock().unwrap().metadata.get(&path) {
        Some(text) => text.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn object(State(world): State<Shared>, Path(path): Path<String>) -> Response {
    silence(&world, &path).await;
    let mut world = world.lock().unwrap();
    world.calls.push(format!("GET {path}"));
    match world.objects.get(&path) {
        Some(text) => text.clone().into_response(),
        None => (
            StatusCode::NOT_FOUND,
            "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>",
        )
            .into_response(),
    }
}

async fn cbor_call(
    State(world): State<Shared>,
    Path((_, operation)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    silence(&world, &operation).await;
    let mut world = world.lock().unwrap();
    world.calls.push(operation);
    world.metrics.push(String::from_utf8_lossy(&body).into_owned());
    ([("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")], vec![0xa0_u8])
        .into_response()
}

async fn aws_call(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    match headers.get("x-amz-target") {
        Some(target) => json_call(&world, target.to_str().unwrap(), &body).await,
        None => query_call(&world, std::str::from_utf8(&body).unwrap()).await,
    }
}

async fn json_call(world: &Shared, target: &str, body: &[u8]) -> Response {
    silence(world, target).await;
    let mut world = world.lock().unwrap();
    let asked: Value = serde_json::from_slice(body).unwrap();
    let (named, answer) = match target {
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
    world.calls.push(format!("{target} {}", named.as_str().unwrap()));
    let answer = world.refusal(target).map_or(answer, Err);
    match answer {
        Ok(value) => value.to_string().into_response(),
        Err((code, message)) => {
            let status = if code.starts_with("Internal") {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::BAD_REQUEST
            };
            (status, json!({ "__type": code, "message": message }).to_string()).into_response()
        }
    }
}

/// The protocol of Auto Scaling and CloudFormation.
async fn query_call(world: &Shared, body: &str) -> Response {
    let field =
        |name: &str| body.split('&').find_map(|p| p.strip_prefix(&format!("{name}="))).unwrap_or_default();
    let action = field("Action");
    silence(world, action).await;
    let mut world = world.lock().unwrap();
    let named = match action {
        "SetInstanceHealth" => format!("{} {}", field("InstanceId"), field("HealthStatus")),
        "CompleteLifecycleAction" => {
            format!("{} {}", field("LifecycleHookName"), field("LifecycleActionResult"))
        }
        "RecordLifecycleActionHeartbeat" => field("LifecycleHookName").to_owned(),
        "SignalResource" => {
            format!("{}/{} {}", field("StackName"), field("LogicalResourceId"), field("Status"))
        }
        _ => String::new(),
    };
    world.calls.push(format!("{action} {named}").trim_end().to_owned());
    let answer = world.refusal(action).map_or_else(|| world.group(action, &named), Err);
    match answer {
        Ok(result) => {
            format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")
                .into_response()
        }
        Err((code, message)) => {
            let xml = format!(
                "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            );
            let status = if code == "AccessDenied" { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
            (status, xml).into_response()
        }
    }
}

impl World {
    /// The group and the stack, as far as boot meets them.
    fn group(&mut self, action: &str, named: &str) -> Answer {
        let none = Err(("ValidationError", "No active Lifecycle Action found with instance ID i-0abc"));
        match (action, named, self.state) {
            ("CompleteLifecycleAction", "launching CONTINUE", "Pending:Wait") => self.state = "InService",
            ("CompleteLifecycleAction", "launching CONTINUE", "Warmed:Pending:Wait") => {
                self.state = "Warmed:Running";
            }
            ("CompleteLifecycleAction", "launching ABANDON", "Pending:Wait") => {
                self.state = "Terminating:Wait"
            }
            ("CompleteLifecycleAction", "terminating CONTINUE", "Terminating:Wait") => {
                self.state = "Terminating:Proceed";
            }
            ("CompleteLifecycleAction", ..) => return none,
            ("RecordLifecycleActionHeartbeat", "launching", "Pending:Wait" | "Warmed:Pending:Wait") => {}
            ("RecordLifecycleActionHeartbeat", ..) => return none,
            ("DescribeScalingActivities", ..) => return Ok(self.activities()),
            ("DescribeAutoScalingGroups", ..) => {
                return Ok(format!(
                    "<AutoScalingGroups><member><AutoScalingGroupName>ci-instances</AutoScalingGroupName><MinSize>{}\
                     </MinSize><MaxSize>9</MaxSize><DesiredCapacity>1</DesiredCapacity><Instances><member><InstanceId>\
                     i-0abc</InstanceId><LifecycleState>{}</LifecycleState></member></Instances></member>\
                     </AutoScalingGroups>",
                    self.min, self.state
                ));
            }
            ("SignalResource", ..) if !self.creating => {
                return Err(("ValidationError", "Stack is in CREATE_COMPLETE state and can not be signaled"));
            }
            ("DescribeAutoScalingInstances", ..) => {
                let state = self.state;
                // The machine came up: from now on the hook waits.
                if state == "Pending" {
                    self.state = "Pending:Wait";
                }
                return Ok(format!(
                    "<AutoScalingInstances><member><InstanceId>i-0abc</InstanceId><AutoScalingGroupName>ci-instances\
                     </AutoScalingGroupName><AvailabilityZone>us-east-1a</AvailabilityZone><LifecycleState>{state}\
                     </LifecycleState><HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>true\
                     </ProtectedFromScaleIn></member></AutoScalingInstances>"
                ));
            }
            _ => {}
        }
        Ok(String::new())
    }

    fn activities(&self) -> String {
        let now = jiff::Timestamp::now();
        let at = |ago: u64| now - std::time::Duration::from_secs(ago);
        let launches = self.launches.iter().map(|(instance, status, began, ended)| {
            let ended = ended.map(|ago| format!("<EndTime>{}</EndTime>", at(ago))).unwrap_or_default();
            format!(
                "<member><Description>Launching a new EC2 instance: {instance}</Description><StatusCode>{status}\
                 </StatusCode><StartTime>{}</StartTime>{ended}</member>",
                at(*began)
            )
        });
        format!("<Activities>{}</Activities>", launches.collect::<String>())
    }
}
