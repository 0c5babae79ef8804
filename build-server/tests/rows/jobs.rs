//! Rows about a job at its agent.

use reqwest::Method;
use serde_json::json;

use crate::stage::{SECOND, Stage};

#[tokio::test]
async fn row_5_accept_hands_the_job_over_once() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}, {"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.pinged().await.unwrap();
    let other = stage.agent(json!({})).await;
    assert_eq!(other.put(&format!("/jobs/{job}/accept"), None).await.status, 422, "tied to another agent");
    let accepted = agent.put(&format!("/jobs/{job}/accept"), None).await.ok().json();
    assert!(accepted["chunks_max_size_bytes"].as_u64().unwrap() > 0);
    for (name, value) in accepted["env"].as_object().unwrap() {
        assert!(value.is_string(), "{name} is no text");
    }
    let again = agent.put(&format!("/jobs/{job}/accept"), None).await.ok().json();
    assert_eq!(again, accepted, "the first answer may have been lost");
    let second = other.pinged().await.unwrap();
    stage.cancel(&build["number"]).await;
    for (who, job) in [(&agent, &job), (&other, &second)] {
        let refused = who.put(&format!("/jobs/{job}/accept"), None).await;
        assert_eq!(refused.status, 422, "canceled");
        assert!(refused.message().contains("canceled"));
    }
    let none = agent.put("/jobs/0000/accept", None).await;
    assert_eq!(none.status, 422);
}

#[tokio::test]
async fn row_5_acquire_takes_a_named_job() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make", "queue": "other"}])).await;
    let job = build["jobs"][0]["id"].as_str().unwrap().to_owned();
    let agent = stage.agent(json!({"ignore_in_dispatches": true})).await;
    stage.build(json!([{"command": "make"}])).await;
    assert_eq!(agent.pinged().await, None, "it waits for one job only");
    let acquired = agent.put(&format!("/jobs/{job}/acquire"), None).await.ok().json();
    assert_eq!(acquired["env"]["BUILDKITE_COMMAND"], "make");
    agent.put(&format!("/jobs/{job}/acquire"), None).await.ok();
    let other = stage.agent(json!({})).await;
    assert_eq!(other.put(&format!("/jobs/{job}/acquire"), None).await.status, 422);
    assert_eq!(other.put("/jobs/none/acquire", None).await.status, 422);
}

/// What the stock bootstrap exits 1 without.
const REQUIRED: [&str; 10] = [
    "BUILDKITE_JOB_ID",
    "BUILDKITE_REPO",
    "BUILDKITE_COMMIT",
    "BUILDKITE_BRANCH",
    "BUILDKITE_AGENT_NAME",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_PIPELINE_PROVIDER",
    "BUILDKITE_PULL_REQUEST",
    "BUILDKITE_COMMAND",
];

#[tokio::test]
async fn row_6_required_variables_are_never_empty() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "make", "env": {"MINE": "yes"}}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.pinged().await.unwrap();
    let env = agent.put(&format!("/jobs/{job}/accept"), None).await.ok().json()["env"].clone();
    for name in REQUIRED {
        assert!(!env[name].as_str().unwrap_or_default().is_empty(), "{name}");
    }
    assert_eq!(env["BUILDKITE_PULL_REQUEST"], "false");
    assert_eq!(env["BUILDKITE_PIPELINE_PROVIDER"], "github");
    assert_eq!(env["BUILDKITE_BUILD_URL"], "https://ci.example/acme/app/builds/1");
    assert_eq!(env["MINE"], "yes");
    assert!(env.get("BUILDKITE_PLUGINS").is_none(), "even an empty list fails agents without plugins");
}

#[tokio::test]
async fn row_7_the_accept_names_the_agent_and_its_tags() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "make", "agents": ["docker=true"]}])).await;
    let without = stage.agent(json!({})).await;
    assert_eq!(without.pinged().await, None, "a rule does not hold");
    let agent =
        stage.agent(json!({"meta_data": ["queue=default", "docker=true", "aws:instance-id=i-1"]})).await;
    let job = agent.pinged().await.unwrap();
    let env = agent.put(&format!("/jobs/{job}/accept"), None).await.ok().json()["env"].clone();
    for (name, value) in [
        ("BUILDKITE", "true"),
        ("CI", "true"),
        ("BUILDKITE_AGENT_ID", agent.id.as_str()),
        ("BUILDKITE_AGENT_META_DATA_QUEUE", "default"),
        ("BUILDKITE_AGENT_META_DATA_DOCKER", "true"),
        ("BUILDKITE_AGENT_META_DATA_AWS_INSTANCE_ID", "i-1"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}

#[tokio::test]
async fn row_8_a_job_that_never_starts_goes_back_and_cannot_start_later() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.pinged().await.unwrap();
    agent.put(&format!("/jobs/{job}/accept"), None).await.ok();
    for _ in 0..11 {
        stage.advance(29 * SECOND);
        agent.post("/heartbeat", Some(json!({}))).await.ok();
    }
    stage.job_becomes(&build["number"], "scheduled").await;
    assert_eq!(agent.put(&format!("/jobs/{job}/start"), None).await.status, 422);
    assert_eq!(agent.state(&job).await, "canceled");
}

