//! A measurement, not a test: `cargo test -p build-server --test process -- --ignored --nocapture throughput`.

use std::time::{Duration, Instant};

use crate::{
    durability::{agent, chunk, client},
    program::{Program, folder},
};

const AGENTS: usize = 32;
const EACH: usize = 50;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which `make soak` runs"]
async fn throughput() {
    let dir = folder();
    let server = Program::start(dir.path());
    let http = client();
    let commands: Vec<&str> = (0..AGENTS).flat_map(|_| ["--command", "make"]).collect();
    server.builds_json(&[&["create", "--pipeline", "app", "--repo", "/r"][..], &commands].concat());
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        agents.push(agent(&http, &server.url).await);
    }
    let began = Instant::now();
    let send = async |method: &str, path: String, auth: &str, body: Vec<u8>| {
        let request = http.request(method.parse().unwrap(), format!("{}/v3{path}", server.url));
        let request = request.header("authorization", auth).header("content-encoding", "gzip").body(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json::<serde_json::Value>().await.unwrap()
    };
    let take = async |auth: &String| {
        let ping = send("GET", "/ping".into(), auth, Vec::new()).await;
        let job = ping["job"]["id"].as_str().unwrap().to_owned();
        send("PUT", format!("/jobs/{job}/accept"), auth, Vec::new()).await;
        send("PUT", format!("/jobs/{job}/start"), auth, Vec::new()).await;
        job
    };
    let jobs = futures::future::join_all(agents.iter().map(take)).await;
    let taken = began.elapsed();
    let began = Instant::now();
    let upload = async |(auth, job): (&String, &String)| {
        for sequence in 1..=EACH {
            let path = format!("/jobs/{job}/chunks?sequence={sequence}&offset=0&size=1");
            send("POST", path, auth, chunk(sequence)).await;
        }
    };
    futures::future::join_all(agents.iter().zip(&jobs).map(upload)).await;
    let uploaded = began.elapsed();
    let rate = |count: usize, took: Duration| count as f64 / took.as_secs_f64();
    println!(
        "ping, accept, start: {:.0} jobs/s; chunks: {:.0}/s",
        rate(AGENTS, taken),
        rate(AGENTS * EACH, uploaded)
    );
}
