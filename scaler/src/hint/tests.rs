use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(body: &Value) -> Option<Hint> {
    parse(body.to_string().as_bytes()).unwrap()
}

/// As Buildkite sends it, shortened.
fn build(event: &str) -> Value {
    json!({
        "event": event,
        "build": {
            "id": "01903a4f-1111", "url": "https://api.example/…/builds/7", "number": 7, "state": "scheduled",
            "branch": "main", "meta_data": {}, "env": {"A": "b"}, "creator": null
        },
        "pipeline": {"id": "0190-2222", "slug": "app", "name": "App", "provider": {"id": "github"}},
        "sender": {"id": "0190-3333", "name": "Somebody"}
    })
}

fn job(rules: &Value) -> Value {
    let mut body = build("job.scheduled");
    body["job"] = json!({
        "id": "0190-4444", "type": "script", "state": "scheduled", "agent_query_rules": rules, "priority": {"number": 0}
    });
    body
}

#[test]
fn buildkites_builds_and_jobs_are_read() {
    let hint = read(&build("build.scheduled")).unwrap();
    assert_eq!((hint.event, hint.pipeline.as_deref()), (Event::BuildScheduled, Some("app")));
    assert_eq!((hint.build.as_deref(), hint.jobs, &hint.listed), (Some("01903a4f-1111"), None, &None));
    assert!(hint.is_for("default") && hint.is_for("other"), "nobody says whose jobs it will bring");
    assert_eq!(hint.announces("default"), None);
    assert_eq!(read(&build("build.running")).unwrap().event, Event::BuildRunning);
    assert_eq!(read(&build("build.finished")).unwrap().event, Event::BuildFinished);
    for (rules, queue) in [
        (json!(["queue=linux"]), Some("linux")),
        (json!(["os=linux", "queue=linux"]), Some("linux")),
        (json!(["queue=*"]), None),
        (json!(["os=linux"]), None),
        (json!([]), None),
        (Value::Null, None),
    ] {
        let hint = read(&job(&rules)).unwrap();
        assert_eq!((hint.event, hint.queue.as_deref()), (Event::JobScheduled, queue), "{rules}");
        assert_eq!(hint.job.as_deref(), Some("0190-4444"));
        assert!(hint.is_for("linux") && hint.is_for("windows") == queue.is_none(), "{rules}");
    }
}

#[test]
fn a_list_of_jobs_is_counted_for_the_queue() {
    let mut body = build("build.running");
    body["build"]["jobs"] = json!([
        {"id": "1", "type": "script", "state": "scheduled", "agent_query_rules": ["queue=linux"]},
        {"id": "2", "type": "script", "state": "waiting", "agent_query_rules": ["queue=windows"]},
        {"id": "3", "type": "script", "state": "scheduled", "agent_query_rules": []},
        {"id": "4", "type": "script", "state": "passed", "agent_query_rules": ["queue=linux"]},
        {"type": "waiter"}, {"type": "manual", "state": "blocked"}, {"type": "trigger"}
    ]);
    let hint = read(&body).unwrap();
    assert_eq!([hint.announces("linux"), hint.announces("windows")], [Some(2), Some(2)]);
    body["build"]["jobs"] = json!([{"type": "script", "agent_query_rules": ["queue=windows"]}]);
    let hint = read(&body).unwrap();
    assert!(hint.is_for("windows") && !hint.is_for("linux"));
}

#[test]
fn a_sender_of_ones_own_names_queue_and_number() {
    let hint = read(&json!({
        "event": "build.scheduled", "queue": "linux", "jobs": 12,
        "build": {"id": "7"}, "pipeline": {"slug": "app"}
    }));
    let hint = hint.unwrap();
    assert!(hint.is_for("linux") && !hint.is_for("windows"));
    assert_eq!(hint.announces("linux"), Some(12));
    let least = read(&json!({"event": "job.scheduled"})).unwrap();
    assert!(least.is_for("linux"));
}

#[test]
fn other_events_are_no_hints_and_other_bodies_are_unreadable() {
    for event in ["ping", "job.finished", "agent.connected", ""] {
        assert_eq!(read(&json!({"event": event, "service": {"id": "x"}})), None, "{event}");
    }
    for body in [
        "",
        "null",
        "[]",
        "7",
        "{}",
        "{\"event\":7}",
        "{\"event\":\"job.scheduled\"",
        "{\"event\":\"job.scheduled\",\"jobs\":-1}",
        "{\"event\":\"job.scheduled\",\"jobs\":1e12}",
        "{\"event\":\"job.scheduled\",\"job\":[]}",
        "{\"event\":\"build.scheduled\",\"build\":\"x\"}",
    ] {
        assert!(parse(body.as_bytes()).is_err(), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse(format!("{{\"event\":\"ping\",\"x\":{deep}").as_bytes()).is_err());
}

#[test]
fn names_are_bounded() {
    let mut body = build("build.scheduled");
    body["pipeline"]["slug"] = "x".repeat(201).into();
    body["build"]["id"] = "".into();
    let hint = read(&body).unwrap();
    assert_eq!((hint.pipeline, hint.build), (None, None));
}

proptest! {
    #[test]
    fn no_bytes_break_it(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_cut_breaks_it(end in 0usize..400) {
        let body = job(&json!(["queue=linux"])).to_string();
        let end = end.min(body.len() - 1);
        prop_assert!(parse(&body.as_bytes()[..end]).is_err());
    }
}
