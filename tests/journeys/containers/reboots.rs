//! Reboots: in the middle of boot, in the middle of a job, and the one that never comes back.

use lab::endpoint::faults::{Effect, Fault};
use lab::group::model::{Group, Lifecycle};

use super::{
    first_machine, launched, machine, nobody_was_denied, returns_to_zero, scene, unit, until_inside,
};
use crate::scene::Scene;

async fn reboot(scene: &Scene, id: &str) {
    scene.lab.instances().containers().unwrap().reboot(id).await.unwrap();
}

#[tokio::test]
async fn a_reboot_in_the_middle_of_boot_and_of_a_job_keeps_the_instance() {
    let Some(scene) = scene(&[("MaxSize", "1"), ("MinSize", "0")]).await else { return };
    let held = scene
        .lab
        .endpoint()
        .faults()
        .add(Fault::on("secretsmanager:GetSecretValue", Effect::Hang).of("*/i-*"));
    let first = scene.queue("app", "echo first").await;
    scene.tick().await.unwrap();
    let (id, inside) = first_machine(&scene).await;
    until_inside(&inside, "journalctl -b -u tidemark-boot | grep -q 'boot: settings'").await;
    assert_eq!(unit(&inside, "tidemark-boot", "ActiveState").await, "activating");
    reboot(&scene, &id).await;
    scene.lab.endpoint().faults().remove(held);
    let (status, log) = scene.ended(&first).await;
    assert_eq!(status, 0, "{log}");

    let lost = scene.queue("app", "echo begun; sleep 600").await;
    scene.log_until(&lost, "begun").await;
    reboot(&scene, &id).await;
    // What the job was is gone; the instance, its agent and its protection are back.
    let next = scene.queue("app", "echo again on $HOSTNAME").await;
    let (status, log) = scene.ended(&next).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains(&format!("again on {id}")), "{log}");
    let job = scene.job_until(&lost, &["failed"]).await;
    assert_eq!(job["exit_status"], -1, "{job}");
    assert_eq!(launched(&scene), 1);
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_that_powers_off_is_replaced() {
    let Some(scene) = scene(&[("MaxSize", "1"), ("MinSize", "1")]).await else { return };
    let id = scene.in_service(1).await[0].id.clone();
    let (status, log) = scene.run("app", "echo first").await;
    assert_eq!(status, 0, "{log}");
    let inside = machine(&scene, &id);
    // The engine may not get to answer: the machine is off.
    let _ = inside.run(&["systemctl", "poweroff"]).await;
    let successor =
        |g: &Group| g.members.iter().find(|m| m.id != id && m.lifecycle == Lifecycle::InService).cloned();
    let group = scene.group_until(|g| successor(g).is_some()).await;
    assert_eq!(group.desired, 1);
    // Nobody is left to complete its hook: that runs out, as on AWS.
    let lost = group.member(&id).unwrap();
    assert_eq!((lost.lifecycle, lost.healthy), (Lifecycle::TerminatingWait, false));
    assert!(!inside.runs().await.unwrap());
    let (status, log) = scene.run("app", "echo on $HOSTNAME").await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains(&format!("on {}", successor(&group).unwrap().id)), "{log}");
    scene.lab.stop().await.unwrap();
}
