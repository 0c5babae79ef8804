//! AWS and the metadata service in trouble: what passes is waited for, and an instance that cannot boot says why once,
//! and makes room for another one.

use std::time::Instant;

use lab::endpoint::faults::{Effect, Fault};
use lab::engine::container::Container;
use lab::group::model::Lifecycle;

use super::{
    OtherAmi, busy, engine, enough, first_machine, launched, machine, nobody_was_denied, put_parameter,
    returns_to_zero, scene, until,
};
use crate::logs::shipped_until;
use crate::scene::{PATIENCE, Scene};

const NAME: &str = "/tidemark/ci/settings";

/// Settings that have to be fetched, as have an environment and a script. With `quick` looks at the group.
async fn settings(scene: &Scene) {
    let bucket = scene.stack.output("SecretsBucket").unwrap();
    let text = format!(
        "{}update-check: 500ms\nboot-timeout: 2m\nagent-environment: ssm:/tidemark/ci/environment\n\
         bootstrap-script: s3://{bucket}/boot/script\n",
        super::SETTINGS
    );
    put_parameter(scene, NAME, &text).await;
    put_parameter(scene, "/tidemark/ci/environment", "TEAM=blue\n").await;
    scene.upload("boot/script", "#!/bin/sh\necho prepared > /var/lib/prepared\n").await;
}

