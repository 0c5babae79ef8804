//! The Stacks API as a source of job counts that misbehaves, beside metrics that are well.

use serde_json::{Value, json};

use crate::good_answer;
use crate::stage::{Ci, Stage};

const STACKS: [(&str, &str); 1] = [("JOB_SOURCE", "stacks")];
const LONG_AGO: &str = "Sat, 21 Nov 2020 12:00:00 GMT";

/// A page without jobs.
fn page() -> Value {
    json!({
        "jobs": [],
        "cluster_queue": {"id": "q", "dispatch_paused": false},
        "page_info": {"has_next_page": false, "end_cursor": null},
    })
}

/// The metrics, with so many scheduled jobs.
fn scheduled(jobs: u64) -> Ci {
    let mut answer = good_answer();
    answer["jobs"] = json!({"scheduled": jobs, "running": 0, "waiting": 0, "total": jobs});
    Ci::json(answer)
}

#[tokio::test]
async fn both_answers_let_idle_instances_go() {
    let stage = Stage::start(scheduled(0)).await;
    stage.list(200, &page().to_string(), None);
    let run = stage.once(&STACKS).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![0]), "{}", run.stderr);
    assert_eq!(run.record()["oldest_wait_s"], 0);
}

#[tokio::test]
async fn a_list_that_is_not_well_changes_nothing() {
    let without = |field: &str| {
        let mut page = page();
        page.as_object_mut().unwrap().remove(field);
        page.to_string()
    };
    let with_job = |at: &str| {
        let mut page = page();
        page["jobs"] = json!([{"id": "j", "priority": 0, "agent_query_rules": [], "scheduled_at": at}]);
        page.to_string()
    };
    let next = json!({"has_next_page": true, "end_cursor": "same"});
    let mut circle = page();
    circle["page_info"] = next;
    let cases = [
        ("refused", 401, "{}".to_owned(), 77, "agent token"),
        ("no such queue", 404, r#"{"message":"No queue"}"#.to_owned(), 1, "No queue"),
        ("too often", 429, "slow down".to_owned(), 75, "429"),
        ("failed", 503, "oops".to_owned(), 69, "503"),
        ("truncated", 200, page().to_string()[..40].to_owned(), 69, "makes no sense"),
        ("no jobs", 200, without("jobs"), 69, "jobs"),
        ("no pause", 200, without("cluster_queue"), 69, "cluster_queue"),
        ("a circle", 200, circle.to_string(), 69, "the cursor repeats"),
        ("before all time", 200, with_job("0001-01-01T00:00:00Z"), 69, "scheduled_at 0001"),
        ("far ahead", 200, with_job("9999-01-01T00:00:00Z"), 69, "scheduled_at 9999"),
    ];
    for (name, status, body, code, says) in cases {
        let stage = Stage::start(scheduled(0)).await;
        stage.list(status, &body, None);
        let run = stage.once(&STACKS).await;
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{name}: `{}` lacks `{says}`", run.stderr);
        assert!(run.stderr.contains("scheduled jobs of queue default"), "{name}: {}", run.stderr);
        assert!(run.record()["step"].is_null(), "{name}");
        assert!(stage.desired_set().is_empty() && stage.published() == 0, "{name}: unknown is not zero");
    }
}

#[tokio::test]
async fn counts_in_doubt_raise_capacity_and_lower_none() {
    // A page has always a next one.
    let mut endless = page();
    endless["page_info"] = json!({"has_next_page": true, "end_cursor": "NEXT"});
    let (old, endless) = (page().to_string(), endless.to_string());
    for (name, body, date, says) in [
        ("old", &old, Some(LONG_AGO), "but the CI's answer is of 12:00:00: nothing is lowered by it"),
        ("incomplete", &endless, None, "but the CI's answer is incomplete: nothing is lowered by it"),
    ] {
        let stage = Stage::start(scheduled(0)).await;
        stage.list(200, body, date);
        let run = stage.once(&STACKS).await;
        assert_eq!((run.code, stage.desired_set()), (0, vec![]), "{name}: {}", run.stderr);
        let decision = run.record();
        assert_eq!(decision["step"], "hold", "{name}: {decision}");
        assert!(!decision["doubt"].is_null(), "{name}: {decision}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &run.stdout).unwrap();
        let told = stage.run(&["explain", "--file", file.path().to_str().unwrap()], &[]).await;
        assert!(told.stdout.contains(says), "{name}: {}{}", told.stdout, told.stderr);
        assert!(!told.stdout.contains("does not replay"), "{}", told.stdout);

        let stage = Stage::start(scheduled(5)).await;
        stage.list(200, body, date);
        let run = stage.once(&STACKS).await;
        assert_eq!((run.code, stage.desired_set()), (0, vec![5]), "{name}: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_paused_queue_lets_idle_instances_go_whatever_waits() {
    let stage = Stage::start(scheduled(5)).await;
    let mut paused = page();
    paused["cluster_queue"]["dispatch_paused"] = json!(true);
    stage.list(200, &paused.to_string(), None);
    let run = stage.once(&STACKS).await;
    assert_eq!((run.code, stage.desired_set()), (0, vec![0]), "{}", run.stderr);
    assert_eq!(run.record()["paused"], true);
    assert!(run.record()["oldest_wait_s"].is_null());
}
