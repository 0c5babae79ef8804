//! Stacks: those who turn a queue's jobs into agents read the jobs that wait, and whether the queue is paused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{Answer, SECOND, Stage};

fn stack(key: &str) -> Value {
    json!({"key": key, "type": "custom", "queue_key": "linux", "metadata": {"version": "1"}})
}

async fn register(stage: &Stage, body: Value) -> Answer {
    stage.registration(Method::POST, "/v3/stacks/register", Some(body)).await
}

/// Scheduled jobs as a registered stack is told.
async fn listed(stage: &Stage, query: &str) -> Answer {
    stage.registration(Method::GET, &format!("/v3/stacks/ci/scheduled-jobs?{query}"), None).await
}

fn commands(page: &Value) -> Vec<&str> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["step"]["key"].as_str().unwrap_or("")).collect()
}

/// Jobs with these step keys.
fn jobs(keys: &[&str]) -> Value {
    let job = |key: &&str| json!({"command": "true", "key": key, "queue": "linux"});
    keys.iter().map(job).collect()
}

async fn pause(stage: &Stage, queue: &str, what: &str) -> Answer {
    stage.user(Method::PUT, &format!("/api/queues/{queue}/{what}"), None).await
}

#[tokio::test]
async fn a_stack_registers_once_or_often_and_goes() {
    let mut stage = Stage::new().await;
    let first = register(&stage, stack("ci")).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = register(&stage, stack("ci")).await;
    assert_eq!(again.status, 200);
    let (first, again) = (first.json(), again.json());
    assert_eq!(first, again);
    assert_eq!(
        (&first["key"], &first["state"], &first["cluster_queue_key"]),
        (&json!("ci"), &json!("connected"), &json!("linux"))
    );
    assert_eq!(first["last_connected_on"], "2027-01-15T08:00:00Z");
    stage.restart().await;
    assert_eq!(listed(&stage, "queue_key=linux").await.status, 200, "it is known after a restart");
    let gone = async || stage.registration(Method::POST, "/v3/stacks/ci/deregister", None).await;
    assert_eq!(gone().await.status, 204);
    assert_eq!(gone().await.status, 404);
    let unknown = listed(&stage, "queue_key=linux").await;
    assert_eq!((unknown.status, unknown.message()), (404, "no stack ci".into()));
}

#[tokio::test]
async fn a_registration_that_makes_no_sense_names_every_fault() {
    let stage = Stage::new().await;
    let body =
        json!({"key": "a.b", "type": "mine", "queue_key": "a b", "metadata": {"note": "x".repeat(257)}});
    let refused = register(&stage, body).await;
    assert_eq!(refused.status, 422);
    for field in ["key:", "type:", "queue_key:", "metadata:"] {
        assert!(refused.message().contains(field), "{}", refused.message());
    }
    assert_eq!(register(&stage, stack(&"k".repeat(81))).await.status, 422);
    assert_eq!(register(&stage, json!({"key": "ci"})).await.status, 422, "all fields are needed");
    let user = stage.user(Method::POST, "/v3/stacks/register", Some(stack("ci"))).await;
    assert_eq!(user.status, 401);
}

