//! Rows about an agent's life.

use reqwest::Method;
use serde_json::json;

use crate::stage::{REGISTRATION, SECOND, Stage};

#[tokio::test]
async fn row_1_registration_and_access_tokens_are_different_sets() {
    let stage = Stage::new().await;
    let agent = stage.agent(json!({})).await;
    let session = format!("Token {}", agent.token);
    let registration = format!("Token {REGISTRATION}");
    let api = std::fs::read_to_string(stage.dir.path().join("api-token")).unwrap();
    let api = format!("Token {}", api.trim());
    for (method, path, auth) in [
        (Method::POST, "/v3/register", session.as_str()),
        (Method::POST, "/v3/register", "Token wrong"),
        (Method::POST, "/v3/register", "Token "),
        (Method::POST, "/v3/register", "Bearer registration-token"),
        (Method::POST, "/v3/register", &api),
        (Method::GET, "/v3/ping", &registration),
        (Method::GET, "/v3/ping", ""),
        (Method::GET, "/v3/metrics", &session),
        (Method::GET, "/api/builds", &registration),
        (Method::GET, "/api/builds", &session),
    ] {
        let answer = stage.send(method, path, auth, None).await;
        assert_eq!(answer.status, 401, "{path} {auth}");
        assert!(!answer.message().is_empty());
        assert!(!answer.text.contains("registration-token"), "an answer repeats the token");
    }
    assert_eq!(
        stage.registration(Method::GET, "/v3/token", None).await.ok().json()["organization_slug"],
        "acme"
    );
}

#[tokio::test]
async fn row_2_bodyless_requests_need_no_content_type() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}, {"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.pinged().await.unwrap();
    agent.put(&format!("/jobs/{job}/accept"), None).await.ok();
    agent.post(&format!("/jobs/{job}/data/keys"), None).await.ok();
    agent.put(&format!("/jobs/{job}/start"), None).await.ok();
    agent.finish(&job, "0").await.ok();
    let other = build["jobs"][1]["id"].as_str().unwrap();
    agent.put(&format!("/jobs/{other}/acquire"), None).await.ok();
    agent.post("/disconnect", None).await.ok();
}

#[tokio::test]
async fn row_3_a_registration_is_answered_in_full() {
    let stage = Stage::new().await;
    let body = json!({
        "name": "a-1", "hostname": "h", "os": "NAME=\"Debian\"\nID=debian\n", "arch": "amd64",
        "script_eval_enabled": true, "priority": "5", "version": "3.18.0", "build": "x",
        "meta_data": ["queue=default", "docker=true"], "unknown_field": {"of": "later versions"}
    });
    let answer = stage.registration(Method::POST, "/v3/register", Some(body)).await.ok().json();
    assert_eq!(answer["name"], "a-1");
    assert_eq!(answer["meta_data"], json!(["queue=default", "docker=true"]));
    for field in ["id", "access_token"] {
        assert!(!answer[field].as_str().unwrap().is_empty(), "{field}");
    }
    for field in ["ping_interval", "job_status_interval", "heartbeat_interval"] {
        assert!(answer[field].as_u64().unwrap() > 0, "{field}");
    }
}

#[tokio::test]
async fn row_3_priority_is_a_number_as_text() {
    let stage = Stage::new().await;
    let low = stage.agent(json!({"name": "low"})).await;
    let high = stage.agent(json!({"name": "high", "priority": "5"})).await;
    stage.build(json!([{"command": "make"}])).await;
    assert_eq!(high.stage.url(), low.stage.url());
    assert_eq!(low.pinged().await, None, "the agent of higher priority comes first");
    assert!(high.pinged().await.is_some());
}

#[tokio::test]
async fn row_3_hostile_registrations_are_refused() {
    let stage = Stage::new().await;
    for body in [
        json!({"name": ""}),
        json!({"name": "a\nb"}),
        json!({"name": "x".repeat(300)}),
        json!({"name": "a", "meta_data": vec!["a=b"; 200]}),
        json!({"name": "a", "meta_data": ["a=\u{1b}[2J"]}),
        json!({"name": "a", "meta_data": "queue=default"}),
        json!({"name": "a", "os": "x".repeat(100_000)}),
    ] {
        let answer = stage.registration(Method::POST, "/v3/register", Some(body)).await;
        assert_eq!(answer.status, 422, "{}", answer.message());
    }
}

