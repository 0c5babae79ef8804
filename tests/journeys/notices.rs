//! What EC2 announces, what an operator says and what a stack wants of instances that run jobs: each leaves when its job
//! is done, but for spot.

use std::path::Path;
use std::process::Output;

use jiff::{SignedDuration, Timestamp};
use lab::imds::SpotNotice;

use crate::counts::{Answer, Counts};
use crate::scene::{Scene, until};

const SETTINGS: &str = "poll-interval: 200ms\nheartbeat-interval: 1s\nidle-period: never\ndrain-on-rebalance: true\nspot-grace: 5m\n";

/// A group of so many, and the instance that runs a job until `file` is there.
async fn busy(counts: &Counts, count: u32, file: &str) -> (Scene, String, String) {
    let scene = Scene::start(&[("MaxSize", "3"), ("Settings", SETTINGS)], counts.environment()).await;
    counts.say(Answer::Jobs { scheduled: count.into(), running: 0 });
    scene.tick().await.unwrap();
    scene.in_service(count as usize).await;
    let enough = scene.lab.folder().join(file);
    let command =
        format!("echo begun; until [ -e '{}' ]; do sleep 0.1; done; echo done well", enough.display());
    let job = scene.queue("long", &command).await;
    let running = scene.job_until(&job, &["running"]).await;
    let agent = running["agent_name"].as_str().unwrap();
    scene.log_until(&job, "\nbegun").await;
    let holder = scene.group().members.iter().find(|m| agent.contains(&m.id)).unwrap().id.clone();
    (scene, job, holder)
}

