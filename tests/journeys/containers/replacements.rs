//! Instances that EC2 or the group takes away, and those that cannot start.

use jiff::{SignedDuration, Timestamp};
use lab::group::model::{Group, Lifecycle};
use lab::imds::SpotNotice;

use super::{SETTINGS, busy, enough, nobody_was_denied, put_parameter, returns_to_zero, scene};
use crate::scene::Scene;

/// The group, once another instance than `id` is in service.
async fn replaced(scene: &Scene, id: &str) -> Group {
    let successor = |g: &Group| g.members.iter().any(|m| m.id != id && m.lifecycle == Lifecycle::InService);
    scene.group_until(successor).await
}

#[tokio::test]
async fn a_spot_notice_ends_the_job_with_its_reason_and_a_successor_comes() {
    let settings = "idle-period: 1s\npoll-interval: 200ms\nheartbeat-interval: 1s\nspot-grace: 5m\n";
    let Some(scene) = scene(&[("MaxSize", "2"), ("Settings", settings)]).await else { return };
    let (id, job) = busy(&scene).await;
    let time = Timestamp::now() + SignedDuration::from_secs(120);
    let notice = SpotNotice { action: "terminate".into(), time };
    assert!(scene.lab.instances().notify(&id, |n| n.spot = Some(notice)));
    let (status, log) = scene.ended(&job).await;
    assert!(status != 0 && !log.contains("\ndone well"), "{log}");
    assert!(log.contains("the job was cancelled: EC2 takes this spot instance back at"), "{log}");
    let group = replaced(&scene, &id).await;
    assert_eq!(group.desired, 1, "a successor, not a smaller group");
    assert_eq!(scene.run("next", "echo on").await.0, 0);
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn an_unhealthy_instance_finishes_its_job_and_is_replaced() {
    let Some(scene) = scene(&[("MaxSize", "2")]).await else { return };
    let (id, job) = busy(&scene).await;
    let unhealthy =
        ["autoscaling", "set-instance-health", "--instance-id", &id, "--health-status", "Unhealthy"];
    let said = scene.aws(&[&unhealthy[..], &["--no-should-respect-grace-period"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let group = replaced(&scene, &id).await;
    assert_eq!(group.member(&id).unwrap().lifecycle, Lifecycle::TerminatingWait, "its job runs");
    enough(&scene, &id, &job).await;
    scene.group_until(|g| g.member(&id).is_none()).await;
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_container_group_with_a_bad_ami_says_why_and_a_good_one_cures_it() {
    let Some(mut scene) = scene(&[("MaxSize", "1")]).await else { return };
    put_parameter(&scene, "/bad/ami", "ami-0bad0bad0bad0bad0").await;
    let with_image = |name| [("MaxSize", "1"), ("Settings", SETTINGS), ("ImageId", name)];
    scene.stack = scene.lab.deploy_stack("ci", &with_image("/bad/ami")).await.unwrap();
    let job = scene.queue("app", "echo cured").await;
    scene.tick().await.unwrap();
    let failed = |g: &Group| g.activities.iter().any(|a| a.message.contains("InvalidAMIID.NotFound"));
    let group = scene.group_until(failed).await;
    assert_eq!(group.in_service(), 0);
    assert_eq!(scene.lab.instances().running(), Vec::<String>::new());
    scene.stack = scene.lab.deploy_stack("ci", &with_image(lab::stack::IMAGE_PARAMETER)).await.unwrap();
    scene.in_service(1).await;
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    scene.lab.stop().await.unwrap();
}
