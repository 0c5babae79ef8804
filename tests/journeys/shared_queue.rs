//! Two stacks on one queue: they divide its jobs, and nothing is provisioned twice.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alarms::hurried;
use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";
const LIGHT: &str = "ci-instances";
const HEAVY: &str = "heavy-instances";

/// A stack `ci`, and one of twice its weight; both scalers tick once an invocation.
async fn stacks(more: &[(&str, &str)]) -> Scene {
    let environment = [("LAMBDA_TIMEOUT", "1s")].iter().chain(more);
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let parameters = [("MaxSize", "9"), ("Settings", SETTINGS)];
    let mut scene = Scene::start(&parameters, environment).await;
    let weight = [("tidemark:weight", "2")];
    scene.lab.deploy_tagged_stack("heavy", &parameters, &weight).await.unwrap();
    scene
}

/// Both scalers look at the same time.
async fn tick(scene: &Scene) {
    let invocations = scene.lab.schedules().invoke_now().await;
    assert!(invocations.len() == 2 && invocations.iter().all(|i| i.outcome.is_ok()), "{invocations:?}");
}

fn desired(scene: &Scene) -> (u32, u32) {
    let of = |name| scene.lab.groups().group(name).unwrap().desired;
    (of(LIGHT), of(HEAVY))
}

/// Ticks until the stacks desire this.
async fn ticks_until(scene: &Scene, expected: (u32, u32)) {
    let begun = Instant::now();
    while desired(scene) != expected {
        assert!(begun.elapsed() < PATIENCE, "{:?} instead of {expected:?}", desired(scene));
        tick(scene).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Queues jobs that run until [`release`].
async fn queue(scene: &Scene, count: usize) -> Vec<String> {
    let gate = scene.lab.folder().join("gate").display().to_string();
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(scene.queue("app", &format!("until [ -e {gate} ]; do sleep 0.1; done")).await);
    }
    jobs
}

async fn release(scene: &Scene, jobs: &[String]) {
    std::fs::write(scene.lab.folder().join("gate"), "").unwrap();
    for job in jobs {
        let (status, log) = scene.ended(job).await;
        assert_eq!(status, 0, "{log}");
    }
    std::fs::remove_file(scene.lab.folder().join("gate")).unwrap();
}

fn launches(scene: &Scene, group: &str) -> usize {
    let activities = scene.lab.groups().group(group).unwrap().activities;
    activities.iter().filter(|activity| activity.description.starts_with("Launching")).count()
}

#[tokio::test]
async fn jobs_are_divided_by_weight_and_each_gets_one_instance() {
    let scene = stacks(&[]).await;
    let jobs = queue(&scene, 6).await;
    tick(&scene).await;
    assert_eq!(desired(&scene), (2, 4), "at the first look of both");
    let looks = scene.calls("autoscaling:DescribeAutoScalingGroups", "Scaler");
    assert_eq!(looks, 2, "one call tells a scaler of its own groups and of the others");
    for job in &jobs {
        scene.job_until(job, &["running"]).await;
    }
    for _ in 0..3 {
        tick(&scene).await;
    }
    assert_eq!(desired(&scene), (2, 4), "and at every other");
    release(&scene, &jobs).await;
    ticks_until(&scene, (0, 0)).await;
    assert_eq!((launches(&scene, LIGHT), launches(&scene, HEAVY)), (2, 4));

    let log = scene.lab.folder().join("scaler.log");
    std::fs::write(&log, scene.lab.schedules().log_lines().join("\n")).unwrap();
    let explain = ["explain", "--last", "100", "--file", log.to_str().unwrap()];
    let scaler = scene.lab.programs().join("scaler");
    let told = tokio::process::Command::new(scaler).args(explain).output().await.unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for line in [
        "ci-instances: 0 -> 2 instances: 6 jobs scheduled need 6 instances, 2 of them from this stack beside stack heavy with",
        "heavy-instances: 0 -> 4 instances: 6 jobs scheduled need 6 instances, 4 of them from this stack beside stack ci with",
    ] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    assert!(!told.contains("does not replay"), "{told}");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn what_aws_does_not_deliver_to_one_stack_the_other_takes() {
    let scene = stacks(&[("LAUNCH_PATIENCE", "3s")]).await;
    scene.lab.groups().set_capacity_available(HEAVY, false);
    let jobs = queue(&scene, 3).await;
    tick(&scene).await;
    assert_eq!(desired(&scene), (1, 2));
    ticks_until(&scene, (3, 0)).await;
    for job in &jobs {
        scene.job_until(job, &["running"]).await;
    }
    let told: Vec<Value> =
        scene.lab.schedules().log_lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let short = |line: &&Value| line["group"] == HEAVY && line["capacity"]["short"] == true;
    assert!(told.iter().any(|line| short(&line)), "its own scaler knows it, too");
    release(&scene, &jobs).await;
    ticks_until(&scene, (0, 0)).await;
    assert_eq!((launches(&scene, LIGHT), launches(&scene, HEAVY)), (3, 0));
    scene.lab.stop().await.unwrap();
}

/// Waits until the stacks desire this; together they never desire more than `most`.
async fn settles_at(scene: &Scene, expected: (u32, u32), most: u32) {
    let mut changes = scene.lab.groups().changes();
    let begun = Instant::now();
    loop {
        let (light, heavy) = desired(scene);
        assert!(light + heavy <= most, "{light} and {heavy} for {most} jobs");
        if (light, heavy) == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{light} and {heavy} instead of {expected:?}");
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
    }
}

/// A stack that alarms resize follows a minute or two after one that sets its capacity itself. Neither takes the other's part.
#[tokio::test]
async fn stacks_that_alarms_resize_have_their_part_of_the_jobs_and_no_more() {
    let of = |mode| [("ScalingMode", mode), ("MaxSize", "9"), ("Settings", SETTINGS)];
    let mut scene = Scene::of(hurried(2, Vec::new()), &of("alarms")).await;
    let weight = [("tidemark:weight", "2")];
    let mut launched = (0, 0);
    for mode in ["direct", "alarms"] {
        scene.lab.schedules().hold();
        let heavy = scene.lab.deploy_tagged_stack("heavy", &of(mode), &weight).await.unwrap();
        assert_eq!(heavy.resources.contains_key("GroupLacks"), mode == "alarms", "{heavy:?}");
        let jobs = queue(&scene, 6).await;
        scene.lab.schedules().release();
        settles_at(&scene, (2, 4), 6).await;
        for job in &jobs {
            scene.job_until(job, &["running"]).await;
        }
        release(&scene, &jobs).await;
        settles_at(&scene, (0, 0), 6).await;
        launched = (launched.0 + 2, launched.1 + 4);
        assert_eq!((launches(&scene, LIGHT), launches(&scene, HEAVY)), launched, "with heavy in mode {mode}");
    }
    let resized = |stack: &str| scene.calls("autoscaling:SetDesiredCapacity", stack);
    assert_eq!(resized(scene.stack.resources["Scaler"].as_str()), 0, "its scaler only publishes");
    scene.lab.stop().await.unwrap();
}
