use serde_json::json;

use super::*;

/// A job that ran for a minute, with changes.
fn job(changes: &Value) -> Value {
    let mut job = json!({
        "type": "script", "agent_query_rules": ["queue=q"], "runnable_at": "2026-11-16T09:00:10Z",
        "started_at": "2026-11-16T09:00:50Z", "finished_at": "2026-11-16T09:01:50Z",
    });
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    job
}

fn build(number: u64, jobs: &[Value]) -> Value {
    json!({ "id": format!("b{number}"), "number": number, "pipeline": { "slug": "app" },
        "created_at": "2026-11-16T09:00:00Z", "jobs": jobs })
}

fn told(builds: &[Value], wanted: &Wanted) -> Result<Told, Vec<String>> {
    let mut history = History::default();
    history.take("page 1", &json!(builds));
    history.trace(wanted).map_err(|faults| faults.0)
}

#[test]
fn what_is_left_out_is_counted_with_its_reason() {
    let jobs = [
        job(&json!({})),
        job(&json!({ "type": "waiter" })),
        job(&json!({ "type": "manual", "started_at": null })),
        job(&json!({ "type": "trigger" })),
        job(&json!({ "started_at": null })),
        job(&json!({ "finished_at": null })),
        job(&json!({ "agent_query_rules": ["docker=true", "queue=*"] })),
        job(&json!({ "runnable_at": null })),
    ];
    let told = told(&[build(1, &jobs)], &Wanted::default()).unwrap();
    assert_eq!(told.rows.len(), 1);
    assert_eq!(
        told.summary(),
        "jobs: 1, of builds: 1; left out: steps without an agent (wait, block, trigger): 3, never ran: 1, still running: 1, \
         no queue in its rules or its agent's tags: 1, no runnable_at: 1"
    );
}

#[test]
fn a_build_is_announced_when_it_was_made_with_the_jobs_that_ran() {
    let agent = json!({ "agent_query_rules": [], "agent": { "meta_data": ["docker=true", "queue=arm"] } });
    let late = json!({ "runnable_at": "2026-11-16T09:30:00Z" });
    let never = json!({ "started_at": null });
    let builds = [build(1, &[job(&json!({})), job(&agent), job(&late), job(&never)])];
    let announced = |wanted: &Wanted| {
        let rows = told(&builds, wanted).unwrap().rows;
        assert!(rows.iter().all(|row| row.hint == rows[0].hint && row.build == "app#1"));
        (rows.len(), rows[0].hint.map(|hint| (hint.at % 3_600_000, hint.jobs)))
    };
    assert_eq!(announced(&Wanted::default()), (3, Some((0, 3))));
    let queue = |queue: &str| Wanted { queue: Some(queue.to_owned()), ..Wanted::default() };
    assert_eq!(announced(&queue("arm")), (1, Some((0, 1))), "by the tags of its agent");
    let until = Wanted { until: Some("2026-11-16T09:30:00Z".parse().unwrap()), ..Wanted::default() };
    assert_eq!(announced(&until), (2, Some((0, 2))));
    let from = Wanted { from: Some("2026-11-16T09:30:00Z".parse().unwrap()), ..Wanted::default() };
    assert_eq!(announced(&from), (1, Some((0, 1))));
    assert_eq!(announced(&Wanted { blind: true, ..Wanted::default() }), (3, None));
    let left = told(&builds, &queue("none")).unwrap_err();
    assert_eq!(
        left,
        ["no job is left for the trace: jobs: 0, of builds: 0; left out: never ran: 1, other queues: 3"]
    );
}

#[test]
fn a_clock_that_is_behind_announces_nothing_late() {
    let early = json!({ "runnable_at": "2026-11-16T08:59:59.500Z" });
    let rows = told(&[build(1, &[job(&early)])], &Wanted::default()).unwrap().rows;
    assert_eq!(rows[0].hint.unwrap().at, rows[0].job.unwrap().runnable_at);
}

#[test]
fn what_makes_no_sense_is_told_with_its_field() {
    let bad = [
        build(
            1,
            &[
                job(&json!({ "finished_at": "2026-11-16T09:00:49Z" })),
                job(&json!({ "started_at": "yesterday" })),
                job(&json!({ "runnable_at": 17 })),
                job(&json!({ "type": null })),
            ],
        ),
        json!({ "id": "x", "number": 2, "pipeline": {}, "created_at": "2026-11-16T09:00:00Z", "jobs": [] }),
        json!({ "id": "x", "number": "3", "pipeline": { "slug": "app" } }),
        json!({ "number": 4, "pipeline": "app" }),
        json!({ "id": "x", "number": 5, "pipeline": "app", "created_at": null }),
        json!({ "id": "x", "number": 6, "pipeline": "app", "created_at": "2026-11-16T09:00:00Z" }),
        json!("build"),
    ];
    insta::assert_snapshot!(told(&bad, &Wanted::default()).unwrap_err().join("\n"), @r"
    page 1: builds[0] (app#1).jobs[0].finished_at: 2026-11-16T09:00:49Z is before started_at, 2026-11-16T09:00:50Z
    page 1: builds[0] (app#1).jobs[1].started_at: `yesterday` is no time
    page 1: builds[0] (app#1).jobs[2].runnable_at: `17` is no time
    page 1: builds[0] (app#1).jobs[3].type: lacks
    page 1: builds[1].pipeline: lacks; is this a build?
    page 1: builds[2].number: lacks, or is no number
    page 1: builds[3] (app#4).id: lacks
    page 1: builds[4] (app#5).created_at: lacks
    page 1: builds[5] (app#6).jobs: lacks; was it fetched with exclude_jobs?
    page 1: builds[6].pipeline: lacks; is this a build?
    ");
    let many: Vec<Value> = (0..30).map(|_| json!({})).collect();
    let faults = told(&many, &Wanted::default()).unwrap_err();
    assert_eq!((faults.len(), faults.last().unwrap().as_str()), (21, "and 10 more"));
}

#[test]
fn a_page_is_an_array_a_list_or_one_build() {
    let one = build(1, &[job(&json!({}))]);
    for page in [json!([one.clone()]), json!({ "builds": [one.clone()] }), one.clone()] {
        let mut history = History::default();
        assert_eq!(history.take("f", &page), (1, Some("2026-11-16T09:00:00Z".parse().unwrap())));
        assert_eq!(history.trace(&Wanted::default()).unwrap().rows.len(), 1);
    }
    let mut history = History::default();
    history.take("f", &json!({ "message": "Authentication required" }));
    history.take("g", &json!(7));
    let faults = history.trace(&Wanted::default()).unwrap_err();
    assert_eq!(
        faults.0,
        ["f: is no list of builds, but says: Authentication required", "g: is no list of builds"]
    );
}
