//! Invariant 7: an accepted build or an acknowledged log chunk survives `kill -9`.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use reqwest::Client;
use serde_json::{Value, json};

use crate::program::{Program, REGISTRATION, folder};

pub fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}

pub async fn agent(http: &Client, url: &str) -> String {
    let body = json!({"name": "a", "meta_data": ["queue=default"]}).to_string();
    let register =
        http.post(format!("{url}/v3/register")).header("authorization", format!("Token {REGISTRATION}"));
    let answer: Value = register.body(body).send().await.unwrap().json().await.unwrap();
    let auth = format!("Token {}", answer["access_token"].as_str().unwrap());
    http.post(format!("{url}/v3/connect")).header("authorization", &auth).send().await.unwrap();
    auth
}

pub fn chunk(sequence: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    writeln!(encoder, "line {sequence}").unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_kill_9() {
    let dir = folder();
    let server = Program::start(dir.path());
    let (http, url) = (client(), server.url.clone());
    let build = ["create", "--pipeline", "app", "--repo", "/r", "--command", "make"];
    let number = server.builds_json(&build)["number"].clone();
    let auth = agent(&http, &url).await;
    let ping = http.get(format!("{url}/v3/ping")).header("authorization", &auth).send().await.unwrap();
    let ping: Value = ping.json().await.unwrap();
    let job = ping["job"]["id"].as_str().unwrap().to_owned();
    for verb in ["accept", "start"] {
        let put = http.put(format!("{url}/v3/jobs/{job}/{verb}")).header("authorization", &auth);
        assert!(put.send().await.unwrap().status().is_success());
    }

    // Three uploads in parallel, as stock agents do, until the server is gone.
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let uploads: Vec<_> = (0..3_usize)
        .map(|lane| {
            let (http, url, job, auth) = (http.clone(), url.clone(), job.clone(), auth.clone());
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                for sequence in (lane + 1..).step_by(3) {
                    let post =
                        http.post(format!("{url}/v3/jobs/{job}/chunks?sequence={sequence}&offset=0&size=1"));
                    let post = post.header("authorization", &auth).header("content-encoding", "gzip");
                    match post.body(chunk(sequence)).send().await {
                        Ok(answer) if answer.status().is_success() => {
                            acknowledged.lock().unwrap().push(sequence)
                        }
                        _ => return,
                    }
                }
            })
        })
        .collect();
    while acknowledged.lock().unwrap().len() < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill_9();
    for upload in uploads {
        upload.await.unwrap();
    }

    let server = Program::start(dir.path());
    let shown = server.builds_json(&["show", &number.to_string()]);
    assert_eq!(shown["jobs"][0]["state"], "running");
    let log = server.builds(&["log", &job]).stdout;
    let log = String::from_utf8(log).unwrap();
    let kept: std::collections::HashSet<&str> = log.lines().collect();
    let acknowledged = acknowledged.lock().unwrap().clone();
    for sequence in acknowledged {
        assert!(
            kept.contains(format!("line {sequence}").as_str()),
            "chunk {sequence} was acknowledged and is gone"
        );
    }
    // The agent goes on with the same token, and ends its job.
    let finish = http.put(format!("{}/v3/jobs/{job}/finish", server.url)).header("authorization", &auth);
    assert!(finish.body(json!({"exit_status": "0"}).to_string()).send().await.unwrap().status().is_success());
    assert_eq!(server.builds_json(&["show", &number.to_string()])["state"], "passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_loses_no_agent() {
    let dir = folder();
    // An agent silent for four seconds is lost.
    let server = Program::start_with(dir.path(), &["--heartbeat-interval", "1"]);
    let (http, url) = (client(), server.url.clone());
    agent(&http, &url).await;
    server.signal("STOP");
    // The time itself is what is tested: it must pass while the server stands still.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    server.signal("CONT");
    let log = dir.path().join("stderr");
    let mut looks = 0;
    while !std::fs::read_to_string(&log).unwrap().contains("the server stood still") {
        looks += 1;
        assert!(looks < 1000, "the server did not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let auth = format!("Token {REGISTRATION}");
    let metrics = http.get(format!("{url}/v3/metrics")).header("authorization", auth).send().await.unwrap();
    let metrics: Value = metrics.json().await.unwrap();
    assert_eq!(metrics["agents"]["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_server_and_no_token_is_in_its_log() {
    let dir = folder();
    let server = Program::start(dir.path());
    let http = client();
    let auth = agent(&http, &server.url).await;
    http.get(format!("{}/v3/ping?token=in-a-query", server.url))
        .header("authorization", &auth)
        .send()
        .await
        .unwrap();
    server.builds_json(&["list"]);
    let api_token = std::fs::read_to_string(dir.path().join("data/api-token")).unwrap();
    assert_eq!(server.terminate(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
    assert!(log.contains("/v3/ping"), "{log}");
    for secret in [REGISTRATION, auth.trim_start_matches("Token "), api_token.trim(), "in-a-query"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
    // Nor is one in the database.
    for entry in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let token = auth.trim_start_matches("Token ").as_bytes();
        assert!(!bytes.windows(token.len()).any(|window| window == token), "{}", path.display());
    }
}