/// Waits until an instance has powered itself off.
async fn until_off(inside: &Container) {
    let begun = Instant::now();
    while inside.runs().await.unwrap() {
        assert!(begun.elapsed() < PATIENCE, "it stays on");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_instance_boots_through_a_bad_minute_of_aws_and_its_jobs_outlast_another() {
    let Some(scene) = scene(&[("MaxSize", "1"), ("Settings", &format!("ssm:{NAME}"))]).await else { return };
    settings(&scene).await;
    let faults = scene.lab.endpoint().faults();
    for (action, effect, times) in [
        ("imds:PutToken", Effect::Fail, 2),
        ("imds:Get", Effect::Drop, 2),
        ("imds:Get", Effect::Throttle, 2),
        ("imds:Get", Effect::Expire, 1),
        ("imds:Get", Effect::Delay(300), 4),
        ("ssm:GetParameter", Effect::Throttle, 3),
        ("ssm:GetParameter", Effect::Fail, 2),
        ("ssm:GetParameter", Effect::Delay(1000), 1),
        ("secretsmanager:GetSecretValue", Effect::Throttle, 2),
        ("s3:GetObject", Effect::Throttle, 1),
        ("s3:GetObject", Effect::Fail, 1),
        ("s3:GetObject", Effect::Drop, 1),
        ("autoscaling:CompleteLifecycleAction", Effect::Throttle, 2),
        ("autoscaling:CompleteLifecycleAction", Effect::Drop, 1),
        ("logs:PutLogEvents", Effect::Throttle, 2),
        ("logs:PutLogEvents", Effect::Fail, 1),
    ] {
        faults.add(Fault::on(action, effect).of("*i-*").times(times));
    }
    let (id, job) = busy(&scene).await;
    let inside = machine(&scene, &id);
    assert_eq!(inside.succeed(&["cat", "/var/lib/prepared"]).await.unwrap(), "prepared\n");
    until("all faults are met", || faults.list().is_empty()).await;

    // Nothing answers any more, while a job runs, ends, and another one begins. First what was surely met, then for good.
    let outages = [("imds:*", Effect::Drop), ("autoscaling:*", Effect::Throttle), ("logs:*", Effect::Fail)];
    let met: Vec<u64> = outages
        .iter()
        .map(|(action, effect)| faults.add(Fault::on(action, *effect).of("*i-*").times(2)))
        .collect();
    let no_metadata = faults.add(Fault::on("imds:*", Effect::Drop).of("*i-*"));
    for action in ["autoscaling:*", "logs:*"] {
        faults.add(Fault::on(action, Effect::Hang).of("*i-*"));
    }
    until("the instance meets each of them", || {
        faults.list().iter().all(|(number, _)| !met.contains(number))
    })
    .await;
    enough(&scene, &id, &job).await;
    // A job's credentials come from there: without them it would not run with half its secrets.
    faults.remove(no_metadata);
    let (status, log) = scene.run("app", "echo of $TEAM on $HOSTNAME").await;
    assert!(status == 0 && log.contains(&format!("of blue on {id}")), "{log}");
    assert!(scene.group().member(&id).unwrap().protected, "unknown is no leave to let go");
    faults.clear();
    assert_eq!(launched(&scene), 1);
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

/// An instance that does not come into service: what its console says of the reason, once it is off.
async fn reason(scene: &Scene, id: &str, inside: &Container) -> String {
    until_off(inside).await;
    let console = scene.lab.instances().console(id).unwrap();
    let mut lines: Vec<&str> = console
        .lines()
        .filter_map(|line| Some(line.split_once("agent-bootstrap: boot: ")?.1.trim_end()))
        .collect();
    // Once by boot itself, and once more by the journal, which the lab has on its console too.
    lines.dedup();
    assert_eq!(lines.len(), 1, "{console}");
    lines[0].to_owned()
}

#[tokio::test]
async fn an_instance_that_cannot_boot_says_why_once_and_the_next_one_serves() {
    let Some(mut scene) = scene(&[("MaxSize", "1")]).await else { return };
    let engine = engine().await.unwrap();
    // An image whose boots give up sooner, as long as they know no settings.
    let quick = "mkdir -p /etc/systemd/system/tidemark-boot.service.d && printf \
        '[Service]\\nExecStart=\\nExecStart=/usr/local/bin/agent-bootstrap boot --budget 6\\n' \
        > /etc/systemd/system/tidemark-boot.service.d/budget.conf";
    let ami = OtherAmi::make(&engine, &scene.lab, quick).await;
    put_parameter(&scene, "/other/ami", &ami.id).await;
    settings(&scene).await;
    let reference = format!("ssm:{NAME}");
    let parameters = [("MaxSize", "1"), ("Settings", reference.as_str()), ("ImageId", "/other/ami")];
    scene.stack = scene.lab.deploy_stack("ci", &parameters).await.unwrap();
    let faults = scene.lab.endpoint().faults();

    let denied = faults.add(Fault::on("ssm:GetParameter", Effect::Deny).of("*i-*"));
    let job = scene.queue("app", "echo of $TEAM on $HOSTNAME").await;
    scene.tick().await.unwrap();
    let (first, inside) = first_machine(&scene).await;
    let said = reason(&scene, &first, &inside).await;
    assert!(said.starts_with("settings: ssm:GetParameter on ") && said.contains("AccessDenied"), "{said}");
    let logged =
        shipped_until(&scene, "/tidemark/ci/boot", &first, |m| m.iter().any(|m| m.contains(&said))).await;
    assert_eq!(logged.iter().filter(|m| m.contains(&said)).count(), 1, "{logged:#?}");

    let down = faults.add(Fault::on("imds:*", Effect::Hang).of("i-*"));
    faults.remove(denied);
    until("another instance", || scene.lab.instances().running().iter().any(|id| *id != first)).await;
    let second = scene.lab.instances().running().into_iter().find(|id| *id != first).unwrap();
    let said = reason(&scene, &second, &machine(&scene, &second)).await;
    assert!(said.starts_with("identity: ") && said.contains("given up after"), "{said}");

    // Nobody could be told: the launching hook's silence gives it up, in a quarter of an hour. Here somebody says it.
    let group = scene.group();
    assert_eq!(group.member(&second).unwrap().lifecycle, Lifecycle::PendingWait, "{:?}", group.members);
    let name = group.definition.name.as_str();
    let hook = ["--lifecycle-hook-name", "launching", "--lifecycle-action-result", "ABANDON"];
    let of = ["--auto-scaling-group-name", name, "--instance-id", second.as_str()];
    let said = scene.aws(&[&["autoscaling", "complete-lifecycle-action"], &hook[..], &of[..]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    faults.remove(down);
    scene.in_service(1).await;
    let (status, log) = scene.ended(&job).await;
    assert!(status == 0 && log.contains("of blue on i-"), "{log}");
    let group = scene.group();
    assert_eq!((launched(&scene), group.desired, group.in_service()), (3, 1, 1), "{:?}", group.activities);
    scene.lab.stop().await.unwrap();
    ami.remove().await;
}
