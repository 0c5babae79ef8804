//! An instance boots under the template's role: what its settings want reaches agents and jobs, and one that cannot
//! boot is given up and never half-works.

use lab::endpoint::faults::{Effect, Fault};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, until};

const SETTINGS: &str = "agent-environment: ssm:/tidemark/ci/environment\n\
    bootstrap-script: ssm:/tidemark/ci/bootstrap\nagent-tags: size=large\nagent-priority: 7\nagents-per-instance: 2\n";

async fn parameter(scene: &Scene, name: &str, value: &str) {
    let said = scene
        .aws(&["ssm", "put-parameter", "--name", name, "--type", "SecureString", "--value", value])
        .await;
    assert!(said.success, "{}", said.stderr);
}

async fn desire(scene: &Scene, count: &str) {
    let name = scene.group().definition.name;
    let set = ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &name];
    let said = scene.aws(&[&set[..], &["--desired-capacity", count]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

/// Calls of an instance: how many, and how many of them were denied.
fn calls(scene: &Scene, action: &str, instance: &str) -> (u64, u64) {
    let calls = scene.lab.endpoint().calls().into_iter();
    calls
        .filter(|c| c.action == action && c.caller.contains(instance))
        .fold((0, 0), |(count, denied), c| (count + c.count, denied + c.denied))
}

#[tokio::test]
async fn what_a_stack_wants_of_its_instances_reaches_agents_and_jobs() {
    let scene = Scene::start(&[("MaxSize", "2"), ("Settings", SETTINGS)], Vec::new()).await;
    parameter(&scene, "/tidemark/ci/environment", "TEAM='red and blue'\n").await;
    let script = "#!/bin/sh\necho bootstrap ran; echo prepared > \"$TIDEMARK_ROOT/prepared\"\n";
    parameter(&scene, "/tidemark/ci/bootstrap", script).await;
    // AWS has a bad minute: what passes is waited for.
    let faults = scene.lab.endpoint().faults();
    faults.add(Fault::on("secretsmanager:GetSecretValue", Effect::Throttle).of("*i-*").times(3));
    faults.add(Fault::on("ssm:GetParameter", Effect::Fail).of("*i-*").times(3));
    faults.add(Fault::on("autoscaling:CompleteLifecycleAction", Effect::Drop).of("*i-*").times(2));
    desire(&scene, "1").await;
    let id = scene.in_service(1).await[0].id.clone();

    let (status, log) = scene.run("app", "echo \"team $TEAM, $BUILDKITE_AGENT_NAME\"").await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains(&format!("team red and blue, ci-{id}-")), "{log}");
    let folder = scene.lab.instances().folder(&id);
    assert_eq!(std::fs::read_to_string(folder.join("prepared")).unwrap(), "prepared\n");
    let config = std::fs::read_to_string(folder.join("etc/buildkite-agent/buildkite-agent.cfg")).unwrap();
    assert!(config.contains("priority=\"7\"\n") && config.contains(",size=large\"\n"), "{config}");
    let console = scene.lab.instances().console(&id).unwrap();
    assert!(console.contains("bootstrap ran\n") && console.contains("boot: ready in "), "{console}");

    published(&scene).await;
    for (action, most) in [
        ("autoscaling:CompleteLifecycleAction", 3),
        // The lab's stacks are complete as soon as they exist, so this one is refused, but not for want of a right.
        ("cloudformation:SignalResource", 1),
        ("cloudwatch:PutMetricData", 1),
    ] {
        let (count, denied) = calls(&scene, action, &id);
        assert!(count > 0 && count <= most && denied == 0, "{action}: {count} calls, {denied} denied");
    }
    scene.lab.stop().await.unwrap();
}

/// The metric comes after the agents: it is waited for.
async fn published(scene: &Scene) {
    let begun = std::time::Instant::now();
    loop {
        let said = scene.aws(&["cloudwatch", "list-metrics", "--namespace", "Tidemark"]).await;
        let metrics: Value = serde_json::from_str(&said.stdout).unwrap();
        let phases: Vec<&Value> = metrics["Metrics"].as_array().unwrap().iter().collect();
        let of = |phase: &str| {
            phases.iter().any(|m| {
                let dimensions = m["Dimensions"].to_string();
                m["MetricName"] == "BootSeconds"
                    && dimensions.contains(phase)
                    && dimensions.contains("\"ci\"")
            })
        };
        if of("total") && of("identity") && of("bootstrap script") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_instance_that_cannot_boot_is_given_up_and_never_counts() {
    let scene = Scene::start(&[("MaxSize", "2"), ("Settings", "idle-perod: 5m\n")], Vec::new()).await;
    desire(&scene, "1").await;
    let abandoned = |cause: &str| cause.contains("lifecycle action") && cause.contains("abandoned");
    let group = scene.group_until(|g| g.activities.iter().any(|a| abandoned(&a.cause))).await;
    assert_eq!(group.in_service(), 0);
    let id = group.activities[0].instance.clone();
    // Nothing holds it: its own terminating hook is let go too.
    let group = scene.group_until(|g| g.member(&id).is_none()).await;
    assert!(group.members.iter().all(|m| m.id != id));
    let console = scene.lab.instances().console(&id).unwrap();
    let told: Vec<&str> = console.lines().filter(|l| l.starts_with("agent-bootstrap: boot: ")).collect();
    assert_eq!(told.len(), 1, "{console}");
    assert!(told[0].contains("`idle-perod` is no setting; did you mean `idle-period`?"), "{console}");
    let folder = scene.lab.instances().folder(&id);
    assert!(!folder.join("etc/buildkite-agent").exists() && !folder.join("run/tidemark/agents").exists());
    let (told, denied) = calls(&scene, "autoscaling:CompleteLifecycleAction", &id);
    assert!(told >= 2 && denied == 0, "{told} calls, {denied} denied");
    until("CloudFormation is told", || calls(&scene, "cloudformation:SignalResource", &id) == (1, 0)).await;
    desire(&scene, "0").await;
    scene.lab.stop().await.unwrap();
}
