//! Minimum equal to maximum: always-on builders, which never leave when idle.

use serde_json::Value;

use crate::scene::{Scene, until};

/// Even where the user sets an idle period: the group has no room to shrink.
const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";

#[tokio::test]
async fn an_always_on_instance_stays_after_its_jobs_and_the_scaler_changes_nothing() {
    let one_tick = vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())];
    let parameters = [("MinSize", "1"), ("MaxSize", "1"), ("Settings", SETTINGS)];
    let scene = Scene::start(&parameters, one_tick).await;
    let id = scene.in_service(1).await[0].id.clone();
    let (status, log) = scene.run("first", "touch cache; pwd").await;
    assert_eq!(status, 0, "{log}");

    // Idle long enough, watch asks the group for its limits: only then could it let go.
    let asked = || scene.calls("autoscaling:DescribeAutoScalingGroups", &id) > 0;
    until("watch asks for the group's limits", asked).await;
    let decision: Value = scene.tick().await.unwrap();
    assert_eq!(decision["step"], "hold", "{decision}");
    let next = scene.queue("first", "ls -d ../*/ && echo on $HOSTNAME").await;
    let job = scene.job_until(&next, &["passed", "failed"]).await;
    assert_eq!(job["exit_status"], 0, "{}", scene.log(&next).await);
    assert!(job["agent_name"].as_str().unwrap().contains(&id), "another instance: {job}");
    let decision = scene.tick().await.unwrap();
    assert_eq!(decision["step"], "hold", "{decision}");

    let group = scene.group();
    assert_eq!((group.desired, group.members.len()), (1, 1));
    assert!(group.members[0].protected && group.members[0].id == id, "{group:?}");
    for action in ["SetInstanceProtection", "TerminateInstanceInAutoScalingGroup", "SetDesiredCapacity"] {
        assert_eq!(scene.calls(&format!("autoscaling:{action}"), ""), 0, "{action}");
    }
    scene.lab.stop().await.unwrap();
}
