//! Invariant 1: no running job is ended by scaling, whoever lowers the capacity.

use lab::group::model::Lifecycle;
use serde_json::Value;

use crate::counts::{Answer, Counts};
use crate::scene::Scene;

const SETTINGS: &str = "idle-period: 2s\npoll-interval: 200ms\nheartbeat-interval: 1s\n";

#[tokio::test]
async fn a_busy_instance_outlives_zero_need_a_lowered_group_and_its_own_termination() {
    let counts = Counts::start().await;
    let scene = Scene::start(&[("MaxSize", "2"), ("Settings", SETTINGS)], counts.environment()).await;
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    scene.in_service(2).await;
    let enough = scene.lab.folder().join("enough");
    let command =
        format!("echo begun; until [ -e '{}' ]; do sleep 0.1; done; echo done well", enough.display());
    let job = scene.queue("long", &command).await;
    let running = scene.job_until(&job, &["running"]).await;
    // Its instance may have been idle for long enough: before the command runs it is protected again, not before that.
    scene.log_until(&job, "\nbegun").await;
    let agent = running["agent_name"].as_str().unwrap();
    let busy = scene.group().members.into_iter().find(|m| agent.contains(&m.id)).unwrap().id;

    zero_need_takes_the_idle_one(&scene, &counts, &busy).await;
    lowered_by_hand(&scene, &busy).await;
    terminated_by_hand(&scene, &busy).await;

    std::fs::write(&enough, "").unwrap();
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("done well"), "{log}");
    let group = scene.group_until(|g| g.members.is_empty()).await;
    let finished: jiff::Timestamp = finished_at(&scene, &job).await;
    let ended = group.activities.iter().filter(|a| a.instance == busy).filter_map(|a| a.end).max();
    assert!(ended.unwrap() >= finished, "the instance went at {ended:?}, its job at {finished}");
    scene.lab.stop().await.unwrap();
}

async fn finished_at(scene: &Scene, job: &str) -> jiff::Timestamp {
    let job: Value = scene.job_until(job, &["passed"]).await;
    job["finished_at"].as_str().unwrap().parse().unwrap()
}

/// The scaler sees no need at all (its CI may be wrong): the idle instance leaves, the busy one does not.
async fn zero_need_takes_the_idle_one(scene: &Scene, counts: &Counts, busy: &str) {
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    scene.group_until(|g| g.members.iter().any(|m| !m.protected)).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-in".into(), &1.into()), "{decision}");
    let left = scene.group_until(|g| g.members.len() == 1).await;
    assert_eq!((left.members[0].id.as_str(), left.members[0].protected), (busy, true));
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["needed"]), (&"hold".into(), &0.into()), "{decision}");
    assert_eq!(decision["capacity"]["held"], 1, "{decision}");
}

/// Somebody sets the desired capacity to zero: the protected instance stays, and the scaler puts that right.
async fn lowered_by_hand(scene: &Scene, busy: &str) {
    let name = scene.group().definition.name;
    let set =
        ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &name, "--desired-capacity"];
    let said = scene.aws(&[&set[..], &["0"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    assert_eq!(scene.group().desired, 0);
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["from"], &decision["to"]), (&0.into(), &1.into()), "{decision}");
    let member = scene.group().member(busy).unwrap().clone();
    assert_eq!((member.lifecycle, member.protected), (Lifecycle::InService, true));
}

/// Somebody terminates the instance itself: its job runs on under heartbeats of the terminating hook.
async fn terminated_by_hand(scene: &Scene, busy: &str) {
    let terminate = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", busy];
    let said = scene.aws(&[&terminate[..], &["--should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let heartbeats = || scene.calls("autoscaling:RecordLifecycleActionHeartbeat", busy);
    let group = scene.group_until(|g| heartbeats() >= 2 || g.member(busy).is_none()).await;
    assert_eq!(group.desired, 0);
    let member = group.member(busy).expect("the instance went before its job");
    assert_eq!(member.lifecycle, Lifecycle::TerminatingWait);
    assert_eq!(
        scene.calls("autoscaling:CompleteLifecycleAction", busy),
        1,
        "the launching hook's, when it booted"
    );
}
