//! Instances that cannot boot are not launched over and over: three failed boots, then probes, until one gets ready.

use std::time::{Duration, Instant};

use lab::group::model::{ActivityStatus, Group};
use serde_json::Value;

use crate::counts::{Answer, Counts};
use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str =
    "bootstrap-script: ssm:/tidemark/ci/bootstrap\npoll-interval: 200ms\nidle-period: never\n";

async fn script(scene: &Scene, script: &str) {
    let name =
        ["ssm", "put-parameter", "--overwrite", "--type", "String", "--name", "/tidemark/ci/bootstrap"];
    let said = scene.aws(&[&name[..], &["--value", script]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

fn failed_boots(group: &Group) -> usize {
    group.activities.iter().filter(|a| a.status == ActivityStatus::Cancelled).count()
}

fn launches(group: &Group) -> usize {
    group.activities.iter().filter(|a| a.description.starts_with("Launching")).count()
}

/// Three jobs want three instances, none of which can boot; the tick that then sees it.
async fn storm(scene: &Scene, counts: &Counts) -> Value {
    counts.say(Answer::Jobs { scheduled: 3, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 3);
    scene.group_until(|g| failed_boots(g) == 3 && g.members.is_empty()).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-in".into(), &0.into()), "{decision}");
    assert_eq!(decision["boots_failing"]["in_a_row"], 3, "{decision}");
    let why = decision["boots_failing"]["last"]["failure"].as_str().unwrap();
    assert!(why.ends_with("was abandoned: Lifecycle Action Completed with ABANDON Result"), "{why}");
    decision
}

/// Ticks until the group is as wanted; what is seen between holds for each look.
async fn ticks_until(scene: &Scene, wanted: impl Fn(&Group) -> bool, always: impl Fn(&Group)) -> Group {
    let begun = Instant::now();
    loop {
        scene.tick().await.unwrap();
        let group = scene.group();
        always(&group);
        if wanted(&group) {
            return group;
        }
        assert!(begun.elapsed() < PATIENCE, "{:?} {:?}", group.members, group.activities);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn three_failed_boots_then_probes_one_at_a_time_until_one_gets_ready() {
    let counts = Counts::start().await;
    let mut environment = counts.environment();
    environment.push(("PROBE_AFTER".to_owned(), "2s".to_owned()));
    let scene = Scene::start(&[("MaxSize", "3"), ("Settings", SETTINGS)], environment).await;
    script(&scene, "#!/bin/sh\necho this image is bad; exit 1\n").await;
    storm(&scene, &counts).await;

    let one_at_a_time = |g: &Group| assert!(g.desired <= 1 && g.members.len() <= 1, "{:?}", g.members);
    let group = ticks_until(&scene, |g| failed_boots(g) == 4 && g.desired == 0, one_at_a_time).await;
    assert_eq!(launches(&group), 4, "one probe, and no successor of it");
    let console = scene.lab.instances().console(&group.activities[0].instance).unwrap();
    assert!(console.contains("this image is bad"), "{console}");

    // Mended from outside: the group launches from the same template, so a probe finds out.
    script(&scene, "#!/bin/sh\nexit 0\n").await;
    let group = ticks_until(&scene, |g| g.in_service() > 0, |g| assert!(g.members.len() <= 3)).await;
    assert_eq!(launches(&group), 5, "{:?}", group.activities);
    ticks_until(&scene, |g| g.in_service() == 3, |_| ()).await;
    let decision = scene.tick().await.unwrap();
    assert!(decision.get("boots_failing").is_none(), "{decision}");
    let (status, log) = scene.run("app", "echo ran after all").await;
    assert_eq!(status, 0, "{log}");

    let said = scene.aws(&["cloudwatch", "list-metrics", "--namespace", "Buildkite"]).await;
    assert!(said.stdout.contains("BootsFailing"), "{}", said.stdout);
    let asked = scene.lab.endpoint().calls();
    let asked: Vec<_> =
        asked.iter().filter(|c| c.action == "autoscaling:DescribeScalingActivities").collect();
    assert!(!asked.is_empty() && asked.iter().all(|c| c.denied == 0), "{asked:?}");
    // All is well: nobody asks.
    let before: u64 = asked.iter().map(|c| c.count).sum();
    for _ in 0..5 {
        scene.tick().await.unwrap();
    }
    assert_eq!(scene.calls("autoscaling:DescribeScalingActivities", ""), before);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn another_launch_template_is_tried_at_once() {
    let counts = Counts::start().await;
    let parameters = |settings| [("MaxSize", "3"), ("Settings", settings)];
    let mut scene = Scene::start(&parameters("idle-perod: 5m\n"), counts.environment()).await;
    let decision = storm(&scene, &counts).await;
    let next: jiff::Timestamp = decision["boots_failing"]["next_probe"].as_str().unwrap().parse().unwrap();
    let last: jiff::Timestamp = decision["boots_failing"]["last"]["ended"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.duration_since(last).as_secs(), 60);
    let decision = scene.tick().await.unwrap();
    assert_eq!(decision["step"], "hold");
    assert_eq!(
        decision["reason"],
        "boots keep failing: one instance at a time is tried, after growing pauses"
    );

    scene.stack = scene.lab.deploy_stack("ci", &parameters("idle-period: never\n")).await.unwrap();
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-out".into(), &3.into()), "{decision}");
    scene.in_service(3).await;
    scene.lab.stop().await.unwrap();
}
