//! An AMI that no instance can boot from: after three failures the scaler tries one instance at a time, after pauses.

use std::time::{Duration, Instant};

use lab::instances::kind::InstanceKind;
use serde_json::Value;

use super::{OtherAmi, SETTINGS, engine, launched, nobody_was_denied, put_parameter};
use crate::scene::{PATIENCE, Scene};

/// Ticks until the scaler's record is as wanted.
async fn ticks_until(what: &str, scene: &Scene, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let record = scene.tick().await.unwrap();
        if wanted(&record) {
            return record;
        }
        assert!(begun.elapsed() < PATIENCE * 2, "not {what}: {record}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn failures(record: &Value) -> u64 {
    record["boots_failing"]["in_a_row"].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_container_group_that_never_boots_is_tried_one_at_a_time_until_it_is_cured() {
    let Some(engine) = engine().await else { return };
    let environment = [("LAMBDA_TIMEOUT", "1s"), ("PROBE_AFTER", "5s")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let kind = InstanceKind::Containers(engine.clone());
    let mut scene = Scene::on(kind, &[("MaxSize", "3"), ("Settings", SETTINGS)], environment).await;
    let ami = OtherAmi::make(&engine, &scene.lab, "rm /usr/local/bin/build-agent").await;
    put_parameter(&scene, "/other/ami", &ami.id).await;
    let with_image = |name| [("MaxSize", "3"), ("Settings", SETTINGS), ("ImageId", name)];
    scene.stack = scene.lab.deploy_stack("ci", &with_image("/other/ami")).await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(scene.queue("app", "echo cured").await);
    }
    assert_eq!(scene.tick().await.unwrap()["to"], 3);

    let braked = ticks_until("braked", &scene, |record| failures(record) >= 3).await;
    let settled = ticks_until("called off", &scene, |_| scene.group().desired == 0).await;
    assert!(failures(&settled) >= 3, "{braked} {settled}");
    let before = launched(&scene);
    // Three jobs wait, and one instance is tried. It fails like the others, and the next pause begins.
    ticks_until("a probe", &scene, |_| scene.group().desired > 0).await;
    assert_eq!(scene.group().desired, 1);
    let probed =
        ticks_until("the probe has failed", &scene, |record| failures(record) > failures(&settled)).await;
    assert!(
        launched(&scene) <= before + 2,
        "a probe and one successor at most: {:?}",
        scene.group().activities
    );
    assert!(probed["boots_failing"]["next_probe"].is_string(), "{probed}");
    let first =
        scene.group().activities.iter().map(|a| a.instance.clone()).find(|id| id.starts_with("i-")).unwrap();
    let console = scene.lab.instances().console(&first).unwrap();
    assert!(console.contains("agent-bootstrap: boot: files: "), "{console}");

    scene.stack = scene.lab.deploy_stack("ci", &with_image(lab::stack::IMAGE_PARAMETER)).await.unwrap();
    ticks_until("no brake", &scene, |_| scene.group().in_service() > 0).await;
    for job in &jobs {
        let (status, log) = scene.ended(job).await;
        assert!(status == 0 && log.contains("cured"), "{log}");
    }
    assert_eq!(failures(&scene.tick().await.unwrap()), 0);
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
    ami.remove().await;
}