#[tokio::test]
async fn jobs_that_wait_are_listed_with_age_priority_and_rules() {
    let stage = Stage::new().await;
    register(&stage, stack("ci")).await.ok();
    let old = json!([{"command": "make", "key": "tests", "queue": "linux", "priority": 3, "agents": ["docker=true"]}]);
    let build = stage.build(old).await;
    stage.advance(90 * SECOND);
    stage.build(json!([{"command": "true", "queue": "linux"}, {"command": "true", "queue": "mac"}])).await;
    let answer = listed(&stage, "queue_key=linux").await.ok();
    assert!(answer.headers.contains_key("date"), "readers see how fresh it is");
    let page = answer.json();
    assert_eq!(page["page_info"], json!({"has_next_page": false, "end_cursor": "2"}));
    let queue = &page["cluster_queue"];
    assert_eq!((&queue["paused"], &queue["dispatch_paused"]), (&json!(false), &json!(false)));
    let [first, second] = &page["jobs"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(first["id"], build["jobs"][0]["id"]);
    assert_eq!((&first["priority"], &second["priority"]), (&json!(3), &json!(0)));
    assert_eq!(first["agent_query_rules"], json!(["queue=linux", "docker=true"]));
    assert_eq!(first["scheduled_at"], "2027-01-15T08:00:00Z");
    assert_eq!(second["scheduled_at"], "2027-01-15T08:01:30Z");
    assert_eq!((&first["pipeline"]["slug"], &first["build"]["number"]), (&json!("app"), &json!(1)));
    assert_eq!((&first["step"]["key"], &second["step"]["key"]), (&json!("tests"), &Value::Null));
}

#[tokio::test]
async fn a_job_is_listed_until_an_agent_has_it_or_it_is_canceled() {
    let stage = Stage::new().await;
    register(&stage, stack("ci")).await.ok();
    stage.build(jobs(&["a", "b", "c"])).await;
    let canceled = stage.build(jobs(&["d"])).await;
    stage.cancel(&canceled["number"]).await;
    let agent = stage.agent(json!({"meta_data": ["queue=linux"]})).await;
    let job = agent.pinged().await.unwrap();
    let page = listed(&stage, "queue_key=linux").await.ok().json();
    assert_eq!(commands(&page), ["b", "c"], "one is offered to an agent");
    // Not accepted in time, it waits again, and has done so since it came.
    stage.advance(31 * SECOND);
    for _ in 0..200 {
        let page = listed(&stage, "queue_key=linux").await.ok().json();
        if commands(&page).len() == 3 {
            assert_eq!(
                (&page["jobs"][0]["id"], &page["jobs"][0]["scheduled_at"]),
                (&json!(job), &json!("2027-01-15T08:00:00Z"))
            );
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the job does not come back");
}

#[tokio::test]
async fn pages_follow_the_cursor() {
    let stage = Stage::new().await;
    register(&stage, stack("ci")).await.ok();
    stage.build(jobs(&["a", "b", "c", "d", "e"])).await;
    let mut seen = Vec::new();
    let mut query = "queue_key=linux&limit=2".to_owned();
    for more in [true, true, false] {
        let page = listed(&stage, &query).await.ok().json();
        seen.extend(commands(&page).into_iter().map(str::to_owned));
        assert_eq!(page["page_info"]["has_next_page"], more, "{page}");
        query =
            format!("queue_key=linux&limit=2&after={}", page["page_info"]["end_cursor"].as_str().unwrap());
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let exact = listed(&stage, "queue_key=linux&limit=5").await.ok().json();
    assert_eq!(exact["page_info"]["has_next_page"], false);
    let none = listed(&stage, "queue_key=mac").await.ok().json();
    assert_eq!((&none["jobs"], &none["page_info"]["end_cursor"]), (&json!([]), &Value::Null));
    for bad in [
        "",
        "limit=2",
        "queue_key=linux&limit=0",
        "queue_key=linux&limit=1001",
        "queue_key=linux&after=x",
        "queue_key=linux&limit=-1",
    ] {
        assert_eq!(listed(&stage, bad).await.status, 422, "{bad}");
    }
    let stranger =
        stage.send(Method::GET, "/v3/stacks/ci/scheduled-jobs?queue_key=linux", "Token who", None).await;
    assert_eq!(stranger.status, 401);
}

#[tokio::test]
async fn a_paused_queue_gives_out_nothing_until_it_is_resumed() {
    let mut stage = Stage::new().await;
    register(&stage, stack("ci")).await.ok();
    let build = stage.build(jobs(&["a", "b", "c"])).await;
    stage.agent(json!({"meta_data": ["queue=linux"]})).await.runs().await;
    stage.advance(SECOND);
    let note = json!({"note": "database is being moved"});
    let paused = stage.user(Method::PUT, "/api/queues/linux/pause", Some(note)).await.ok().json();
    assert_eq!((&paused["name"], &paused["note"]), (&json!("linux"), &json!("database is being moved")));
    assert_eq!(paused["paused_at"], "2027-01-15T08:00:01Z");
    assert_eq!(
        (&paused["scheduled"], &paused["running"], &paused["agents"]),
        (&json!(2), &json!(1), &json!(1))
    );
    stage.advance(SECOND);
    let again = pause(&stage, "linux", "pause").await.ok().json();
    assert_eq!((&again["paused_at"], &again["note"]), (&paused["paused_at"], &json!("")));

    let page = listed(&stage, "queue_key=linux").await.ok().json();
    assert_eq!(page["cluster_queue"]["paused"], true);
    assert_eq!(page["cluster_queue"]["dispatch_paused"], true);
    assert_eq!(commands(&page), ["b", "c"], "its jobs wait on");
    let other = listed(&stage, "queue_key=mac").await.ok().json();
    assert_eq!(other["cluster_queue"]["paused"], false);

    stage.restart().await;
    let free = stage.agent(json!({"name": "a-2", "meta_data": ["queue=linux"]})).await;
    assert_eq!(free.pinged().await, None, "nobody gets a job, after a restart neither");
    assert_eq!(stage.job(&build["number"], 0).await["state"], "running", "what runs goes on");
    stage.build(json!([{"command": "true", "queue": "mac"}])).await;
    let mac = stage.agent(json!({"name": "a-3", "meta_data": ["queue=mac"]})).await;
    assert!(mac.pinged().await.is_some(), "other queues go on");

    let resumed = pause(&stage, "linux", "resume").await.ok().json();
    assert_eq!(resumed["paused_at"], Value::Null);
    assert_eq!(pause(&stage, "linux", "resume").await.status, 200, "twice is harmless");
    assert!(free.pinged().await.is_some());
}

#[tokio::test]
async fn queues_are_listed_and_bad_names_and_strangers_refused() {
    let stage = Stage::new().await;
    stage.build(jobs(&["a"])).await;
    let _agent = stage.agent(json!({"meta_data": ["queue=mac"]})).await;
    pause(&stage, "windows", "pause").await.ok();
    let list = stage.user(Method::GET, "/api/queues", None).await.ok().json();
    let of = |queue: &Value| {
        let number = |key: &str| queue[key].as_u64().unwrap();
        (
            queue["name"].as_str().unwrap().to_owned(),
            number("scheduled"),
            number("agents"),
            queue["paused_at"].is_string(),
        )
    };
    let queues: Vec<_> = list["queues"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(
        queues,
        [("linux".into(), 1, 0, false), ("mac".into(), 0, 1, false), ("windows".into(), 0, 0, true)]
    );
    assert_eq!(pause(&stage, "a%20b", "pause").await.status, 422);
    assert_eq!(pause(&stage, "-q", "resume").await.status, 422);
    let long = json!({"note": "x".repeat(1025)});
    assert_eq!(stage.user(Method::PUT, "/api/queues/linux/pause", Some(long)).await.status, 422);
    let typo = json!({"notes": "x"});
    assert_eq!(stage.user(Method::PUT, "/api/queues/linux/pause", Some(typo)).await.status, 422);
    for path in ["/api/queues", "/api/queues/linux/pause"] {
        let method = if path.ends_with("pause") { Method::PUT } else { Method::GET };
        assert_eq!(stage.registration(method, path, None).await.status, 401, "{path}");
    }
}
