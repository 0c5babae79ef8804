//! A warm pool: instances that are prepared beforehand, stopped, and started when jobs come.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use lab::group::model::{Group, Lifecycle, Member};

use crate::counts::{Answer, Counts};
use crate::scene::Scene;

const SETTINGS: &str =
    "bootstrap-script: ssm:/tidemark/ci/bootstrap\npoll-interval: 200ms\nidle-period: never\n";

/// What only a first boot does, and takes its time for: as long as `gate` is not there.
fn script(gate: &Path) -> String {
    let gate = gate.display();
    format!(
        "#!/bin/sh\nuntil [ -e '{gate}' ]; do sleep 0.1; done\necho prepared >> \"$TIDEMARK_ROOT/prepared\"\n"
    )
}

/// The one that waits.
fn warm(group: &Group) -> Option<&Member> {
    group.members.iter().find(|m| m.lifecycle == Lifecycle::WarmedStopped)
}

/// Did a launch get as far as the end of its hook?
fn ended(group: &Group, description: &str) -> bool {
    group.activities.iter().any(|a| a.description == description && a.end.is_some())
}

#[tokio::test]
async fn a_warm_instance_starts_agents_when_a_job_wants_it_and_sooner_than_a_cold_one() {
    let counts = Counts::start().await;
    let parameters = [("WarmPoolSize", "1"), ("MaxSize", "2"), ("Settings", SETTINGS)];
    let mut scene = Scene::start(&parameters, counts.environment()).await;
    let gate = scene.lab.folder().join("gate");
    std::fs::write(&gate, "").unwrap();
    let put = ["ssm", "put-parameter", "--type", "String", "--name", "/tidemark/ci/bootstrap", "--value"];
    let said = scene.aws(&[&put[..], &[&script(&gate)]].concat()).await;
    assert!(said.success, "{}", said.stderr);

    // The pool fills though nothing is desired, and what is in it runs no agent.
    let group = scene.group_until(|g| warm(g).is_some()).await;
    let id = warm(&group).unwrap().id.clone();
    assert_eq!((group.desired, group.in_service(), group.members.len()), (0, 0, 1));
    let console = scene.lab.instances().console(&id).unwrap();
    // It is stopped as soon as its hook lets go, maybe before boot has said that it waits.
    assert!(console.contains("boot: bootstrap script") && !console.contains("boot: ready"), "{console}");
    let folder = scene.lab.instances().folder(&id);
    assert!(!folder.join("run/tidemark/agents").exists(), "no agent was started");
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["capacity"]["live"]), (&"hold".into(), &0.into()), "{decision}");

    // A job comes: the warm one enters service. A cold one would wait for its script; so does the one that fills the pool
    // again.
    std::fs::remove_file(&gate).unwrap();
    let wanted = Timestamp::now();
    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    let group = scene.in_service(1).await;
    assert!(
        group.iter().any(|m| m.id == id && m.lifecycle == Lifecycle::InService && m.protected),
        "{group:?}"
    );
    let (status, log) = scene.run("app", "echo \"on $BUILDKITE_AGENT_NAME\"").await;
    assert!(status == 0 && log.contains(&id), "{log}");
    // Its boot is from this start to its agents, and so long it would stay idle by itself.
    let instance = std::fs::read_to_string(folder.join("etc/tidemark/instance.json")).unwrap();
    let instance: serde_json::Value = serde_json::from_str(&instance).unwrap();
    let booted_in: SignedDuration = instance["booted-in"].as_str().unwrap().parse().unwrap();
    // The metadata tells whole seconds.
    let since = Timestamp::now().duration_since(wanted) + SignedDuration::from_secs(1);
    assert!(booted_in <= since, "{booted_in:#} of {since:#}: {instance}");
    assert_eq!(std::fs::read_to_string(folder.join("prepared")).unwrap(), "prepared\n", "prepared once");
    let group = scene.group_until(|g| g.members.len() == 2).await;
    let next = group.members.iter().find(|m| m.id != id).unwrap().id.clone();
    assert!(ended(&group, &format!("Launching a new EC2 instance into warm pool: {id}")), "{group:?}");
    assert!(ended(&group, &format!("Launching a new EC2 instance from warm pool: {id}")), "{group:?}");
    assert!(!ended(&group, &format!("Launching a new EC2 instance into warm pool: {next}")), "{group:?}");
    std::fs::write(&gate, "").unwrap();
    scene.group_until(|g| warm(g).is_some_and(|m| m.id == next)).await;

    // Without the option the pool is emptied (a stopped instance waits out its terminating hook, as on AWS); the group
    // stays, and is one of several types again.
    scene
        .lab
        .deploy_stack("ci", &[("WarmPoolSize", "0"), ("MaxSize", "2"), ("Settings", SETTINGS)])
        .await
        .unwrap();
    let group = scene
        .group_until(|g| g.definition.mixed.is_some() && g.members.iter().all(|m| !m.lifecycle.is_warmed()))
        .await;
    assert_eq!((group.definition.warm, group.in_service(), group.members[0].id == id), (0, 1, true));
    let denied: Vec<_> = scene.lab.endpoint().calls().into_iter().filter(|c| c.denied > 0).collect();
    assert!(denied.is_empty(), "{denied:?}");
    scene.lab.stop().await.unwrap();
}
