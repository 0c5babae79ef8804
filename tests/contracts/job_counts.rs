//! Job counts as the scaler sees them: `BuildkiteJobCounts` before the real build-server.

use lab::build_server::BuildServer;
use scaler::config::TokenSource;
use scaler::job_counts::BuildkiteJobCounts;
use scaler::ports::{Agents, JobCounts};
use secrecy::ExposeSecret;
use serde_json::json;

async fn server(folder: &tempfile::TempDir) -> BuildServer {
    // Installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    BuildServer::start(&lab::instances::programs().unwrap(), folder.path()).await.unwrap()
}

/// The adapter at this server, with this token.
async fn counts_at(server: &BuildServer, token: &str) -> BuildkiteJobCounts {
    let session = aws::Session::at("http://127.0.0.1:9", "us-east-1", "key", &"secret".into(), None).await;
    BuildkiteJobCounts::new(&server.agent_endpoint(), &TokenSource::Given(token.to_owned().into()), &session)
}

async fn queue(server: &BuildServer, queue: &str, jobs: usize) {
    let token = std::fs::read_to_string(server.api_token_file()).unwrap();
    let job = json!({ "command": "true", "queue": queue });
    let body = json!({ "pipeline": "app", "repo": "r", "jobs": vec![job; jobs] });
    let call = reqwest::Client::new().post(format!("{}/api/builds", server.url()));
    let answer = call.bearer_auth(token.trim()).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn counts_follow_queued_jobs_of_their_queue() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let counts = counts_at(&server, server.registration_token().expose_secret()).await;
    for (added, scheduled) in [(0, 0), (3, 3), (1, 4)] {
        if added > 0 {
            queue(&server, "default", added).await;
        }
        let seen = counts.read("default").await.unwrap();
        assert_eq!((seen.jobs.scheduled, seen.unfinished), (scheduled, scheduled));
        assert_eq!((seen.jobs.running, seen.jobs.waiting, seen.agents), (0, 0, Agents::default()));
        assert_eq!(seen.organization, "lab");
    }
    queue(&server, "other", 2).await;
    assert_eq!(counts.read("default").await.unwrap().jobs.scheduled, 4);
    assert_eq!(counts.read("other").await.unwrap().jobs.scheduled, 2);
    let names = ["other", "nobody's", "default"];
    let all: Vec<_> = counts.read_each(&names).await.into_iter().map(Result::unwrap).collect();
    for (name, told) in names.iter().zip(&all) {
        assert_eq!(*told, counts.read(name).await.unwrap(), "{name}: one call for all says the same");
    }
    assert_eq!(all.iter().map(|told| told.jobs.scheduled).collect::<Vec<_>>(), [2, 0, 4]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_a_stopped_server_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let problem = counts_at(&server, "wrong").await.read("default").await.unwrap_err();
    assert_eq!(problem.code, 77, "{problem}");
    assert!(
        problem.message.contains("check the agent token") && !problem.message.contains("wrong"),
        "{problem}"
    );
    let counts = counts_at(&server, server.registration_token().expose_secret()).await;
    server.stop().await.unwrap();
    assert_eq!(counts.read("default").await.unwrap_err().code, 69);
    let problems = counts.read_each(&["default", "other"]).await;
    assert!(problems.iter().all(|problem| problem.as_ref().is_err_and(|p| p.code == 69)), "{problems:?}");
}