#[tokio::test]
async fn row_4_a_ping_is_an_object_and_repeats_its_job_until_accepted() {
    let stage = Stage::new().await;
    let agent = stage.agent(json!({})).await;
    let idle = agent.get("/ping").await;
    assert_eq!((idle.status, idle.json()), (200, json!({})));
    let build = stage.build(json!([{"command": "make"}])).await;
    let job = agent.pinged().await.unwrap();
    assert_eq!(job, build["jobs"][0]["id"].as_str().unwrap());
    let seen = stage.job(&build["number"], 0).await;
    assert_eq!((&seen["state"], &seen["agent_id"]), (&json!("assigned"), &json!(agent.id)));
    assert_eq!(agent.pinged().await, Some(job.clone()), "the agent may have dropped it");
    let other = stage.agent(json!({"name": "other"})).await;
    assert_eq!(other.pinged().await, None, "the job is tied");
    agent.put(&format!("/jobs/{job}/accept"), None).await.ok();
    assert_eq!(agent.pinged().await, None);
}

#[tokio::test]
async fn row_4_a_job_that_is_never_accepted_goes_to_another_agent() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "make"}])).await;
    let deaf = stage.agent(json!({"name": "deaf", "priority": "9"})).await;
    let job = deaf.pinged().await.unwrap();
    let other = stage.agent(json!({"name": "other"})).await;
    stage.advance(31 * SECOND);
    for agent in [&deaf, &other] {
        agent.post("/heartbeat", Some(json!({"sent_at": "2027-01-15T08:00:00Z"}))).await.ok();
    }
    let mut given = None;
    while given.is_none() {
        given = other.pinged().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(given, Some(job.clone()));
    let late = deaf.put(&format!("/jobs/{job}/accept"), None).await;
    assert_eq!(late.status, 422, "{}", late.message());
}

#[tokio::test]
async fn row_18_disconnect_marks_the_agent_gone() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    agent.pinged().await.unwrap();
    agent.post("/disconnect", None).await.ok();
    agent.post("/disconnect", None).await.ok();
    assert_eq!(agent.get("/ping").await.status, 401);
    assert_eq!(stage.job(&build["number"], 0).await["state"], "scheduled", "it had not accepted it");
    let metrics = stage.registration(Method::GET, "/v3/metrics", None).await.ok().json();
    assert_eq!(metrics["agents"]["total"], 0);
    let next = stage.agent(json!({})).await;
    let job = next.runs().await;
    next.post("/disconnect", None).await.ok();
    let ended = stage.job(&build["number"], 0).await;
    assert_eq!((&ended["state"], &ended["exit_status"]), (&json!("failed"), &json!(-1)));
    assert_eq!(ended["reason"], "its agent disconnected");
    assert_eq!(ended["id"], job);
}

#[tokio::test]
async fn row_18_an_agent_without_heartbeats_is_lost_and_its_job_ends() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    for _ in 0..5 {
        stage.advance(30 * SECOND);
        agent.post("/heartbeat", Some(json!({"sent_at": "2027-01-15T08:00:00Z"}))).await.ok();
    }
    assert_eq!(stage.job(&build["number"], 0).await["state"], "running", "heartbeats keep it");
    stage.advance(41 * SECOND);
    let ended = stage.job_becomes(&build["number"], "failed").await;
    assert_eq!((&ended["exit_status"], &ended["reason"]), (&json!(-1), &json!("its agent was lost")));
    // It was only cut off: it comes back, hears that its job is over, and is counted again.
    assert_eq!(agent.state(&job).await, "canceled");
    agent.finish(&job, "0").await.ok();
    assert_eq!(stage.job(&build["number"], 0).await["state"], "failed");
    agent.post("/heartbeat", Some(json!({"sent_at": "2027-01-15T08:00:00Z"}))).await.ok();
    let metrics = stage.registration(Method::GET, "/v3/metrics", None).await.ok().json();
    assert_eq!(metrics["agents"]["total"], 1);
}

#[tokio::test]
async fn row_19_unknown_paths_at_the_root_are_not_found_at_once() {
    let stage = Stage::new().await;
    for path in
        ["/agentedge.v1.AgentEdgeService/StreamPings", "/", "/v3", "/v3/jobs", "/v4/ping", "/v3/stacks"]
    {
        let answer = stage.send(Method::POST, path, "", None).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.message().is_empty());
    }
}

