//! SIGKILL of watch, whatever it is about: systemd brings it back, and no job notices.

use lab::endpoint::faults::{Effect, Fault};
use lab::engine::container::Container;
use lab::group::model::Lifecycle;
use serde_json::Value;

use super::{first_machine, nobody_was_denied, scene, unit, until, until_inside};

const SIGKILL: [&str; 5] = ["systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "tidemark-watch"];

/// Kills watch, and waits for its successor.
async fn kill_watch(inside: &Container) {
    let before: u32 = unit(inside, "tidemark-watch", "NRestarts").await.parse().unwrap();
    inside.succeed(&SIGKILL).await.unwrap();
    let again = format!(
        "[ $(systemctl show --value -p NRestarts tidemark-watch) = {} ] && systemctl is-active tidemark-watch",
        before + 1
    );
    until_inside(inside, &again).await;
}

async fn status(inside: &Container) -> Value {
    until_inside(inside, "agent-bootstrap status").await;
    let said = inside.succeed(&["sh", "-c", "agent-bootstrap status 2> /dev/null"]).await.unwrap();
    serde_json::from_str(&said).unwrap()
}

#[tokio::test]
async fn watch_killed_at_every_turn_of_an_instances_life_harms_no_job_and_strands_nothing() {
    let Some(scene) = scene(&[("MaxSize", "1")]).await else { return };
    let faults = scene.lab.endpoint().faults();
    // Before there is anything to watch.
    let held = faults.add(Fault::on("secretsmanager:GetSecretValue", Effect::Hang).of("*/i-*"));
    let first = scene.queue("app", "echo first").await;
    scene.tick().await.unwrap();
    let (id, inside) = first_machine(&scene).await;
    until_inside(&inside, "journalctl -b -u tidemark-boot | grep -q 'boot: settings'").await;
    kill_watch(&inside).await;
    faults.remove(held);
    assert_eq!(scene.ended(&first).await.0, 0);

    // Idle, and given up to whoever wants to scale in.
    scene.group_until(|g| g.member(&id).is_some_and(|m| !m.protected)).await;
    kill_watch(&inside).await;
    assert_eq!(status(&inside).await["jobs"], serde_json::json!([]));

    // A job asks to run, and the answer about its protection is under way.
    faults.add(Fault::on("autoscaling:SetInstanceProtection", Effect::Hang).of("*/i-*").times(1));
    let job = scene
        .queue("long", "echo begun; until [ -e /var/tmp/enough ]; do sleep 0.1; done; echo done well")
        .await;
    until("protection is asked for", || faults.list().is_empty()).await;
    kill_watch(&inside).await;
    scene.log_until(&job, "\nbegun").await;
    assert!(scene.group().member(&id).unwrap().protected, "a job runs on an instance that nothing holds");

    // The job runs.
    kill_watch(&inside).await;
    let told = status(&inside).await;
    assert_eq!((&told["state"], &told["jobs"]), (&"busy".into(), &serde_json::json!([job])));
    assert!(scene.group().member(&id).unwrap().protected);

    // The group ends the instance, and heartbeats hold it.
    let terminate = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", &id];
    let said = scene.aws(&[&terminate[..], &["--should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let heartbeats = || scene.calls("autoscaling:RecordLifecycleActionHeartbeat", &id);
    until("a heartbeat", || heartbeats() > 0).await;
    kill_watch(&inside).await;
    let before = heartbeats();
    until("two heartbeats more", || heartbeats() >= before + 2).await;
    assert_eq!(scene.group().member(&id).unwrap().lifecycle, Lifecycle::TerminatingWait);

    // Nothing runs any more, and the logs are being sent.
    let held = faults.add(Fault::on("logs:PutLogEvents", Effect::Hang).of("*/i-*"));
    inside.succeed(&["touch", "/var/tmp/enough"]).await.unwrap();
    let (status, log) = scene.ended(&job).await;
    assert!(status == 0 && log.contains("done well"), "{log}");
    until_inside(&inside, "journalctl -b -u tidemark-watch | grep -q '\"flush-logs\"'").await;
    inside.succeed(&SIGKILL).await.unwrap();
    faults.remove(held);
    let group = scene.group_until(|g| g.members.is_empty()).await;
    assert_eq!(group.desired, 0);
    until("the instance is gone", || scene.lab.instances().running().is_empty()).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