#[tokio::test]
async fn row_8_a_job_whose_agent_asks_for_other_work_has_ended() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    agent.runs().await;
    stage.advance(35 * SECOND);
    assert_eq!(agent.pinged().await, None);
    let ended = stage.job_becomes(&build["number"], "failed").await;
    assert_eq!(ended["reason"], "its agent asked for other work without finishing it");
}

#[tokio::test]
async fn row_9_a_job_has_a_state_for_its_agent_only() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    let answer = agent.get(&format!("/jobs/{job}")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"state": "running"})));
    let other = stage.agent(json!({})).await;
    assert_eq!(other.get(&format!("/jobs/{job}")).await.status, 404);
    assert_eq!(agent.get("/jobs/none").await.status, 404);
}

#[tokio::test]
async fn row_10_a_canceled_job_is_canceling_until_its_agent_finishes() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}, {"command": "make"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    stage.cancel(&build["number"]).await;
    stage.cancel(&build["number"]).await;
    assert_eq!(stage.job(&build["number"], 1).await["state"], "canceled", "no agent had it");
    assert_eq!(agent.state(&job).await, "canceling");
    agent.chunk(&job, 1, b"cleaning up\n").await.ok();
    agent.finish(&job, "255").await.ok();
    let ended = stage.job(&build["number"], 0).await;
    assert_eq!((&ended["state"], &ended["exit_status"]), (&json!("canceled"), &json!(255)));
}

#[tokio::test]
async fn row_10_a_cancel_survives_a_restart() {
    let mut stage = Stage::new().await;
    let build = stage.build(json!([{"command": "make"}])).await;
    let (job, token) = {
        let agent = stage.agent(json!({})).await;
        (agent.runs().await, agent.token)
    };
    stage.cancel(&build["number"]).await;
    stage.restart().await;
    let agent = crate::stage::Agent { stage: &stage, id: String::new(), token };
    assert_eq!(agent.state(&job).await, "canceling");
    agent.finish(&job, "-1").await.ok();
    assert_eq!(stage.job(&build["number"], 0).await["state"], "canceled");
}

#[tokio::test]
async fn row_10_the_server_enforces_the_time_limit_in_words_each_version_knows() {
    for (version, word) in [("3.18.0", "canceling"), ("3.137.0", "timing_out")] {
        let stage = Stage::new().await;
        let build = stage.build(json!([{"command": "make", "timeout_minutes": 2}])).await;
        let agent = stage.agent(json!({"version": version})).await;
        let job = agent.runs().await;
        for _ in 0..4 {
            stage.advance(29 * SECOND);
            assert_eq!(agent.state(&job).await, "running");
        }
        stage.advance(5 * SECOND);
        stage.job_becomes(&build["number"], "timing_out").await;
        assert_eq!(agent.state(&job).await, word, "{version}");
        agent.finish(&job, "-1").await.ok();
        assert_eq!(stage.job(&build["number"], 0).await["state"], "timed_out");
    }
}

#[tokio::test]
async fn row_13_finish_is_text_and_idempotent() {
    let stage = Stage::new().await;
    for (told, state, exit_status) in [
        ("0", "passed", 0),
        ("1", "failed", 1),
        ("-1", "failed", -1),
        ("255", "failed", 255),
        ("none", "failed", -1),
    ] {
        let build = stage.build(json!([{"command": "make"}])).await;
        let agent = stage.agent(json!({})).await;
        let job = agent.runs().await;
        let other = stage.agent(json!({"name": "other"})).await;
        assert_eq!(other.finish(&job, "0").await.status, 422, "another agent's job");
        agent.finish(&job, told).await.ok();
        agent.finish(&job, "77").await.ok();
        let ended = stage.job(&build["number"], 0).await;
        assert_eq!((&ended["state"], &ended["exit_status"]), (&json!(state), &json!(exit_status)), "{told}");
        assert_eq!(agent.finish("none", "0").await.status, 422, "never 404: old agents would ask for ever");
        other.post("/disconnect", None).await.ok();
        agent.post("/disconnect", None).await.ok();
    }
}

