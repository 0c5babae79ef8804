//! A stack with spot instances: jobs run on them first, on on-demand ones where AWS has none, and on spot again later.

use std::time::Duration;

use crate::counts::{Answer, Counts};
use crate::scene::{PATIENCE, Scene};

const SPOT: &str = "ci-spot";
const ON_DEMAND: &str = "ci-instances";
const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";

#[tokio::test]
async fn spot_comes_first_and_on_demand_where_aws_has_none() {
    let counts = Counts::start().await;
    let mut environment = counts.environment();
    for (name, value) in [("LAUNCH_PATIENCE", "1s"), ("SHORTAGE_RETRY_AFTER", "4s")] {
        environment.push((name.to_owned(), value.to_owned()));
    }
    let parameters = [("SpotPrice", "0.05"), ("MaxSize", "2"), ("Settings", SETTINGS)];
    let scene = Scene::start(&parameters, environment).await;

    // One job: a spot instance, and nothing else.
    desired_after(&scene, &counts, 1, (1, 0)).await;
    until(&scene, SPOT, 1).await;
    // AWS has no more of them: the second job goes to the other group, and the limit of both together holds.
    scene.lab.groups().set_capacity_available(SPOT, false);
    desired_after(&scene, &counts, 2, (2, 0)).await;
    let records = settled(&scene, (1, 1)).await;
    assert_eq!(records[SPOT]["reason"], "AWS does not launch what is desired here: another group gets it");
    until(&scene, ON_DEMAND, 1).await;
    desired_after(&scene, &counts, 5, (1, 1)).await;

    // Nothing to do: both go back to zero. There is spot capacity again, and the next job finds it.
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    settled(&scene, (0, 0)).await;
    until(&scene, SPOT, 0).await;
    until(&scene, ON_DEMAND, 0).await;
    scene.lab.groups().set_capacity_available(SPOT, true);
    let begun = std::time::Instant::now();
    while scene.tick_of_all().await[SPOT]["capacity"].get("short").is_some() {
        assert!(begun.elapsed() < PATIENCE, "a shortage is believed for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    desired_after(&scene, &counts, 1, (1, 0)).await;
    let (status, log) = scene.run("app", "echo on a spot instance").await;
    assert_eq!(status, 0, "{log}");
    let member = scene.lab.groups().group(SPOT).unwrap().members[0].id.clone();
    let said = scene.aws(&["ec2", "describe-instances", "--instance-ids", &member]).await;
    assert!(said.stdout.contains(r#""InstanceLifecycle": "spot""#), "{}{}", said.stdout, said.stderr);
    scene.lab.stop().await.unwrap();
}

/// One tick with so many jobs scheduled.
async fn desired_after(scene: &Scene, counts: &Counts, scheduled: u64, expected: (u32, u32)) {
    counts.say(Answer::Jobs { scheduled, running: 0 });
    let records = scene.tick_of_all().await;
    assert_eq!(desired(scene), expected, "{records:?}");
}

fn desired(scene: &Scene) -> (u32, u32) {
    let of = |name| scene.lab.groups().group(name).unwrap().desired;
    (of(SPOT), of(ON_DEMAND))
}

/// Ticks until the groups desire this, and what the last tick said.
async fn settled(
    scene: &Scene,
    expected: (u32, u32),
) -> std::collections::BTreeMap<String, serde_json::Value> {
    let begun = std::time::Instant::now();
    loop {
        let records = scene.tick_of_all().await;
        if desired(scene) == expected {
            return records;
        }
        assert!(begun.elapsed() < PATIENCE, "{:?} instead of {expected:?}: {records:?}", desired(scene));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until(scene: &Scene, group: &str, in_service: usize) {
    let wanted = |g: &lab::group::model::Group| g.in_service() == in_service && g.members.len() == in_service;
    scene.lab.groups().until(group, PATIENCE, wanted).await.unwrap();
}