/// Waits until an instance drains for a reason.
async fn drains(scene: &Scene, id: &str, reason: &str) {
    let step = format!(r#""step":{{"drain":"{reason}"}}"#);
    until(&step, || scene.watch_log(id).contains(&step)).await;
}

/// What runs on the draining instance is finished, and a successor comes.
async fn finishes_for_a_successor(scene: &Scene, job: &str, holder: &str) {
    assert_eq!(scene.job_until(job, &["running"]).await["state"], "running");
    std::fs::write(scene.lab.folder().join("enough"), "").unwrap();
    let (status, log) = scene.ended(job).await;
    assert!(status == 0 && log.contains("done well"), "{log}");
    let group = scene.group_until(|g| g.member(holder).is_none() && g.in_service() == 1).await;
    assert_eq!(group.desired, 1, "a successor, not a smaller group");
}

#[tokio::test]
async fn a_spot_notice_ends_a_job_with_its_reason_and_a_successor_comes() {
    let counts = Counts::start().await;
    let (scene, job, holder) = busy(&counts, 1, "never").await;
    // Within the grace, and more than all that comes may take.
    let time = Timestamp::now() + SignedDuration::from_secs(290);
    let notice = SpotNotice { action: "terminate".into(), time };
    assert!(scene.lab.instances().notify(&holder, |n| n.spot = Some(notice)));
    let (status, log) = scene.ended(&job).await;
    assert!(status != 0 && !log.lines().any(|line| line.trim() == "done well"), "{log}");
    assert!(log.contains("the job was cancelled: EC2 takes this spot instance back at"), "{log}");
    let group = scene.group_until(|g| g.member(&holder).is_none() && g.in_service() == 1).await;
    assert_eq!(group.desired, 1, "a successor, not a smaller group");
    assert!(Timestamp::now() < time, "it went by itself, not with the machine");
    assert_eq!(scene.run("next", "echo on").await.0, 0);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_rebalance_recommendation_lets_the_job_finish_and_a_successor_comes() {
    let counts = Counts::start().await;
    let (scene, job, holder) = busy(&counts, 1, "enough").await;
    scene.lab.instances().notify(&holder, |n| n.rebalance = Some(Timestamp::now()));
    drains(&scene, &holder, "rebalance").await;
    finishes_for_a_successor(&scene, &job, &holder).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn scheduled_maintenance_lets_the_job_finish_and_a_successor_comes() {
    let counts = Counts::start().await;
    let (scene, job, holder) = busy(&counts, 1, "enough").await;
    let event = serde_json::json!([{
        "NotBefore": "21 Jan 2096 09:00:43 GMT", "NotAfter": "21 Jan 2096 09:17:23 GMT",
        "Code": "instance-retirement", "EventId": "instance-event-0d59937288b749b32", "State": "active"
    }]);
    scene.lab.instances().notify(&holder, |n| n.maintenance = Some(event.to_string()));
    drains(&scene, &holder, "maintenance").await;
    finishes_for_a_successor(&scene, &job, &holder).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_of_age_finishes_its_job_and_makes_room_for_a_successor() {
    let counts = Counts::start().await;
    let settings = format!("{SETTINGS}max-age: 15s\n");
    let scene = Scene::start(&[("MaxSize", "3"), ("Settings", &settings)], counts.environment()).await;
    let enough = scene.lab.folder().join("enough");
    let command = format!("until [ -e '{}' ]; do sleep 0.1; done; echo done well", enough.display());
    let job = scene.queue("long", &command).await;
    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    scene.tick().await.unwrap();
    // On a slow machine one may have aged before it took a job.
    let running = scene.job_until(&job, &["running"]).await;
    let agent = running["agent_name"].as_str().unwrap();
    let holder = scene.group().members.iter().find(|m| agent.contains(&m.id)).unwrap().id.clone();
    drains(&scene, &holder, "max-age").await;
    finishes_for_a_successor(&scene, &job, &holder).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn every_job_gets_a_fresh_instance_where_the_stack_wants_that() {
    let settings = format!("{SETTINGS}disconnect-after-job: true\n");
    let environment = vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())];
    let scene = Scene::start(&[("MaxSize", "1"), ("Settings", &settings)], environment).await;
    let mut holders = Vec::new();
    let jobs = [scene.queue("app", "echo first").await, scene.queue("app", "echo second").await];
    for job in &jobs {
        scene.tick().await.unwrap();
        let (status, log) = scene.ended(job).await;
        assert_eq!(status, 0, "{log}");
        let holder = scene.job_until(job, &["passed"]).await["agent_name"].as_str().unwrap().to_owned();
        let id = holder.trim_start_matches("ci-").trim_end_matches("-1").to_owned();
        drains(&scene, &id, "after-job").await;
        let group = scene.group_until(|g| g.members.is_empty()).await;
        assert_eq!(group.desired, 0, "a smaller group: the scaler asks for more");
        holders.push(id);
    }
    assert_ne!(holders[0], holders[1]);
    scene.lab.stop().await.unwrap();
}

/// The program on the instance, as its operator calls it.
async fn say(root: &Path, verb: &str) -> Output {
    let program = lab::instances::programs().unwrap().join("agent-bootstrap");
    tokio::process::Command::new(program).arg("--root").arg(root).arg(verb).output().await.unwrap()
}

#[tokio::test]
async fn an_operator_cordons_uncordons_and_drains_a_busy_instance() {
    let counts = Counts::start().await;
    let (scene, job, holder) = busy(&counts, 1, "enough").await;
    let root = scene.lab.instances().folder(&holder);
    let said = say(&root, "cordon").await;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && text.contains("takes no more jobs and stays; 1 job runs"), "{text}");
    std::fs::write(scene.lab.folder().join("enough"), "").unwrap();
    assert_eq!(scene.ended(&job).await.0, 0, "what ran was finished");
    let state = async || {
        let said = say(&root, "status").await;
        let status: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        status["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "cordoned");
    let next = scene.queue("next", "echo on").await;
    assert!(say(&root, "uncordon").await.status.success());
    let taken = scene.job_until(&next, &["passed"]).await;
    assert!(taken["agent_name"].as_str().unwrap().contains(&holder), "its agent came back: {taken}");
    let group = scene.group();
    assert_eq!((group.desired, group.members.len()), (1, 1), "nobody came or went");

    assert!(say(&root, "drain").await.status.success());
    let group = scene.group_until(|g| g.member(&holder).is_none() && g.in_service() == 1).await;
    assert_eq!(group.desired, 1);
    scene.lab.stop().await.unwrap();
}