#[tokio::test]
async fn row_13_an_agent_is_free_only_after_its_finish() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}, {"command": "b"}])).await;
    let agent = stage.agent(json!({})).await;
    let first = agent.runs().await;
    assert_eq!(agent.pinged().await, None);
    agent.finish(&first, "0").await.ok();
    assert!(agent.pinged().await.is_some_and(|job| job != first));
}

#[tokio::test]
async fn row_13_an_agent_that_leaves_after_its_job_gets_no_other() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}, {"command": "b"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    let body = json!({"exit_status": "0", "ignore_agent_in_dispatches": true});
    agent.put(&format!("/jobs/{job}/finish"), Some(body)).await.ok();
    assert_eq!(agent.pinged().await, None);
}

#[tokio::test]
async fn row_14_meta_data_is_set_read_and_listed() {
    let stage = Stage::new().await;
    let build = stage.build(json!([{"command": "a"}, {"command": "b"}])).await;
    let (agent, other) = (stage.agent(json!({})).await, stage.agent(json!({"name": "other"})).await);
    let (job, next) = (agent.runs().await, other.runs().await);
    let path = |verb: &str| format!("/jobs/{job}/data/{verb}");
    let commit = json!({"key": "buildkite:git:commit", "value": "commit 1\nAuthor: É <é@x>\n"});
    assert_eq!(
        agent.post(&path("exists"), Some(json!({"key": "x"}))).await.ok().json(),
        json!({"exists": false})
    );
    assert_eq!(agent.post(&path("get"), Some(json!({"key": "x"}))).await.status, 404);
    assert_eq!(agent.post(&path("keys"), None).await.ok().json(), json!([]));
    agent.post(&path("set"), Some(json!({"key": "buildkite:git:commit", "value": "old"}))).await.ok();
    agent.post(&path("set"), Some(commit.clone())).await.ok();
    let items =
        json!({"items": [{"key": "b", "value": "2"}, {"key": "a", "value": "'; DROP TABLE jobs; --"}]});
    agent.post(&path("set-batch"), Some(items)).await.ok();
    // The other job of the build reads it, by the job's path and by the build's.
    let builds_path = format!("/builds/{}/data/get", build["id"].as_str().unwrap());
    for path in [format!("/jobs/{next}/data/get"), builds_path] {
        assert_eq!(other.post(&path, Some(json!({"key": "buildkite:git:commit"}))).await.ok().json(), commit);
    }
    assert_eq!(agent.post(&path("keys"), None).await.ok().json(), json!(["a", "b", "buildkite:git:commit"]));
    assert_eq!(
        agent.post(&path("exists"), Some(json!({"key": "a"}))).await.ok().json(),
        json!({"exists": true})
    );
    // A batch with a bad item sets nothing; a stranger's and an ended job set nothing either.
    let bad = json!({"items": [{"key": "c", "value": "3"}, {"key": "", "value": "4"}]});
    assert_eq!(agent.post(&path("set-batch"), Some(bad)).await.status, 422);
    assert_eq!(
        agent.post(&path("exists"), Some(json!({"key": "c"}))).await.ok().json(),
        json!({"exists": false})
    );
    assert_eq!(other.post(&path("set"), Some(commit.clone())).await.status, 401);
    agent.finish(&job, "0").await.ok();
    assert_eq!(agent.post(&path("set"), Some(commit)).await.status, 401);
}

#[tokio::test]
async fn rows_15_to_17_are_refused_with_the_code_that_ends_the_agents_retries() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    for (method, path, status) in [
        (Method::POST, format!("/jobs/{job}/annotations"), 404),
        (Method::DELETE, format!("/jobs/{job}/annotations/default"), 404),
        (Method::POST, format!("/jobs/{job}/pipelines?async=true"), 422),
        (Method::POST, "/steps/a%2Eb/export".to_owned(), 404),
        (Method::PUT, "/steps/key".to_owned(), 404),
        (Method::POST, format!("/jobs/{job}/artifacts"), 404),
        (Method::PUT, format!("/jobs/{job}/artifacts"), 404),
        (Method::GET, "/builds/b/artifacts/search?query=*".to_owned(), 404),
    ] {
        let auth = format!("Token {}", agent.token);
        let answer = stage.send(method, &format!("/v3{path}"), &auth, Some(json!({}))).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.message().contains("does not offer"), "{}", answer.text);
    }
}
