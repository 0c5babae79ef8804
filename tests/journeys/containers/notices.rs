//! EC2 expects to take an instance back, and the stack wants that heeded, or not.

use jiff::Timestamp;
use lab::endpoint::faults::{Effect, Fault};
use lab::group::model::Lifecycle;

use super::{
    busy, enough, machine, nobody_was_denied, put_parameter, returns_to_zero, scene, until, until_inside,
};
use crate::scene::Scene;

const NAME: &str = "/tidemark/ci/settings";

/// Announces a rebalance, and waits until the instance has read it twice.
async fn rebalance(scene: &Scene, id: &str) {
    assert!(scene.lab.instances().notify(id, |n| n.rebalance = Some(Timestamp::now())));
    let faults = scene.lab.endpoint().faults();
    let path = "meta-data/events/recommendations/rebalance";
    let seen = Fault { resource: path.into(), ..Fault::on("imds:Get", Effect::Delay(0)) };
    let number = faults.add(seen.of(id).times(2));
    until("the instance reads it", || !faults.list().iter().any(|(other, _)| *other == number)).await;
}

#[tokio::test]
async fn a_rebalance_recommendation_is_heeded_as_the_stack_says_and_jobs_finish_either_way() {
    let Some(scene) = scene(&[("MaxSize", "2"), ("Settings", &format!("ssm:{NAME}"))]).await else { return };
    // Jobs are few here, so idle instances stay until they are told.
    let quick = "poll-interval: 200ms\nheartbeat-interval: 1s\nupdate-check: 500ms\nidle-period: 5s\n";
    put_parameter(&scene, NAME, quick).await;
    let (first, job) = busy(&scene).await;
    rebalance(&scene, &first).await;
    let told = machine(&scene, &first).succeed(&["agent-bootstrap", "status"]).await.unwrap();
    assert!(told.contains("\"busy\""), "the stack does not want it heeded: {told}");
    enough(&scene, &first, &job).await;
    let (status, log) = scene.run("app", "echo again on $HOSTNAME").await;
    assert!(status == 0 && log.contains(&format!("again on {first}")), "{log}");

    // The other setting rolls the instance.
    put_parameter(&scene, NAME, &format!("{quick}drain-on-rebalance: true\n")).await;
    let second = |g: &lab::group::model::Group| {
        g.members.iter().find(|m| m.id != first && m.lifecycle == Lifecycle::InService).map(|m| m.id.clone())
    };
    let group = scene.group_until(|g| g.member(&first).is_none() && second(g).is_some()).await;
    let second = second(&group).unwrap();
    let (holder, job) = busy(&scene).await;
    assert_eq!(holder, second);
    rebalance(&scene, &second).await;
    until_inside(
        &machine(&scene, &second),
        "journalctl -b -u tidemark-watch | grep -q '\"drain\":\"rebalance\"'",
    )
    .await;
    assert_eq!(scene.group().member(&second).unwrap().lifecycle, Lifecycle::InService, "its job runs");
    enough(&scene, &second, &job).await;
    let group = scene.group_until(|g| g.member(&second).is_none() && g.in_service() == 1).await;
    assert_eq!(group.desired, 1, "a successor, not a smaller group");
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
