//! Push and poll: the CI's webhook makes the next look come at once, and without it the next poll sees the same.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use scaler::hint::signature::sign;
use secrecy::SecretString;
use tokio::process::Command;

use crate::counts::{Answer, Counts};
use crate::daemon::Daemon;
use crate::scene::{PATIENCE, Scene};

pub const SECRET: &str = "the-webhooks-secret";

/// Polls after `interval`.
async fn daemon(scene: &Scene, counts: &Counts, interval: &str) -> Daemon {
    let role = &scene.stack.resources["ScalerRole"];
    let endpoint = counts.environment().into_iter().find(|(name, _)| name == "BUILDKITE_AGENT_ENDPOINT");
    let variables = [
        ("ASG_NAME", "ci-instances"),
        ("BUILDKITE_AGENT_TOKEN", "token"),
        ("HINT_SECRET", SECRET),
        ("LAMBDA_INTERVAL", interval),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = Daemon::start(scene, role, variables.into_iter().chain(endpoint)).await;
    daemon.ticks(1).await;
    daemon
}

/// The status of the answer to a webhook with this signature.
pub async fn post(url: &str, body: &str, signature: &str) -> (u16, String) {
    let request = reqwest::Client::new().post(url).header("X-Buildkite-Signature", signature);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

pub fn signed(body: &str) -> String {
    sign(&SecretString::from(SECRET.to_owned()), body.as_bytes(), Timestamp::now())
}

const JOB: &str = r#"{"event":"job.scheduled","job":{"id":"1","agent_query_rules":["queue=default"]},"pipeline":{"slug":"app"}}"#;

/// A period that no test waits for.
pub const LONG: &str = "300s";

#[tokio::test]
async fn a_hint_brings_the_look_and_a_forged_one_does_not() {
    let counts = Counts::start().await;
    let scene = Scene::start(&[("MaxSize", "9")], Vec::new()).await;
    let daemon = daemon(&scene, &counts, LONG).await;
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    assert_eq!(daemon.ticked(), 1);

    let old = Timestamp::now() - jiff::SignedDuration::from_mins(6);
    let stale = sign(&SecretString::from(SECRET.to_owned()), JOB.as_bytes(), old);
    let other = sign(&SecretString::from("guess".to_owned()), JOB.as_bytes(), Timestamp::now());
    for forged in [String::new(), SECRET.to_owned(), other, signed("{}"), stale] {
        let answer = post(&daemon.url, JOB, &forged).await;
        assert_eq!(answer, (401, "{\"message\":\"unauthorized\"}\n".to_owned()), "{forged}");
    }
    let elsewhere = JOB.replace("queue=default", "queue=windows");
    assert_eq!(post(&daemon.url, &elsewhere, &signed(&elsewhere)).await.0, 200);

    // The poll is far away.
    assert_eq!(post(&daemon.url, JOB, &signed(JOB)).await.0, 202);
    scene.group_until(|g| g.desired == 2).await;
    daemon.ticks(2).await;
    assert_eq!(daemon.ticked(), 2, "the refused ones made nobody look");

    // A build that is queued announces its jobs before they are there; explain says so.
    let build = r#"{"event":"build.scheduled","build":{"id":"b-1"},"pipeline":{"slug":"app"},"jobs":3}"#;
    assert_eq!(post(&daemon.url, build, &signed(build)).await.0, 202);
    scene.group_until(|g| g.desired == 6).await;
    daemon.ticks(3).await;

    // A storm comes to two looks a second, and the last hint of it is seen too.
    let (before, begun) = (daemon.ticked(), Instant::now());
    for _ in 0..30 {
        assert_eq!(post(&daemon.url, JOB, &signed(JOB)).await.0, 202);
    }
    counts.say(Answer::Jobs { scheduled: 7, running: 0 });
    assert_eq!(post(&daemon.url, JOB, &signed(JOB)).await.0, 202);
    scene.group_until(|g| g.desired == 7).await;
    let looks = daemon.ticked() - before;
    let most = begun.elapsed().as_millis() / 500 + 2;
    assert!(looks as u128 <= most, "{looks} looks for 31 hints, at most {most}");
    let log = daemon.log().to_owned();
    daemon.stop().await;
    let mut explain = Command::new(scene.lab.programs().join("scaler"));
    let told = explain.args(["explain", "--last", "500", "--file"]).arg(&log).output().await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("ci-instances: 2 -> 6 instances: 2 jobs scheduled and 4 announced need 6 instances"),
        "{told}"
    );
    assert!(!told.contains("does not replay"), "{told}");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_hint_costs_a_period() {
    let counts = Counts::start().await;
    let scene = Scene::start(&[("MaxSize", "9")], Vec::new()).await;
    let daemon = daemon(&scene, &counts, "2s").await;
    assert!(scene.stack.output("WebhookUrl").is_err(), "a stack has no URL unless it is asked for");
    // The CI has jobs, and its webhook never comes.
    counts.say(Answer::Jobs { scheduled: 3, running: 0 });
    let before = daemon.ticked();
    scene.group_until(|g| g.desired == 3).await;
    daemon.ticks(before + 1).await;
    let first = daemon.decisions().iter().position(|line| line.contains("scale-out")).unwrap();
    assert!(first <= before + 1, "the next poll or, where that had begun before, the one after it");
    daemon.stop().await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn the_functions_url_takes_hints_signed_with_the_stored_secret() {
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "9"), ("WebhookUrl", "function")];
    let scene = Scene::start(&parameters, counts.environment()).await;
    let url = scene.stack.output("WebhookUrl").unwrap();
    let function = scene.stack.resources["Scaler"].as_str();
    let calls = |action: &str| scene.calls(action, function);
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });

    let unauthorized = (401, "{\"message\":\"unauthorized\"}\n".to_owned());
    assert_eq!(post(url, JOB, &signed(JOB)).await, unauthorized, "the stack's own secret nobody knows");
    assert_eq!(post(url, JOB, "").await, unauthorized);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 401);
    assert_eq!(calls("autoscaling:DescribeAutoScalingGroups"), 0);

    // The output's command stores the CI's.
    let command = scene.stack.output("WebhookTokenCommand").unwrap();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let token = scene.lab.folder().join("webhook-token");
    std::fs::write(&token, format!("{SECRET}\n")).unwrap();
    let file = format!("file://{}", token.display());
    let words: Vec<&str> =
        words.into_iter().map(|word| if word == "file://webhook-token" { &file } else { word }).collect();
    let said = scene.aws(&words).await;
    assert!(said.success, "{}", said.stderr);
    let begun = Instant::now();
    while post(url, JOB, &signed(JOB)).await.0 != 202 {
        assert!(begun.elapsed() < PATIENCE, "the new secret is not read");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    scene.group_until(|g| g.desired == 2).await;
    let told = scene.lab.function_urls().invocations();
    let looked = told.iter().filter(|one| one.outcome.as_ref().is_ok_and(|said| said.contains("202")));
    assert_eq!(looked.count(), 1, "{told:?}");

    // A build that is announced comes to an instance too.
    let build = r#"{"event":"build.scheduled","build":{"id":"b-1"},"pipeline":{"slug":"app"},"jobs":1}"#;
    assert_eq!(post(url, build, &signed(build)).await.0, 202);
    scene.in_service(4).await;
    assert!(scene.lab.schedules().invocations().is_empty(), "no schedule had a part in it");
    assert_eq!(calls("cloudwatch:PutMetricData"), 0, "metrics are the schedule's");

    // Where the webhook is lost, the schedule's look sees the same.
    counts.say(Answer::Jobs { scheduled: 5, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 5);
    scene.lab.stop().await.unwrap();
}
