//! From the machine's start to its agents: what `boot` measures, and the idle period that the real `watch` makes of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::stage::Stage;

/// A boot takes seconds at most here, whatever else the machine does.
const SLACK: i64 = 60;

/// The metadata tells that the machine was started so long ago.
fn started(stage: &Stage, seconds_ago: i64) -> Timestamp {
    let at = Timestamp::now() - SignedDuration::from_secs(seconds_ago);
    let document = json!({ "region": "us-east-1", "pendingTime": format!("{at:.0}") }).to_string();
    stage.change(|world| world.metadata.insert("dynamic/instance-identity/document".to_owned(), document));
    at
}

/// Boots, and tells what was measured.
async fn boots(stage: &Stage) -> Option<SignedDuration> {
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let measured = measured(stage);
    assert_eq!(run.stderr.contains("s from the machine's start to its agents"), measured.is_some());
    measured
}

fn measured(stage: &Stage) -> Option<SignedDuration> {
    let instance: Value = serde_json::from_str(&stage.text("etc/tidemark/instance.json")).unwrap();
    instance["booted-in"].as_str().map(|text| text.parse().unwrap())
}

/// The first line of the real `watch` of this instance.
async fn watch_says(stage: &Stage) -> Value {
    let mut watch = stage.command(&["watch"]).spawn().unwrap();
    let mut said = BufReader::new(watch.stderr.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    serde_json::from_str(&line).unwrap()
}

/// A duration as `watch` says it, in seconds.
fn seconds(said: &Value) -> f64 {
    said.as_str().unwrap().parse::<SignedDuration>().unwrap().as_secs_f64()
}

#[tokio::test]
async fn the_idle_period_is_four_fifths_of_the_boot_that_was_measured() {
    let stage = Stage::new().await;
    started(&stage, 40);
    let took = boots(&stage).await.unwrap();
    assert!((39..40 + SLACK).contains(&took.as_secs()), "{took:#}");
    let said = watch_says(&stage).await;
    let (idle, fail_safe) = (seconds(&said["idle_period"]), seconds(&said["fail_safe_after"]));
    assert!((idle - 0.8 * took.as_secs_f64()).abs() < 1e-6, "{said}");
    assert!((fail_safe - 3.0 * idle - 600.0).abs() < 1e-6, "{said}");
    assert!((seconds(&said["booted_in"]) - took.as_secs_f64()).abs() < 1e-6, "{said}");
}

#[tokio::test]
async fn what_a_start_of_the_machine_took_is_measured_once() {
    let stage = Stage::new().await;
    let first_start = started(&stage, 40);
    let first = boots(&stage).await.unwrap();
    // A boot that is run again, and a reboot.
    assert_eq!(boots(&stage).await, Some(first));
    // The machine was stopped, and started anew.
    let second_start = started(&stage, 20);
    assert_ne!(first_start, second_start);
    let second = boots(&stage).await.unwrap();
    assert!((19..20 + SLACK).contains(&second.as_secs()) && second != first, "{second:#}");
}

#[tokio::test]
async fn without_a_measure_it_is_a_minute_and_what_is_named_stays_as_it_is_named() {
    let stage = Stage::new().await;
    assert_eq!(boots(&stage).await, None, "the start is not told");
    let said = watch_says(&stage).await;
    assert_eq!((said["idle_period"].as_str(), said["booted_in"].as_str()), (Some("1m"), None), "{said}");
    started(&stage, 3600);
    assert_eq!(boots(&stage).await, None, "an hour is no boot");

    let stage = Stage::new().await.settings("idle-period: 5m\n");
    started(&stage, 40);
    assert!(boots(&stage).await.is_some());
    let said = watch_says(&stage).await;
    assert_eq!((said["idle_period"].as_str(), said["fail_safe_after"].as_str()), (Some("5m"), Some("25m")));
    let stage = Stage::new().await.settings("idle-period: never\n");
    started(&stage, 40);
    assert!(boots(&stage).await.is_some());
    let said = watch_says(&stage).await;
    assert_eq!(
        (said["idle_period"].as_str(), said["fail_safe_after"].as_str()),
        (Some("never"), Some("never"))
    );
}

#[tokio::test]
async fn an_instance_out_of_the_warm_pool_counts_from_the_end_of_its_wait() {
    let stage = Stage::new().await;
    // It has run in the pool for ten minutes.
    started(&stage, 600);
    let target = "meta-data/autoscaling/target-lifecycle-state".to_owned();
    stage.change(|world| {
        world.state = "Warmed:Pending:Wait";
        world.metadata.insert(target.clone(), "Warmed:Running".to_owned())
    });
    let mut child = stage.command(&["boot"]).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    while !said.next_line().await.unwrap().unwrap().contains("boot: prepared; agents start when") {}
    stage.change(|world| {
        world.state = "Pending:Wait";
        world.metadata.insert(target, "InService".to_owned())
    });
    assert!(child.wait().await.unwrap().success());
    let took = measured(&stage).unwrap();
    assert!(took.as_secs() < SLACK, "{took:#}");
}
