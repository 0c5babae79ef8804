//! The real program against a CI and an AWS that misbehave: whatever is unknown, nothing is scaled in, and the
//! failure says which step, which object and what to do.

#![expect(clippy::unwrap_used, reason = "tests")]

mod records;
mod settings;
mod stacks;
mod stage;
mod too_often;

use serde_json::{Value, json};
use stage::{Ci, Stage};

/// Two idle instances that could be released at once, if only the CI said that nothing is to do.
fn good_answer() -> Value {
    json!({
        "organization": {"slug": "acme"},
        "agents": {"idle": 2, "busy": 0, "total": 2},
        "jobs": {"scheduled": 0, "running": 0, "waiting": 0, "total": 0},
    })
}

#[tokio::test]
async fn idle_instances_are_released_when_the_ci_says_so() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    let run = stage.once(&[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.record()["step"], "scale-in");
    assert_eq!(stage.desired_set(), [0]);
    assert_eq!(stage.published(), 1);
}

#[tokio::test]
async fn a_ci_that_does_not_answer_well_changes_nothing() {
    let mut lacks_running = good_answer();
    lacks_running["jobs"].as_object_mut().unwrap().remove("running");
    let mut nameless = good_answer();
    nameless["organization"]["slug"] = json!("");
    let cases = [
        ("401", Ci::status(401, r#"{"message":"Invalid token"}"#), 77, "agent token"),
        ("429", Ci::status(429, "slow down"), 75, "429"),
        ("500", Ci::status(500, "oops"), 69, "500"),
        ("404", Ci::status(404, r#"{"message":"No such queue"}"#), 1, "No such queue"),
        ("garbage", Ci::status(200, "<html>maintenance</html>"), 69, "makes no sense"),
        ("empty object", Ci::json(json!({})), 69, "makes no sense"),
        ("a count is missing", Ci::json(lacks_running), 69, "running"),
        ("no organization", Ci::json(nameless), 69, "organization"),
        ("never answers", Ci::Silent, 69, "metrics/queue"),
        ("hangs up", Ci::HangsUp, 69, "metrics/queue"),
    ];
    for (name, ci, code, says) in cases {
        let stage = Stage::start(ci).await;
        let run = stage.once(&[]).await;
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{name}: `{}` lacks `{says}`", run.stderr);
        assert!(run.record()["step"].is_null(), "{name}");
        assert!(stage.desired_set().is_empty(), "{name}: unknown is not zero");
        assert_eq!(stage.published(), 0, "{name}: unknown counts are not published");
        assert!(!run.stderr.contains("panicked") && !run.stdout.contains("the-token"), "{name}");
    }
}

#[tokio::test]
async fn a_missing_group_is_named() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    let run = stage.once(&[("ASG_NAME", "gone")]).await;
    assert_eq!(run.code, 78);
    assert!(run.stderr.contains("group gone does not exist in us-east-1"), "{}", run.stderr);
}

#[tokio::test]
async fn an_aws_that_refuses_or_is_gone_fails_the_tick() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    stage.refuse_autoscaling(
        "DescribeAutoScalingGroups",
        403,
        "AccessDenied",
        "not authorized to perform: autoscaling:DescribeAutoScalingGroups",
    );
    let run = stage.once(&[]).await;
    assert_eq!(run.code, 77, "{}", run.stderr);
    assert!(run.stderr.contains("autoscaling:DescribeAutoScalingGroups on g"), "{}", run.stderr);
    let run = stage.once(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]).await;
    assert_eq!(run.code, 69, "{}", run.stderr);
    assert!(stage.desired_set().is_empty());
}

/// Three instances are needed beside the two that idle.
fn busy_answer() -> Value {
    let mut answer = good_answer();
    answer["jobs"] = json!({"scheduled": 5, "running": 0, "waiting": 0, "total": 5});
    answer
}

#[tokio::test]
async fn boots_that_keep_failing_are_not_repeated_and_the_log_says_why() {
    let stage = Stage::start(Ci::json(busy_answer())).await;
    for _ in 0..2 {
        stage.fail_a_boot();
    }
    let run = stage.once(&[]).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![5]), "two failures are no habit: {}", run.stderr);
    stage.fail_a_boot();
    let run = stage.once(&[]).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![5]), "{}", run.stderr);
    let record = run.record();
    assert_eq!(record["step"], "hold");
    assert_eq!(record["reason"], "boots keep failing: one instance at a time is tried, after growing pauses");
    assert_eq!(record["boots_failing"]["in_a_row"], 3);
    assert_eq!(record["boots_failing"]["last"]["instance"], "i-0bad");
    assert_eq!(
        record["boots_failing"]["last"]["failure"],
        "Instance failed to complete user's Lifecycle Action"
    );
    let run = stage.once(&[("PROBE_AFTER", "1ms")]).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![5, 3]), "one is tried: {}", run.stderr);
}

#[tokio::test]
async fn a_role_that_may_not_see_activities_scales_and_is_told_so() {
    let stage = Stage::start(Ci::json(busy_answer())).await;
    let message = "not authorized to perform: autoscaling:DescribeScalingActivities";
    stage.refuse_autoscaling("DescribeScalingActivities", 403, "AccessDenied", message);
    let run = stage.once(&[]).await;
    assert_eq!((run.code, stage.desired_set()), (77, vec![5]), "{}", run.stderr);
    assert!(run.stderr.contains("autoscaling:DescribeScalingActivities on g"), "{}", run.stderr);
}

#[tokio::test]
async fn a_rotated_token_is_read_again() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    stage.keep_secret("the-token");
    stage.rotate_at_third_read("new");
    let answer = stage
        .invoke(&[
            ("BUILDKITE_AGENT_TOKEN", ""),
            ("BUILDKITE_AGENT_TOKEN_SECRET", "token-secret"),
            ("LAMBDA_INTERVAL", "50ms"),
            // Four ticks, on any machine.
            ("LAMBDA_TIMEOUT", "4s"),
        ])
        .await;
    assert!(answer["ticks"].as_u64().is_some_and(|n| n > 3), "no tick failed: {answer}");
    assert_eq!(stage.secret_reads(), 2, "once at first, once after the refusal");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    let run = stage.run(&["once", "--dry-run"], &[]).await;
    assert_eq!((run.code, run.record()["step"].clone()), (0, json!("scale-in")));
    assert!(stage.desired_set().is_empty() && stage.published() == 0);
}

#[tokio::test]
async fn an_invocation_ticks_on_after_a_failure_and_then_fails() {
    let stage = Stage::start(Ci::fails_a_tick_then(good_answer())).await;
    let answer = stage.invoke(&[("LAMBDA_INTERVAL", "50ms"), ("LAMBDA_TIMEOUT", "2s")]).await;
    assert_eq!(answer["errorType"], "Unavailable", "{answer}");
    assert_eq!(stage.desired_set().first(), Some(&0), "the ticks after the failed one were made");
    assert_eq!(stage.published(), 1, "metrics go out once a minute, whatever the interval");
}

#[tokio::test]
async fn a_good_invocation_answers_how_often_it_ticked() {
    let stage = Stage::start(Ci::json(good_answer())).await;
    let answer = stage.invoke(&[("LAMBDA_INTERVAL", "100ms"), ("LAMBDA_TIMEOUT", "250ms")]).await;
    assert!(answer["ticks"].as_u64().is_some_and(|n| n >= 1), "{answer}");
}
