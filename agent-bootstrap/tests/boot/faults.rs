//! AWS slow, throttled, down: a boot waits for what may pass, within its budget, and gives up at once on the rest.

use std::time::{Duration, Instant};

use crate::stage::{Run, Stage, until};
use crate::world::World;

/// A boot that has to fail, and within its budget and the time to tell others.
pub async fn fails(stage: &Stage, code: i32, words: &[&str]) -> Run {
    let (begun, before) = (Instant::now(), stage.calls().len());
    let run = stage.run(&["boot", "--budget", "2"]).await;
    // On any machine less than a boot without this budget would take.
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}: {}", begun.elapsed(), run.stderr);
    assert_eq!(run.code, code, "{}", run.stderr);
    let told: Vec<&str> = run.stderr.lines().filter(|l| l.starts_with("agent-bootstrap: boot: ")).collect();
    assert_eq!(told.len(), 1, "one clear line: {}", run.stderr);
    for word in words {
        assert!(told[0].contains(word), "no {word} in {}", told[0]);
    }
    assert_eq!(stage.living(), 0);
    is_known_to_all(stage, told[0], &stage.calls()[before..]);
    run
}

/// Who cannot read the console (the unit's stderr) or the journal knows too: the report, the group and CloudFormation.
fn is_known_to_all(stage: &Stage, line: &str, made: &[String]) {
    if let Ok(report) = std::fs::read_to_string(stage.path("var/lib/tidemark/boot.json")) {
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["error"], line.trim_start_matches("agent-bootstrap: "), "{report}");
    } else {
        assert!(stage.is_read_only(), "no report");
    }
    if line.contains("boot: identity:") {
        return;
    }
    let mut calls = vec!["SetInstanceHealth i-0abc Unhealthy"];
    // What the user data tells of hook and stack, as far as it can be read.
    let user_data = stage.change(|world| world.metadata.get("user-data").cloned().unwrap_or_default());
    if user_data.contains("signal-resource: Group") {
        calls.push("CompleteLifecycleAction launching ABANDON");
        calls.extend((!user_data.contains("stack: [")).then_some("SignalResource ci/Group FAILURE"));
    }
    for call in calls {
        assert_eq!(made.iter().filter(|made| *made == call).count(), 1, "{call}: {made:?}");
    }
}

