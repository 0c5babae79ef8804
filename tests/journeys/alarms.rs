//! Alarms mode: the scaler publishes, the stack's own alarms and step policies resize. A minute of AWS lasts some seconds.

use std::time::{Duration, Instant};

use lab::alarms::policy::{Step, StepPolicy};
use lab::group::model::{Group, Lifecycle};
use lab::lab::LabOptions;
use serde_json::Value;

use crate::counts::{Answer, Counts};
use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";

/// A lab whose minutes last so many seconds, and a scaler that keeps up with it.
pub fn hurried(seconds: u64, more: Vec<(String, String)>) -> LabOptions {
    let pace = [
        ("PUBLISH_EVERY", format!("{seconds}s")),
        ("LAMBDA_TIMEOUT", format!("{}ms", seconds * 700)),
        ("LAMBDA_INTERVAL", "500ms".to_owned()),
    ];
    let pace = pace.map(|(name, value)| (name.to_owned(), value));
    LabOptions {
        minute: Some(Duration::from_secs(seconds)),
        function_environment: pace.into_iter().chain(more).collect(),
        ..LabOptions::default()
    }
}

fn protected(group: &Group) -> usize {
    let held = |lifecycle| matches!(lifecycle, Lifecycle::Pending | Lifecycle::PendingWait);
    let protected = |member: &&lab::group::model::Member| {
        held(member.lifecycle) || (member.lifecycle == Lifecycle::InService && member.protected)
    };
    group.members.iter().filter(protected).count()
}

/// Waits until the group is as `wanted`; meanwhile desired capacity is never beneath what is protected.
async fn until(scene: &Scene, what: &str, wanted: impl Fn(&Group) -> bool) -> Group {
    let mut changes = scene.lab.groups().changes();
    let begun = Instant::now();
    loop {
        let group = scene.group();
        assert!(group.desired as usize >= protected(&group), "a debt: {group:?}");
        if wanted(&group) {
            return group;
        }
        assert!(begun.elapsed() < PATIENCE, "not {what}: {group:?}");
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
    }
}

async fn alarm_states(scene: &Scene) -> Vec<(String, String)> {
    let said = scene.aws(&["cloudwatch", "describe-alarms"]).await;
    let read: Value = serde_json::from_str(&said.stdout).unwrap();
    let state = |alarm: &Value| {
        (alarm["AlarmName"].as_str().unwrap().to_owned(), alarm["StateValue"].as_str().unwrap().to_owned())
    };
    read["MetricAlarms"].as_array().unwrap().iter().map(state).collect()
}