#[tokio::test]
async fn row_20_every_error_is_a_message_in_json() {
    let stage = Stage::new().await;
    let agent = stage.agent(json!({})).await;
    let long = json!({"name": "x".repeat(5_000_000)});
    let too_long = stage.registration(Method::POST, "/v3/register", Some(long)).await;
    let unread = stage.registration(Method::POST, "/v3/register", Some(json!([1]))).await;
    let wrong_method = agent.put("/ping", None).await;
    let no_query = agent.raw_chunk("x", "offset=0", Vec::new()).await;
    let bad_query = stage.user(Method::GET, "/api/builds?limit=many", None).await;
    let bad_path = agent.put("/jobs/%FF/accept", None).await;
    for (answer, status) in [
        (too_long, 413),
        (unread, 422),
        (wrong_method, 405),
        (no_query, 422),
        (bad_query, 422),
        (bad_path, 422),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(!answer.message().is_empty());
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn row_21_a_stop_is_graceful_or_forced() {
    let stage = Stage::new().await;
    let idle = stage.agent(json!({})).await;
    let listed = stage.user(Method::GET, "/api/agents", None).await.ok().json();
    assert_eq!(
        (&listed["agents"][0]["id"], &listed["agents"][0]["state"]),
        (&json!(idle.id), &json!("connected"))
    );
    stage.user(Method::PUT, &format!("/api/agents/{}/stop", idle.id), None).await.ok();
    assert_eq!(stage.user(Method::PUT, "/api/agents/none/stop", None).await.status, 404);
    stage.build(json!([{"command": "make"}, {"command": "make"}])).await;
    assert_eq!(idle.get("/ping").await.json(), json!({"action": "disconnect"}));

    let busy = stage.agent(json!({})).await;
    let job = busy.runs().await;
    busy.post("/stop", Some(json!({}))).await.ok();
    assert_eq!(busy.state(&job).await, "running", "graceful: the job goes on");
    busy.post("/stop", Some(json!({"force": true}))).await.ok();
    assert_eq!(busy.state(&job).await, "canceling");
    busy.finish(&job, "-1").await.ok();
    assert_eq!(busy.get("/ping").await.json(), json!({"action": "disconnect"}));
}

#[tokio::test]
async fn row_21_a_paused_agent_gets_no_job_until_it_resumes() {
    let stage = Stage::new().await;
    let agent = stage.agent(json!({})).await;
    stage.build(json!([{"command": "make"}])).await;
    agent.post("/pause", Some(json!({"note": "disk", "timeout_in_minutes": 5}))).await.ok();
    assert_eq!(agent.get("/ping").await.json(), json!({"action": "pause"}));
    stage.advance(301 * SECOND);
    let job = agent.runs().await;
    agent.finish(&job, "0").await.ok();
    agent.post("/pause", None).await.ok();
    assert_eq!(agent.get("/ping").await.json(), json!({"action": "pause"}));
    agent.post("/resume", None).await.ok();
    assert_eq!(agent.get("/ping").await.json(), json!({}));
}

#[tokio::test]
async fn row_22_metrics_count_jobs_and_agents_by_queue() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}, {"command": "b"}, {"command": "c", "queue": "deploy"}])).await;
    let busy = stage.agent(json!({})).await;
    stage.agent(json!({"meta_data": ["queue=deploy"]})).await;
    busy.runs().await;
    let queue = stage.registration(Method::GET, "/v3/metrics/queue?name=default", None).await.ok();
    assert_eq!(queue.headers["Buildkite-Agent-Metrics-Poll-Duration"], "7");
    let one = json!({"idle": 0, "busy": 1, "total": 1});
    let jobs = json!({"scheduled": 1, "running": 1, "waiting": 0, "total": 2});
    assert_eq!(queue.json(), json!({"agents": one, "jobs": jobs, "organization": {"slug": "acme"}}));
    let all = stage.registration(Method::GET, "/v3/metrics", None).await.ok();
    assert_eq!(all.headers["Buildkite-Agent-Metrics-Poll-Duration"], "7");
    let all = all.json();
    assert_eq!(all["agents"]["total"], 2);
    assert_eq!(all["agents"]["queues"]["deploy"], json!({"idle": 1, "busy": 0, "total": 1}));
    assert_eq!(all["jobs"]["queues"]["default"], jobs);
    assert_eq!(all["organization"]["slug"], "acme");
    assert_eq!(stage.registration(Method::GET, "/v3/metrics/queue", None).await.status, 422);
    let unknown = stage.registration(Method::GET, "/v3/metrics/queue?name=x", None).await.ok().json();
    assert_eq!((&unknown["jobs"]["total"], &unknown["organization"]["slug"]), (&json!(0), &json!("acme")));
}
