//! The build API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

fn request(more: Value) -> Value {
    let mut body = json!({"pipeline": "app", "repo": "git@host:app.git", "jobs": [{"command": "make"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_build() {
    let stage = Stage::new().await;
    let body = request(json!({"idempotency_key": "push-1"}));
    let first = stage.user(Method::POST, "/api/builds", Some(body.clone())).await;
    let again = stage.user(Method::POST, "/api/builds", Some(body)).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json(), again.json());
    let other = request(json!({"idempotency_key": "push-1", "branch": "other"}));
    let refused = stage.user(Method::POST, "/api/builds", Some(other)).await;
    assert_eq!(refused.status, 409);
    assert!(refused.message().contains("build 1"));
    let list = stage.user(Method::GET, "/api/builds", None).await.ok().json();
    assert_eq!(list["builds"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_request_names_every_fault_and_makes_nothing() {
    let stage = Stage::new().await;
    let body =
        request(json!({"pipeline": "../etc", "commit": "--help", "env": {"BUILDKITE_AGENT_TOKEN": "x"}}));
    let refused = stage.user(Method::POST, "/api/builds", Some(body)).await;
    assert_eq!(refused.status, 422);
    for field in ["pipeline", "commit", "env.BUILDKITE_AGENT_TOKEN"] {
        assert!(refused.message().contains(field), "{}", refused.message());
    }
    let unknown = stage.user(Method::POST, "/api/builds", Some(request(json!({"comit": "HEAD"})))).await;
    assert!(unknown.message().contains("comit"), "a typing error is told");
    let list = stage.user(Method::GET, "/api/builds", None).await.ok().json();
    assert_eq!(list, json!({"builds": []}));
}

#[tokio::test]
async fn builds_are_found_by_number_and_id_and_listed_newest_first() {
    let stage = Stage::new().await;
    for pipeline in ["app", "web", "app"] {
        let body = request(json!({"pipeline": pipeline}));
        stage.user(Method::POST, "/api/builds", Some(body)).await.ok();
    }
    let by_number = stage.user(Method::GET, "/api/builds/2", None).await.ok().json();
    let id = by_number["id"].as_str().unwrap();
    assert_eq!(stage.user(Method::GET, &format!("/api/builds/{id}"), None).await.ok().json(), by_number);
    let numbers = async |query: &str| -> Vec<i64> {
        let list = stage.user(Method::GET, &format!("/api/builds{query}"), None).await.ok().json();
        list["builds"].as_array().unwrap().iter().map(|build| build["number"].as_i64().unwrap()).collect()
    };
    assert_eq!(numbers("").await, [3, 2, 1]);
    assert_eq!(numbers("?pipeline=app").await, [3, 1]);
    assert_eq!(numbers("?before=3&limit=1").await, [2]);
    assert_eq!(numbers("?pipeline=%27%20OR%201%3D1").await, [] as [i64; 0]);
    for path in ["/api/builds/99", "/api/builds/none", "/api/jobs/none/log"] {
        assert_eq!(stage.user(Method::GET, path, None).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn jobs_go_out_by_priority_and_age() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "old"}, {"command": "low", "priority": -1}, {"command": "high", "priority": 3}])).await;
    stage.build(json!([{"command": "young"}])).await;
    let agent = stage.agent(json!({})).await;
    let mut order = Vec::new();
    while let Some(job) = agent.pinged().await {
        let accepted = agent.put(&format!("/jobs/{job}/accept"), None).await.ok().json();
        order.push(accepted["env"]["BUILDKITE_COMMAND"].as_str().unwrap().to_owned());
        agent.finish(&job, "0").await.ok();
    }
    assert_eq!(order, ["high", "old", "young", "low"]);
}