/// Waits until the alarm of this logical id is in this state.
pub async fn alarm_until(scene: &Scene, logical: &str, state: &str) {
    let name = &scene.stack.resources[logical];
    let begun = Instant::now();
    loop {
        let states = alarm_states(scene).await;
        if states.iter().any(|(alarm, is)| alarm == name && is == state) {
            return;
        }
        let last = || scene.lab.schedules().invocations().into_iter().rev().take(3).collect::<Vec<_>>();
        assert!(begun.elapsed() < PATIENCE, "{logical} is not {state}: {states:?} {:?}", last());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whatever the gap, a policy never does more than it, and no less than half of it (a quarter when it shrinks) where the
/// stack may grow that far.
fn steps_round_towards_zero(policies: &Value) {
    let all = policies["ScalingPolicies"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{policies}");
    for policy in all {
        let step = |read: &Value| Step {
            lower: read["MetricIntervalLowerBound"].as_f64(),
            upper: read["MetricIntervalUpperBound"].as_f64(),
            adjustment: read["ScalingAdjustment"].as_i64().unwrap(),
        };
        let steps: Vec<Step> = policy["StepAdjustments"].as_array().unwrap().iter().map(step).collect();
        let grows = steps[0].adjustment > 0;
        let (arn, name, group) = (String::new(), String::new(), String::new());
        let policy = StepPolicy { arn, name, group, warm_up: Duration::ZERO, steps };
        for size in 1..=1000i32 {
            let (gap, threshold) = if grows { (size, 1) } else { (-size, -1) };
            let step = i32::try_from(policy.adjustment(f64::from(gap - threshold)).unwrap()).unwrap();
            assert_eq!(step.signum(), gap.signum(), "{gap}");
            assert!(step.abs() <= size, "{gap}: {step}");
            assert!(size >= 80 || step.abs() * if grows { 2 } else { 4 } > size, "{gap}: {step}");
            assert!(size > 4 || !grows || step == gap, "small ones are exact: {gap}: {step}");
        }
    }
}

#[tokio::test]
async fn a_stack_in_alarms_mode_goes_from_zero_to_its_jobs_and_back() {
    let parameters = [("ScalingMode", "alarms"), ("MaxSize", "4"), ("Settings", SETTINGS)];
    let scene = Scene::of(hurried(3, Vec::new()), &parameters).await;
    let said = scene.aws(&["autoscaling", "describe-policies"]).await;
    steps_round_towards_zero(&serde_json::from_str(&said.stdout).unwrap());
    scene.lab.schedules().release();

    let gate = |n: usize| scene.lab.folder().join(format!("gate-{n}"));
    let mut jobs = Vec::new();
    for n in 0..3 {
        let command = format!("while [ ! -e '{}' ]; do sleep 0.1; done; echo done", gate(n).display());
        jobs.push(scene.queue("app", &command).await);
    }
    let group = until(&scene, "grown to its jobs", |g| g.in_service() == 3).await;
    assert_eq!(group.desired, 3);
    let grown = group.activities.iter().find(|a| a.description.starts_with("Launching")).unwrap();
    let name = &scene.stack.resources["GroupLacks"];
    assert!(
        grown.cause.contains(&format!("a monitor alarm {name} in state ALARM triggered policy")),
        "{grown:?}"
    );
    for job in &jobs {
        scene.job_until(job, &["running"]).await;
    }

    // Two are done: one of two idle instances goes, beside one that is busy.
    for n in 0..2 {
        std::fs::write(gate(n), "").unwrap();
    }
    let group = until(&scene, "one less", |g| g.members.len() == 2).await;
    assert_eq!(group.desired, 2);
    scene.job_until(&jobs[2], &["running"]).await;

    std::fs::write(gate(2), "").unwrap();
    until(&scene, "empty", |g| g.members.is_empty() && g.desired == 0).await;
    for job in &jobs {
        assert_eq!(scene.ended(job).await.0, 0, "{}", scene.log(job).await);
    }
    assert_eq!(scene.calls("autoscaling:SetDesiredCapacity", ""), 0, "the scaler only publishes");
    alarm_until(&scene, "GroupSpares", "OK").await;
    alarm_until(&scene, "GroupLacks", "OK").await;
    let mut explain = tokio::process::Command::new(scene.lab.programs().join("scaler"));
    explain.args(["explain", "--stack", "ci", "--last", "50"]).envs(scene.lab.admin_environment());
    let told = String::from_utf8(explain.output().await.unwrap().stdout).unwrap();
    assert!(told.contains("at 0, wants 3 instances, CapacityGap 3 for the alarms: 3 jobs"), "{told}");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn in_alarms_mode_spot_comes_first_and_on_demand_where_aws_has_none() {
    let environment = vec![("LAUNCH_PATIENCE".to_owned(), "4s".to_owned())];
    let parameters =
        [("ScalingMode", "alarms"), ("SpotPrice", "0.05"), ("MaxSize", "2"), ("Settings", SETTINGS)];
    let scene = Scene::of(hurried(2, environment), &parameters).await;
    let spot = async |wanted: fn(&Group) -> bool| {
        scene.lab.groups().until("ci-spot", PATIENCE, wanted).await.unwrap();
    };
    scene.lab.groups().set_capacity_available("ci-spot", false);
    let gate = scene.lab.folder().join("gate");
    let command = format!("while [ ! -e '{}' ]; do sleep 0.1; done", gate.display());
    let job = scene.queue("app", &command).await;
    scene.lab.schedules().release();
    spot(|g| g.desired == 1).await;
    // What spot owes for too long, the other group's alarm brings.
    until(&scene, "on demand", |g| g.in_service() == 1).await;
    scene.job_until(&job, &["running"]).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(scene.ended(&job).await.0, 0, "{}", scene.log(&job).await);
    until(&scene, "empty", |g| g.members.is_empty() && g.desired == 0).await;
    spot(|g| g.desired == 0).await;
    assert_eq!(scene.calls("autoscaling:SetDesiredCapacity", ""), 0, "the scaler only publishes");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn alarms_tell_of_a_blind_scaler_and_of_capacity_that_is_short() {
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "1"), ("Settings", "idle-period: never\npoll-interval: 200ms\n")];
    let mut environment = counts.environment();
    // Every minute of the alarms has its datapoint, however busy this machine is.
    environment.push(("PUBLISH_EVERY".to_owned(), "500ms".to_owned()));
    let scene = Scene::of(hurried(2, environment), &parameters).await;
    counts.say(Answer::Jobs { scheduled: 5, running: 0 });
    scene.lab.schedules().release();
    alarm_until(&scene, "ScalerFailing", "OK").await;
    alarm_until(&scene, "CapacityShort", "ALARM").await;

    counts.say(Answer::Status(500, "oops"));
    alarm_until(&scene, "ScalerFailing", "ALARM").await;

    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    alarm_until(&scene, "ScalerFailing", "OK").await;
    alarm_until(&scene, "CapacityShort", "OK").await;
    scene.lab.stop().await.unwrap();
}

/// The template of docs/alarms.md for a group that is run the older way.
fn older_alarms() -> &'static str {
    let page = include_str!("../../docs/alarms.md");
    page.split("```yaml\n").find(|block| block.contains("NothingToDo")).unwrap().split("```").next().unwrap()
}

#[tokio::test]
async fn the_older_alarms_add_some_for_a_job_that_waits_and_take_them_when_nothing_is_left() {
    // The scaler only publishes, and the stack has no alarms of its own that resize.
    let environment = vec![("SCALING_MODE".to_owned(), "alarms".to_owned())];
    let scene = Scene::of(hurried(1, environment), &[("MaxSize", "3"), ("Settings", SETTINGS)]).await;
    let create =
        ["cloudformation", "create-stack", "--stack-name", "older", "--template-body", older_alarms()];
    let parameters = [
        "--parameters",
        "ParameterKey=GroupName,ParameterValue=ci-instances",
        "ParameterKey=Queue,ParameterValue=default",
    ];
    let said = scene.aws(&[&create[..], &parameters].concat()).await;
    assert!(said.success, "{}", said.stderr);
    scene.lab.schedules().release();

    let job = scene.queue("app", "echo done").await;
    let group = until(&scene, "grown by what fits of five", |g| g.in_service() == 3).await;
    let cause = &group.activities.iter().find(|a| a.description.starts_with("Launching")).unwrap().cause;
    assert!(cause.contains("JobsWait") && cause.contains("AddSome"), "{cause}");
    assert_eq!(scene.ended(&job).await.0, 0, "{}", scene.log(&job).await);

    // After half an hour without jobs, one at a time.
    let group = until(&scene, "empty", |g| g.members.is_empty() && g.desired == 0).await;
    let causes =
        group.activities.iter().filter(|a| a.cause.contains("NothingToDo") && a.cause.contains("RemoveOne"));
    assert!(causes.count() >= 1, "{:?}", group.activities);
    assert_eq!(scene.calls("autoscaling:SetDesiredCapacity", ""), 0, "the scaler only publishes");
    scene.lab.stop().await.unwrap();
}
