//! What goes on beside jobs under systemd: logs are sorted and shipped, tokens and keys fetched again; and a boot that
//! fails is heard of everywhere.

use std::collections::BTreeMap;

use super::surroundings::{on, scene_with};
use super::{machine, nobody_was_denied, returns_to_zero, unit, until_inside};
use crate::logs::{shipped, shipped_until};
use crate::scene::Scene;

const KEYS: &str = "/tidemark/ci/keys";
const FIRST: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0 first@example.com";
const SECOND: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNlY29uZA second@example.com";

async fn put_keys(scene: &Scene, keys: &str) {
    let put = ["ssm", "put-parameter", "--name", KEYS, "--type", "String", "--overwrite", "--value", keys];
    let said = scene.aws(&put).await;
    assert!(said.success, "{}", said.stderr);
}

async fn store_token(scene: &Scene, token: &str) {
    let secret = scene.stack.output("AgentTokenSecret").unwrap();
    let said = scene
        .aws(&["secretsmanager", "put-secret-value", "--secret-id", secret, "--secret-string", token])
        .await;
    assert!(said.success, "{}", said.stderr);
}

#[tokio::test]
async fn keys_token_and_logs_are_looked_after_while_the_instance_lives() {
    let settings = format!("authorized-keys-url: ssm:{KEYS}\nauthorized-keys-user: root\n");
    let Some(scene) = scene_with(&settings, &[("MaxSize", "1")]).await else { return };
    put_keys(&scene, FIRST).await;
    let job = scene.queue("app", "echo first").await;
    scene.tick().await.unwrap();
    let id = scene.in_service(1).await[0].id.clone();
    assert_eq!(scene.ended(&job).await.0, 0);
    let inside = machine(&scene, &id);

    // The image's timer, in a hurry.
    assert!(on(&inside, "cat /root/.ssh/authorized_keys").await.contains(FIRST));
    put_keys(&scene, SECOND).await;
    let hurry = "mkdir -p /run/systemd/system/tidemark-authorized-keys.timer.d; \
        printf '[Timer]\\nOnActiveSec=1s\\nRandomizedDelaySec=0\\nAccuracySec=100ms\\n' \
        > /run/systemd/system/tidemark-authorized-keys.timer.d/hurry.conf; systemctl daemon-reload; \
        systemctl is-active tidemark-authorized-keys.timer; systemctl restart tidemark-authorized-keys.timer";
    on(&inside, hurry).await;
    until_inside(&inside, &format!("grep -F '{SECOND}' /root/.ssh/authorized_keys")).await;
    assert!(!on(&inside, "cat /root/.ssh/authorized_keys").await.contains(FIRST));

    the_token_is_read_again(&scene, &inside).await;
    logs_are_stopped_and_killed(&scene, &inside, &id).await;
    returns_to_zero(&scene).await;
    logs_are_sorted(&scene, &id).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

/// An agent that fails, or is refused, comes back with what is stored then.
async fn the_token_is_read_again(scene: &Scene, inside: &lab::engine::container::Container) {
    const CONFIG: &str = "/etc/buildkite-agent/buildkite-agent.cfg";
    let good = scene.agent_token().await;
    store_token(scene, "r0tated").await;
    let kill = ["systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "tidemark-agent@1"];
    inside.succeed(&kill).await.unwrap();
    until_inside(inside, &format!("grep -qx 'token=\"r0tated\"' {CONFIG}")).await;
    // The CI does not know that one.
    until_inside(inside, "[ \"$(systemctl show --value -p NRestarts tidemark-agent@1)\" -ge 2 ]").await;
    store_token(scene, &good).await;
    let (status, log) = scene.run("app", "echo with the good one").await;
    assert_eq!(status, 0, "{log}");
    until_inside(inside, &format!("grep -q '^token=' {CONFIG} && ! grep -q r0tated {CONFIG}")).await;
}

/// Lines of a program, before and after logs were killed, stopped and started.
async fn logs_are_stopped_and_killed(scene: &Scene, inside: &lab::engine::container::Container, id: &str) {
    let probes = async || {
        let lines = shipped(scene, "/tidemark/ci/system", id).await.into_iter();
        lines.filter(|line| line.starts_with("probe: ")).collect::<Vec<_>>()
    };
    on(inside, "logger -t probe one").await;
    let restarts = unit(inside, "tidemark-logs", "NRestarts").await;
    inside.succeed(&["systemctl", "kill", "--signal=SIGKILL", "tidemark-logs"]).await.unwrap();
    on(inside, "logger -t probe two").await;
    until_inside(
        inside,
        &format!(
            "systemctl is-active tidemark-logs && [ \"$(systemctl show --value -p NRestarts tidemark-logs)\" != {restarts} ]"
        ),
    )
    .await;
    // A stop returns when all is delivered, and not before.
    inside.succeed(&["systemctl", "stop", "tidemark-logs"]).await.unwrap();
    let mut found = probes().await;
    found.dedup();
    assert_eq!(found, ["probe: one", "probe: two"]);
    assert_eq!(unit(inside, "tidemark-logs", "Result").await, "success");
    on(inside, "logger -t probe three").await;
    assert_eq!(probes().await.last().unwrap(), "probe: two");
    inside.succeed(&["systemctl", "start", "tidemark-logs"]).await.unwrap();
    shipped_until(scene, "/tidemark/ci/system", id, |m| m.iter().any(|m| m == "probe: three")).await;
    let once = probes().await.iter().filter(|line| *line == "probe: three").count();
    assert_eq!(once, 1);
}

/// Each group holds its units' lines, to the last, and no other's.
async fn logs_are_sorted(scene: &Scene, id: &str) {
    let mut groups = BTreeMap::new();
    for name in ["agent", "boot", "watch", "docker", "system"] {
        groups.insert(name, shipped(scene, &format!("/tidemark/ci/{name}"), id).await);
    }
    for (name, words) in [
        ("agent", "registered agent="),
        ("boot", "boot: ready in"),
        ("watch", r#""step":"stop-agents""#),
        ("docker", "dockerd: "),
        ("system", "probe: one"),
    ] {
        for (other, lines) in &groups {
            let has = lines.iter().any(|line| line.contains(words));
            assert_eq!(has, *other == name, "{words} in {other}: {lines:#?}");
        }
    }
    assert!(groups["agent"].iter().all(|line| line.starts_with("agent-1: ")), "{:#?}", groups["agent"]);
}

#[tokio::test]
async fn a_boot_that_fails_is_heard_of_on_console_signal_and_log() {
    let Some(scene) = scene_with("agent-program: no-such-agent\n", &[("MaxSize", "1")]).await else { return };
    let name = scene.group().definition.name;
    let set = ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &name];
    let said = scene.aws(&[&set[..], &["--desired-capacity", "1"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let group = scene.group_until(|g| g.activities.iter().any(|a| a.cause.contains("abandoned"))).await;
    assert_eq!(group.in_service(), 0);
    let id = group.activities[0].instance.clone();
    let set = scene.aws(&[&set[..], &["--desired-capacity", "0"]].concat()).await;
    assert!(set.success, "{}", set.stderr);
    scene.group_until(|g| g.member(&id).is_none()).await;

    let why = "agent-bootstrap: boot: files: agent-program: no program `no-such-agent` beside agent-bootstrap or on PATH";
    let boot = shipped_until(&scene, "/tidemark/ci/boot", &id, |m| m.iter().any(|m| m.contains(why))).await;
    assert_eq!(boot.iter().filter(|line| line.contains("agent-bootstrap: boot: ")).count(), 1, "{boot:#?}");
    let console = scene.lab.instances().console(&id).unwrap();
    assert!(console.contains(why), "{console}");
    assert_eq!(scene.calls("cloudformation:SignalResource", &id), 1);
    assert_eq!(scene.calls("autoscaling:SetInstanceHealth", &id), 1);
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
