//! One scaler for the queues of two stacks, as docs/many-queues.md has it.

use std::time::{Duration, Instant};

use lab::group::model::Group;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::hints::{LONG, SECRET, post, signed};
use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";

/// The document and the role's policy of the page, with the token's place and the interval of this test.
fn page(language: &str) -> &'static str {
    let page = include_str!("../../docs/many-queues.md");
    let block = page.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap()
}

/// A role of one's own that may what the page says and no more.
async fn role(scene: &Scene) -> String {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    let create = ["iam", "create-role", "--role-name", "scaler", "--assume-role-policy-document", trust];
    let said = scene.aws(&create).await;
    assert!(said.success, "{}", said.stderr);
    let role: Value = serde_json::from_str(&said.stdout).unwrap();
    let put =
        ["iam", "put-role-policy", "--role-name", "scaler", "--policy-name", "scaler", "--policy-document"];
    let said = scene.aws(&[&put[..], &[page("json")]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    role["Role"]["Arn"].as_str().unwrap().to_owned()
}

async fn queue(scene: &Scene, queue: &str, command: &str) -> String {
    scene.queue_as("app", command, json!({ "jobs": [{ "command": command, "queue": queue }] })).await
}

async fn group_until(scene: &Scene, name: &str, wanted: impl Fn(&Group) -> bool) -> Group {
    scene.lab.groups().until(name, PATIENCE, wanted).await.unwrap()
}

/// One scaler for all, with the page's document, which polls this often.
async fn daemon(scene: &Scene, role: &str, interval: &str) -> Daemon {
    let variables = [
        ("SCALER_SETTINGS", page("yaml").to_owned()),
        ("BUILDKITE_AGENT_TOKEN", scene.agent_token().await),
        ("BUILDKITE_AGENT_ENDPOINT", scene.lab.build_server().unwrap().agent_endpoint()),
        ("LAMBDA_INTERVAL", interval.to_owned()),
        ("HINT_SECRET", SECRET.to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Daemon::start(scene, role, variables).await
}

/// The CI's webhook of a job on this queue.
async fn hint(daemon: &Daemon, queue: &str) {
    let job = json!({"id": "1", "agent_query_rules": [format!("queue={queue}")]});
    let hint = json!({"event": "job.scheduled", "job": job, "pipeline": {"slug": "app"}}).to_string();
    assert_eq!(post(&daemon.url, &hint, &signed(&hint)).await.0, 202);
}

#[tokio::test]
async fn one_scaler_serves_two_queues_and_leaves_the_one_at_rest_alone() {
    // The stacks bring no scaler of their own.
    let parameters = |queue| {
        [("ScalingMode", "none"), ("BuildkiteQueue", queue), ("MaxSize", "3"), ("Settings", SETTINGS)]
    };
    let mut scene = Scene::start(&parameters("linux"), Vec::new()).await;
    scene.lab.deploy_stack("mac", &parameters("mac")).await.unwrap();
    assert_eq!(scene.lab.schedules().all().len(), 0, "nobody else resizes");
    let role = role(&scene).await;
    // The floor is there from the first look on, and the next poll is far away: what comes then, hints bring.
    let pushed = daemon(&scene, &role, LONG).await;
    group_until(&scene, "mac-instances", |g| g.in_service() == 1).await;

    // Jobs of each queue get instances of its own groups.
    let gate = scene.lab.folder().join("gate");
    let waits = format!("until [ -e '{}' ]; do sleep 0.1; done", gate.display());
    let linux = [queue(&scene, "linux", &waits).await, queue(&scene, "linux", &waits).await];
    assert_eq!(scene.group().desired, 0, "nobody has looked yet");
    hint(&pushed, "linux").await;
    group_until(&scene, "ci-instances", |g| g.desired == 2).await;
    let mac = queue(&scene, "mac", &waits).await;
    assert_eq!(scene.lab.groups().group("mac-instances").unwrap().desired, 1, "nor here");
    hint(&pushed, "mac").await;
    for job in [&linux[0], &linux[1], &mac] {
        scene.job_until(job, &["running"]).await;
    }
    assert_eq!(group_until(&scene, "ci-instances", |g| g.in_service() == 2).await.desired, 2);
    // The document's floor: one idle instance beside the busy one.
    assert_eq!(group_until(&scene, "mac-instances", |g| g.in_service() == 2).await.desired, 2);
    pushed.stop().await;

    // Both are complete: from then on the CI is read, and the groups are not looked at.
    let polled = daemon(&scene, &role, "1s").await;
    polled.ticks(2).await;
    let looks = || scene.calls("autoscaling:DescribeAutoScalingGroups", "scaler");
    let (mut before, begun) = (0, Instant::now());
    while before == 0 || looks() != before {
        assert!(begun.elapsed() < PATIENCE, "it never rests");
        before = looks();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    // The next job of a queue at rest is seen all the same.
    let on_linux = polled.decisions_on("ci-instances").len();
    let job = queue(&scene, "mac", "true").await;
    assert_eq!(scene.ended(&job).await.0, 0);
    group_until(&scene, "mac-instances", |g| g.desired == 3).await;
    let looked = polled.decisions_on("mac-instances");
    assert!(looked.iter().any(|line| line["to"] == 3), "{looked:?}");

    // All goes when the jobs are over, but for the floor.
    std::fs::write(&gate, "").unwrap();
    for job in [&linux[0], &linux[1], &mac] {
        assert_eq!(scene.ended(job).await.0, 0);
    }
    group_until(&scene, "ci-instances", |g| g.members.is_empty()).await;
    group_until(&scene, "mac-instances", |g| g.members.len() == 1).await;
    let kept = ["ssm", "get-parameter", "--name", "/tidemark/mac/scaler-keeps"];
    assert!(scene.aws(&kept).await.success, "the other stack's instances know that they are kept");
    assert!(polled.decisions_on("ci-instances").len() > on_linux);
    let denied: Vec<_> = scene
        .lab
        .endpoint()
        .calls()
        .into_iter()
        .filter(|c| c.denied > 0 && c.caller.contains("scaler"))
        .collect();
    assert!(denied.is_empty(), "{denied:?}");
    polled.stop().await;
    scene.lab.stop().await.unwrap();
}
