//! Many queues in one process: the time of a core and the calls that they take, on loopback.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, json};

use super::command_at;
use crate::services::{cpu, largest_rss_kib};

/// How long each is looked at: twice the longest time between looks at all groups.
const LOOKED_AT: Duration = Duration::from_secs(120);

/// Queues in each answer of the CI.
const LISTED: usize = 1000;

/// Groups on a page of AWS's.
const PAGE: usize = 100;

/// What a number of queues with a group each took.
pub struct Many {
    queues: usize,
    /// Of which so many have one job more or less at each tick.
    moving: usize,
    /// Part of a core, in millionths.
    cpu_ppm: u128,
    rss_kib: u64,
    describes: u64,
    describes_a_minute: f64,
}

impl Many {
    /// One line for each goal that is missed: 5 % of a core; two describes a minute for 50 groups at rest, four for 200.
    pub fn check(&self) -> Vec<String> {
        let mut passed = Vec::new();
        if self.cpu_ppm > 50_000 {
            passed.push(format!("{self}: over 5 % of a core"));
        }
        let most = if self.queues <= 50 { 2 } else { 4 };
        if self.moving == 0 && self.describes > most * LOOKED_AT.as_secs() / 60 {
            passed.push(format!("{self}: over {most} describes a minute"));
        }
        passed
    }
}

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, moving, cpu_ppm, rss_kib, describes_a_minute, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "megabytes and percents with few decimals")]
        let (rss, cpu) = (*rss_kib as f64 / 1024.0, *cpu_ppm as f64 / 1e4);
        write!(f, "| {queues} of {LISTED} | {moving} | {cpu:.2} % | {rss:.1} MB | {describes_a_minute:.1} |")
    }
}

#[derive(Clone)]
struct Served {
    groups: usize,
    moving: usize,
    ticks: Arc<AtomicU64>,
    describes: Arc<AtomicU64>,
}

/// All of them side by side: it is their own time that counts.
pub fn many(programs: &Path) -> Vec<Many> {
    std::thread::scope(|scope| {
        let each = [(50, 0), (200, 0), (200, 20)];
        let each = each.map(|(queues, moving)| scope.spawn(move || measure(programs, queues, moving)));
        each.into_iter().map(|one| one.join().expect("it was measured")).collect()
    })
}

fn measure(programs: &Path, queues: usize, moving: usize) -> Many {
    let served = Served { groups: queues, moving, ticks: Arc::default(), describes: Arc::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = listener.local_addr().expect("an address").to_string();
    let router =
        Router::new().route("/v3/metrics", get(metrics)).route("/", post(aws)).with_state(served.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                _ = stopped => {}
            }
        });
    });
    let document: String =
        (0..queues).map(|n| format!("- {{queue: queue-{n}, groups: [group-{n}]}}\n")).collect();
    let mut command = command_at(&url, programs, "run");
    command.env_remove("ASG_NAME").env_remove("BUILDKITE_QUEUE");
    command.env("SCALER_SETTINGS", format!("queues:\n{document}"));
    let mut child = command.spawn().expect("the program starts");
    // The first looks are over.
    while served.ticks.load(Ordering::SeqCst) < 3 {
        assert!(child.try_wait().expect("it can be asked").is_none(), "the scaler ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (cpu_before, before, began) = (cpu(&child), served.describes.load(Ordering::SeqCst), Instant::now());
    std::thread::sleep(LOOKED_AT);
    let (took, passed) = (cpu(&child) - cpu_before, began.elapsed());
    let describes = served.describes.load(Ordering::SeqCst) - before;
    let rss_kib = largest_rss_kib(&child);
    super::end(&mut child);
    let _ = stop.send(());
    serving.join().expect("it served");
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let describes_a_minute = describes as f64 * 60.0 / passed.as_secs_f64();
    let cpu_ppm = u128::from(took) * 1000 / passed.as_micros().max(1);
    Many { queues, moving, cpu_ppm, rss_kib, describes, describes_a_minute }
}

/// Two jobs run in each queue; those that move have three in every other tick.
async fn metrics(State(served): State<Served>) -> Response {
    let tick = served.ticks.fetch_add(1, Ordering::SeqCst);
    let running = |n: usize| if n < served.moving && tick % 2 == 1 { 3 } else { 2 };
    let total: usize = (0..LISTED).map(running).sum();
    let jobs: Map<_, _> = (0..LISTED)
        .map(|n| {
            let running = running(n);
            (
                format!("queue-{n}"),
                json!({"scheduled": 0, "running": running, "waiting": 0, "total": running}),
            )
        })
        .collect();
    let agents: Map<_, _> =
        (0..LISTED).map(|n| (format!("queue-{n}"), json!({"idle": 0, "busy": 2, "total": 2}))).collect();
    axum::Json(json!({
        "organization": { "slug": "ci" },
        "jobs": { "scheduled": 0, "running": total, "waiting": 0, "total": total, "queues": jobs },
        "agents": { "idle": 0, "busy": 2 * LISTED, "total": 2 * LISTED, "queues": agents },
    }))
    .into_response()
}

/// Groups of three instances at most, two in service: more is never asked for than is there.
async fn aws(State(served): State<Served>, body: String) -> Response {
    let field = |name: &str| body.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let action = field("Action").unwrap_or_default();
    let mut answer = String::new();
    if action == "DescribeAutoScalingGroups" {
        served.describes.fetch_add(1, Ordering::SeqCst);
        let begin: usize = field("NextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
        let end = (begin + PAGE).min(served.groups);
        answer.push_str("<AutoScalingGroups>");
        (begin..end).for_each(|n| answer.push_str(&group(n)));
        answer.push_str("</AutoScalingGroups>");
        if end < served.groups {
            answer.push_str(&format!("<NextToken>{end}</NextToken>"));
        }
    }
    format!("<{action}Response><{action}Result>{answer}</{action}Result></{action}Response>").into_response()
}

fn group(n: usize) -> String {
    let instance = |which: usize| {
        format!(
            "<member><InstanceId>i-{n}-{which}</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone>\
             <LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus>\
             <ProtectedFromScaleIn>true</ProtectedFromScaleIn></member>"
        )
    };
    format!(
        "<member><AutoScalingGroupName>group-{n}</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>3</MaxSize>\
         <DesiredCapacity>2</DesiredCapacity><Instances>{}{}</Instances><Tags><member><Key>tidemark:queue</Key>\
         <Value>queue-{n}</Value></member></Tags></member>",
        instance(0),
        instance(1)
    )
}
