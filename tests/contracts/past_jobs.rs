//! A trace from the real build-server's history: what its jobs' times and states become.

use agent_api::client::Client;
use agent_api::wire::{JobFinish, JobStart, RegisterRequest};
use jiff::Timestamp;
use lab::build_server::BuildServer;
use scaler::simulate::history::fetch::{Ci, fetch};
use scaler::simulate::history::{LeftOut, Told, Wanted};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

async fn api(server: &BuildServer, method: reqwest::Method, path: &str, body: serde_json::Value) {
    let token = std::fs::read_to_string(server.api_token_file()).unwrap();
    let call = reqwest::Client::new().request(method, format!("{}{path}", server.url()));
    let answer = call.bearer_auth(token.trim()).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

async fn build(server: &BuildServer, queue: &str, jobs: usize) {
    let job = json!({ "command": "true", "queue": queue });
    let body = json!({ "pipeline": "app", "repo": "r", "jobs": vec![job; jobs] });
    api(server, reqwest::Method::POST, "/api/builds", body).await;
}

/// An agent of the default queue.
async fn agent(server: &BuildServer) -> Client {
    let token: SecretString = server.registration_token().expose_secret().into();
    let client = Client::new(&server.agent_endpoint(), token, "test").unwrap();
    let request = RegisterRequest {
        name: "ci-1".into(),
        script_eval_enabled: true,
        tags: vec!["queue=default".into()],
        ..RegisterRequest::default()
    };
    let registered = client.register(&request).await.unwrap();
    let client = client.with_token(registered.access_token.into());
    client.connect().await.unwrap();
    client
}

/// Starts the next job; gives its id.
async fn start(agent: &Client) -> String {
    for _ in 0..200 {
        if let Some(job) = agent.ping().await.unwrap().job {
            agent.accept(&job.id).await.unwrap();
            agent.start(&job.id, &JobStart { started_at: Timestamp::now().to_string() }).await.unwrap();
            return job.id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    unreachable!("no job in ten seconds");
}

async fn finish(agent: &Client, job: &str) {
    let finished_at = Timestamp::now().to_string();
    let body = JobFinish { exit_status: "0".into(), finished_at, ..JobFinish::default() };
    agent.finish(job, &body).await.unwrap();
}

async fn past(server: &BuildServer, wanted: &Wanted) -> Told {
    let token = std::fs::read_to_string(server.api_token_file()).unwrap();
    let ci = Ci::BuildServer { url: server.url().to_owned() };
    let history = fetch(&ci, &SecretString::from(token.trim()), wanted).await.unwrap();
    history.trace(wanted).unwrap()
}

#[tokio::test]
async fn jobs_that_ran_at_the_build_server_become_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    // Installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = BuildServer::start(&lab::instances::programs().unwrap(), folder.path()).await.unwrap();
    let began = Timestamp::now();
    build(&server, "default", 3).await;
    build(&server, "other", 2).await;
    let agent = agent(&server).await;
    for _ in 0..2 {
        let job = start(&agent).await;
        finish(&agent, &job).await;
    }
    let running = start(&agent).await;
    let two = past(&server, &Wanted::default()).await;
    assert_eq!((two.rows.len(), two.builds), (2, 1));
    assert_eq!(
        two.left_out.into_iter().collect::<Vec<_>>(),
        [(LeftOut::NeverRan, 2), (LeftOut::StillRuns, 1)]
    );
    let now = Timestamp::now();
    for row in &two.rows {
        let (job, hint) = (row.job.unwrap(), row.hint.unwrap());
        assert_eq!(
            (row.queue.as_str(), row.pipeline.as_str(), row.build.as_str()),
            ("default", "app", "app#1")
        );
        assert_eq!((hint.jobs, hint.at), (2, job.runnable_at), "it is announced as it is made");
        assert!(job.runnable_at >= began.as_millisecond() && job.duration >= 0);
        assert!(job.runnable_at + job.duration <= now.as_millisecond(), "{row:?}");
    }
    finish(&agent, &running).await;
    // More builds than a page holds, which nobody runs.
    for _ in 0..120 {
        build(&server, "other", 1).await;
    }
    let wanted = Wanted { queue: Some("default".into()), from: Some(began), ..Wanted::default() };
    let all = past(&server, &wanted).await;
    assert_eq!((all.rows.len(), all.builds, all.twice), (3, 1, 0));
    assert_eq!(all.left_out.into_iter().collect::<Vec<_>>(), [(LeftOut::NeverRan, 122)]);
    let ci = Ci::BuildServer { url: server.url().to_owned() };
    let denied = fetch(&ci, &SecretString::from("wrong"), &Wanted::default()).await;
    assert_eq!(denied.unwrap_err().code, 77);
    server.stop().await.unwrap();
}
