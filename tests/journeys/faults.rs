//! AWS and the CI fail: a job says why and never runs with half its secrets, and capacity never falls.

use lab::endpoint::faults::{Effect, Fault};
use serde_json::json;

use crate::counts::{Answer, Counts};
use crate::scene::Scene;

const RAN: &str = "the command ran with";

/// Tells which secrets a job has.
fn command() -> String {
    format!("echo {RAN} ROOT=${{ROOT:-none}} OWN=${{OWN:-none}}")
}

#[tokio::test]
async fn a_job_without_its_secrets_fails_with_the_reason_and_never_runs() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
    scene.upload("env", "ROOT=from-the-root\n").await;
    scene.upload("app/env", "OWN=from-app\n").await;
    scene.in_service(1).await;
    passes(&scene, "app", "ROOT=from-the-root OWN=from-app").await;
    // No objects of its own: what the root has, and nothing else.
    passes(&scene, "no-such-pipeline", "ROOT=from-the-root OWN=none").await;
    forks(&scene).await;

    let of_env = |effect| Fault { resource: "*/app/env".into(), ..Fault::on("s3:GetObject", effect) };
    for (effect, status, reason) in [
        (Effect::Deny, 77, "allow the instance role s3:GetObject"),
        (Effect::Throttle, 75, "asks to slow down: run the job again"),
        (Effect::Fail, 69, "no usable answer: run the job again"),
        (Effect::Drop, 69, "no usable answer: run the job again"),
    ] {
        let number = scene.lab.endpoint().faults().add(of_env(effect));
        refused(&scene, status, &["app/env", reason]).await;
        assert!(scene.lab.endpoint().faults().remove(number));
    }
    denied_by_the_key(&scene).await;
    // Once is nothing: the calls are tried again.
    scene.lab.endpoint().faults().add(of_env(Effect::Fail).times(1));
    passes(&scene, "app", "ROOT=from-the-root OWN=from-app").await;
    scene.lab.stop().await.unwrap();
}

async fn passes(scene: &Scene, pipeline: &str, with: &str) {
    let (status, log) = scene.run(pipeline, &command()).await;
    assert_eq!(status, 0, "{log}");
    // The values are no secrets to this test, but to the log they are.
    let with = with.replace("from-the-root", "[REDACTED]").replace("from-app", "[REDACTED]");
    assert!(log.contains(&format!("{RAN} {with}")), "{log}");
}

async fn refused(scene: &Scene, status: i64, reasons: &[&str]) {
    let (ended, log) = scene.run("app", &command()).await;
    assert_eq!(ended, status, "{log}");
    for reason in reasons {
        assert!(log.contains(reason), "{reason}: {log}");
    }
    assert!(!log.contains(&format!("{RAN} ")), "{log}");
}

/// The key's policy, not the bucket's and not the role's: the job says that it is the key.
async fn denied_by_the_key(scene: &Scene) {
    scene.upload_under_own_key("app/env", "OWN=from-app\n").await;
    let original = scene.deny_decrypt().await;
    refused(scene, 77, &["app/env", "not use its KMS key: allow kms:Decrypt"]).await;
    scene.put_key_policy(&original).await;
    passes(scene, "app", "ROOT=from-the-root OWN=from-app").await;
}

async fn forks(scene: &Scene) {
    let fork = json!({"pull_request": {"number": 7, "repo": "https://git.example/mallory/app.git"}});
    let id = scene.queue_as("app", &command(), fork).await;
    let (status, log) = scene.ended(&id).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("secrets: none: pull request 7 comes from another repository"), "{log}");
    assert!(log.contains(&format!("{RAN} ROOT=none OWN=none")), "{log}");
}

#[tokio::test]
async fn the_scaler_never_scales_in_on_what_it_does_not_know_and_recovers() {
    let counts = Counts::start().await;
    let settings = "idle-period: 1s\npoll-interval: 200ms\n";
    let scene = Scene::start(&[("MaxSize", "2"), ("Settings", settings)], counts.environment()).await;
    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    // Idle and given up: whoever reads zero from a failure takes it now.
    scene.group_until(|g| g.in_service() == 1 && g.members.iter().all(|m| !m.protected)).await;
    for answer in [
        Answer::Status(500, "oops"),
        Answer::Status(429, ""),
        Answer::Status(200, "<html>maintenance</html>"),
        Answer::Status(200, r#"{"jobs": {}, "agents": {}, "organization": {"slug": "lab"}}"#),
    ] {
        counts.say(answer.clone());
        assert_eq!(scene.tick().await, None, "{answer:?}");
        assert_eq!((scene.group().desired, scene.group().members.len()), (1, 1), "{answer:?}");
    }
    // It is back, and a job came meanwhile: the first look asks for all that is needed.
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    scene.group_until(|g| g.in_service() == 2 && g.members.iter().all(|m| !m.protected)).await;
    rotated(&scene, &counts).await;
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    let faults = scene.lab.endpoint().faults();
    faults.add(Fault::on("autoscaling:DescribeAutoScalingGroups", Effect::Deny).of("*Scaler*"));
    assert_eq!(scene.tick().await, None);
    assert_eq!(scene.group().desired, 2);
    faults.clear();
    assert_eq!(scene.tick().await.unwrap()["to"], 0);
    scene.group_until(|g| g.members.is_empty()).await;
    scene.lab.stop().await.unwrap();
}

/// The CI's token is replaced: refused until Secrets Manager has the new one, and then without a restart.
async fn rotated(scene: &Scene, counts: &Counts) {
    counts.only_for("rotated-token");
    assert_eq!(scene.tick().await, None);
    assert_eq!(scene.group().desired, 2);
    let secret = scene.stack.output("AgentTokenSecret").unwrap();
    let put =
        ["secretsmanager", "put-secret-value", "--secret-id", secret, "--secret-string", "rotated-token"];
    let said = scene.aws(&put).await;
    assert!(said.success, "{}", said.stderr);
    let decision = scene.tick().await.unwrap();
    assert_eq!(decision["step"], "hold", "{decision}");
}
