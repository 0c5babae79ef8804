//! `scaler explain` tells, out of the log group of the stack's function, what its ticks left there.

use std::process::Stdio;

use jiff::Timestamp;
use lab::endpoint::faults::{Effect, Fault};
use lab::group::model::{ActivityStatus, Group};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::counts::{Answer, Counts};
use crate::scene::Scene;

/// What `scaler explain` printed, and its exit code.
struct Explained {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Explained {
    /// The words alone: without days and times.
    fn words(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        assert_eq!(self.stderr, "");
        self.stdout
            .lines()
            .filter_map(|line| line.get(10..))
            .filter(|line| *line != ", times are UTC")
            .collect()
    }

    /// A failure in one line.
    fn failed(&self, code: i32, says: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(says), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
    }
}

/// As the lab's user, with something to read on stdin.
async fn explain(scene: &Scene, arguments: &[&str], stdin: &str) -> Explained {
    explain_as(scene, Vec::new(), arguments, stdin).await
}

/// The same with other credentials.
async fn explain_as(
    scene: &Scene,
    credentials: Vec<(&'static str, String)>,
    arguments: &[&str],
    stdin: &str,
) -> Explained {
    let mut command = Command::new(scene.lab.programs().join("scaler"));
    command.arg("explain").args(arguments).env_clear().envs(scene.lab.admin_environment());
    command.envs(credentials);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Explained {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Words that come in this order, others between them.
fn in_order(words: &[&str], expected: &[&str]) {
    let mut rest = words.iter();
    for wanted in expected {
        assert!(rest.any(|word| word.contains(wanted)), "{wanted:?} is not next in {words:#?}");
    }
}

#[tokio::test]
async fn a_day_with_an_outage_is_told_from_the_log_group() {
    let counts = Counts::start().await;
    let settings = "idle-period: 1s\npoll-interval: 200ms\n";
    let scene = Scene::start(&[("MaxSize", "2"), ("Settings", settings)], counts.environment()).await;
    let nothing = explain(&scene, &["--stack", "ci"], "").await;
    nothing.failed(1, "log group /tidemark/ci/scaler: no record: quiet ticks leave none");

    counts.say(Answer::Jobs { scheduled: 5, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    counts.say(Answer::Jobs { scheduled: 0, running: 1 });
    let id =
        scene.group_until(|g| g.in_service() == 2 && g.members.iter().all(|m| !m.protected)).await.members[0]
            .id
            .clone();
    counts.say(Answer::Status(500, "oops"));
    assert_eq!(scene.tick().await, None);
    let outage = Timestamp::now();
    assert_eq!(scene.tick().await, None);
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 0);
    scene.group_until(|g| g.members.is_empty()).await;
    scene.tick().await.unwrap();
    scene.tick().await.unwrap();

    let all = explain(&scene, &["--stack", "ci"], "").await;
    let words = all.words();
    in_order(
        &words,
        &[
            "ci-instances: 0 -> 2 instances: 5 jobs scheduled need 5 instances, but the group's maximum is 2",
            "in service",
            "the jobs are not known; ci-instances stays at 2: nothing is changed while something is unknown",
            "failed: job counts of queue default",
            "ci-instances: 2 -> 0 instances: no jobs; 2 are idle and gave up protection",
            "left",
        ],
    );
    assert!(!all.stdout.contains("does not replay"), "{}", all.stdout);
    assert!(
        words.iter().filter(|line| line.contains("left")).count() == 1,
        "the last tick was quiet: {words:#?}"
    );

    // The same from the records themselves, each of which replays.
    let records = explain(&scene, &["--log-group", "/tidemark/ci/scaler", "--json"], "").await;
    assert_eq!((records.code, records.stderr.as_str()), (0, ""));
    let again = explain(&scene, &["--file", "-"], &records.stdout).await;
    assert_eq!(again.stdout, all.stdout);
    let token = scene.agent_token().await;
    assert!(!records.stdout.contains(&token), "a record holds no secret");

    let at = explain(&scene, &["--stack", "ci", "--at", &outage.to_string()], "").await;
    in_order(&at.words(), &["the jobs are not known", "oops"]);
    assert!(!at.stdout.contains("->"), "{}", at.stdout);
    let last = explain(&scene, &["--stack", "ci", "--last", "1"], "").await;
    assert!(last.words().iter().all(|line| line.contains("left")), "{}", last.stdout);

    let one = explain(&scene, &["--stack", "ci", "--instance", &id], "").await;
    let of_aws = format!("Terminating EC2 instance: {id}");
    let launched = format!("Launching a new EC2 instance: {id}");
    in_order(&one.words(), &[&id, "2 -> 0 instances", "left", &launched, &of_aws]);
    rights(&scene, &id).await;
    refusals(&scene).await;
    scene.lab.stop().await.unwrap();
}

/// The rights that docs/scaler.md names are enough, and less is not.
async fn rights(scene: &Scene, id: &str) {
    let role = ["iam", "create-role", "--role-name", "onlooker", "--assume-role-policy-document"];
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    let said = scene.aws(&[&role[..], &[trust]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let role: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let role = role["Role"]["Arn"].as_str().unwrap().to_owned();
    let credentials = || scene.lab.endpoint().mint_session(&role, "onlooker").environment();
    let instance = ["--stack", "ci", "--instance", id];
    explain_as(scene, credentials(), &instance, "").await.failed(77, "logs:FilterLogEvents");
    let docs = include_str!("../../docs/scaler.md");
    let policy = docs.split("```json\n").find(|block| block.contains("logs:FilterLogEvents")).unwrap();
    let policy = policy.split("```").next().unwrap();
    let put = ["iam", "put-role-policy", "--role-name", "onlooker", "--policy-name", "explain"];
    let said = scene.aws(&[&put[..], &["--policy-document", policy]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let told = explain_as(scene, credentials(), &instance, "").await;
    in_order(&told.words(), &["left", "Terminating EC2 instance"]);
}

/// Who may not, what is not there, what makes no sense.
async fn refusals(scene: &Scene) {
    let calls = scene.lab.endpoint().calls();
    let written: Vec<_> = calls.iter().filter(|c| c.action == "logs:PutLogEvents").collect();
    assert!(written.iter().any(|c| c.caller.contains("Scaler") && c.denied == 0), "{written:?}");

    explain(scene, &["--stack", "other"], "")
        .await
        .failed(78, "log group /tidemark/other/scaler does not exist");
    let never = ["--stack", "ci", "--instance", "i-0123456789abcdef0"];
    explain(scene, &never, "").await.failed(1, "no record that names i-0123456789abcdef0");
    explain(scene, &["--stack", "ci", "--at", "30d"], "").await.failed(1, "no record at");
    explain(scene, &["--file", "-"], "some text\n{}\n").await.failed(1, "-: no record");
    scene.lab.endpoint().faults().add(Fault::on("logs:FilterLogEvents", Effect::Deny));
    explain(scene, &["--stack", "ci"], "").await.failed(77, "logs:FilterLogEvents on /tidemark/ci/scaler");
    scene.lab.endpoint().faults().clear();
    scene.lab.endpoint().faults().add(Fault::on("autoscaling:DescribeScalingActivities", Effect::Deny));
    let records = explain(scene, &["--stack", "ci", "--json"], "").await.stdout;
    let left = records.lines().find_map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["moved"][0]["left"][0].as_str().map(str::to_owned)
    });
    let without = explain(scene, &["--stack", "ci", "--instance", &left.unwrap()], "").await;
    assert_eq!(without.code, 0, "{}", without.stderr);
    assert!(without.stderr.contains("AWS's own activities are left out"), "{}", without.stderr);
    assert!(without.stdout.contains("left"), "{}", without.stdout);
    scene.lab.endpoint().faults().clear();
}

/// Gives up three launches in the instances' place, which would hold the last one themselves.
async fn abandon(scene: &Scene) {
    let boots = |g: &Group| g.members.len() == 3 && g.members.iter().all(|m| !m.waits.is_empty());
    let complete = ["autoscaling", "complete-lifecycle-action", "--lifecycle-action-result", "ABANDON"];
    let of =
        ["--auto-scaling-group-name", "ci-instances", "--lifecycle-hook-name", "launching", "--instance-id"];
    for member in scene.group_until(boots).await.members {
        let said = scene.aws(&[&complete[..], &of, &[&member.id]].concat()).await;
        assert!(said.success, "{}", said.stderr);
    }
    let abandoned = |g: &Group| g.activities.iter().filter(|a| a.status == ActivityStatus::Cancelled).count();
    // Successors boot, and never get ready.
    scene.group_until(|g| abandoned(g) == 3 && boots(g)).await;
}

#[tokio::test]
async fn the_brake_tells_which_boot_failed_and_when_the_next_is_tried() {
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "3"), ("Settings", "bootstrap-script: ssm:/tidemark/ci/bootstrap\n")];
    let mut environment = counts.environment();
    environment.push(("PROBE_AFTER".to_owned(), "10m".to_owned()));
    let scene = Scene::start(&parameters, environment).await;
    let hangs = ["--name", "/tidemark/ci/bootstrap", "--type", "String", "--value", "#!/bin/sh\nsleep 300\n"];
    let said = scene.aws(&[&["ssm", "put-parameter"][..], &hangs].concat()).await;
    assert!(said.success, "{}", said.stderr);
    counts.say(Answer::Jobs { scheduled: 3, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 3);
    abandon(&scene).await;
    assert_eq!(scene.tick().await.unwrap()["to"], 0);
    for _ in 0..2 {
        assert_eq!(scene.tick().await.unwrap()["step"], "hold");
    }
    let told = explain(&scene, &["--stack", "ci"], "").await;
    let words = told.words();
    in_order(
        &words,
        &[
            "ci-instances: 0 -> 3 instances: 3 jobs scheduled need 3 instances",
            "ci-instances: 3 -> 0 instances: 3 jobs scheduled need 3 instances; brake:",
            "ci-instances: stays at 0 instances: 3 jobs scheduled need 3 instances; brake:",
            "(2 ticks)",
        ],
    );
    let braked = words.iter().find(|line| line.contains("brake")).unwrap();
    assert!(
        braked.contains("brake: 3 boots in a row failed, the last of i-") && braked.contains("abandoned"),
        "{braked}"
    );
    assert!(braked.contains("one is tried when jobs wait"), "{braked}");
    assert!(!told.stdout.contains("does not replay"), "{}", told.stdout);
    scene.lab.stop().await.unwrap();
}