#[tokio::test]
async fn what_is_throttled_or_out_of_order_for_a_while_is_waited_for() {
    for (action, code) in [
        ("secretsmanager.GetSecretValue", "ThrottlingException"),
        ("secretsmanager.GetSecretValue", "InternalServiceError"),
        ("CompleteLifecycleAction", "Throttling"),
    ] {
        let stage = Stage::new().await;
        // More than the SDK's own attempts.
        stage.refuse(action, 5, code, "Rate exceeded");
        let run = stage.boot().await;
        assert_eq!((run.code, stage.living()), (0, 1), "{action} {code}: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_metadata_service_that_is_slow_to_come_is_waited_for() {
    let stage = Stage::new().await;
    stage.change(|world| world.silent.insert("meta-data/instance-id".to_owned()));
    let child = stage.command(&["boot"]).spawn().unwrap();
    let asked = |world: &mut World| world.unanswered.values().sum::<usize>();
    until("it is asked again", || stage.change(asked) >= 2).await;
    stage.change(|world| world.silent.clear());
    assert!(child.wait_with_output().await.unwrap().status.success());
    assert_eq!(stage.living(), 1);
}

#[tokio::test]
async fn what_stays_throttled_or_silent_ends_with_the_budget() {
    let stage = Stage::new().await;
    stage.refuse("secretsmanager.GetSecretValue", usize::MAX, "ThrottlingException", "Rate exceeded");
    fails(&stage, 75, &["boot: agent token:", "ThrottlingException", "given up after"]).await;
    assert_eq!(stage.calls_of("CompleteLifecycleAction launching ABANDON").len(), 1);

    let stage = Stage::new().await.settings("boot-timeout: 1s");
    stage.change(|world| world.silent.insert("secretsmanager.GetSecretValue".to_owned()));
    fails(&stage, 69, &["boot: agent token:", "given up after"]).await;

    let stage = Stage::new().await;
    stage.change(|world| world.silent.insert("meta-data/instance-id".to_owned()));
    fails(&stage, 69, &["boot: identity:", "given up after"]).await;
}

#[tokio::test]
async fn user_data_that_says_nothing_of_us_fails_at_once() {
    for (user_data, words) in [
        (None, "holds no part application/x-tidemark+yaml"),
        (Some("#cloud-config\nqueue: x"), "holds no part application/x-tidemark+yaml"),
        (Some("queue: [unclosed"), "settings part 1"),
        (Some("- a\n- list"), "is no map of settings"),
        (Some("Content-Type: multipart/mixed\n\n--b\n"), "no boundary"),
    ] {
        let stage = Stage::new().await;
        stage.change(|world| match user_data {
            Some(text) => world.metadata.insert("user-data".to_owned(), text.to_owned()),
            None => world.metadata.remove("user-data"),
        });
        fails(&stage, 78, &["boot: settings:", words, "correct"]).await;
        assert_eq!(stage.calls_of("SetInstanceHealth"), ["SetInstanceHealth i-0abc Unhealthy"]);
    }
}

#[tokio::test]
async fn unknown_names_and_wrong_types_fail_at_once_and_are_told_to_all() {
    for more in
        ["agent-tgas: a=b", "agents-per-instance: many", "agent-tags: {a: {b: c}}", "stack: [a]\nqueue: {}"]
    {
        let stage = Stage::new().await.settings(more);
        stage.change(|world| world.creating = true);
        fails(&stage, 78, &["boot: settings:"]).await;
        assert_eq!(stage.calls_of("CompleteLifecycleAction launching ABANDON").len(), 1, "{more}");
    }
}

#[tokio::test]
async fn a_token_parameter_that_is_not_there_or_empty_fails_at_once() {
    let stage = Stage::new().await.settings("agent-token: 'ssm:/ci/token'");
    fails(&stage, 1, &["boot: agent token:", "ssm:GetParameter", "/ci/token"]).await;
    let stage = Stage::new().await.settings("agent-token: 'ssm:/ci/token'").parameter("/ci/token", " ");
    fails(&stage, 78, &["boot: agent token:", "/ci/token is empty", "boot again"]).await;
    let stage = Stage::new().await.settings("agent-token: 'ssm:/ci/token'").parameter("/ci/token", "t");
    stage.refuse("AmazonSSM.GetParameter", 9, "AccessDeniedException", "not authorized");
    fails(&stage, 77, &["boot: agent token:", "ssm:GetParameter"]).await;
}

#[tokio::test]
async fn a_missing_agent_program_fails_at_once() {
    let stage = Stage::new().await.settings("agent-program: no-such-agent");
    fails(&stage, 78, &["boot: files:", "no program `no-such-agent`", "install it in the image"]).await;
    assert_eq!(
        stage.calls_of("CompleteLifecycleAction"),
        ["CompleteLifecycleAction launching ABANDON", "CompleteLifecycleAction terminating CONTINUE"]
    );
}

#[tokio::test]
async fn a_read_only_disk_fails_at_once() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root mounts");
        return;
    }
    let stage = Stage::new().await.on_a_read_only_disk();
    fails(&stage, 1, &["boot: files:", "Read-only file system"]).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_fails_at_once() {
    let stage = Stage::new().await;
    // Root may write anywhere but beneath a file.
    std::fs::write(stage.path("etc"), "").unwrap();
    fails(&stage, 1, &["boot: files:", "etc/"]).await;
    assert_eq!(stage.calls_of("SetInstanceHealth").len(), 1);
}
