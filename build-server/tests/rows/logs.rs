//! Rows about logs.

use reqwest::Method;
use serde_json::json;

use crate::stage::{Agent, Stage, gzip};

async fn log(stage: &Stage, job: &str, query: &str) -> String {
    stage.user(Method::GET, &format!("/api/jobs/{job}/log{query}"), None).await.ok().text
}

#[tokio::test]
async fn row_11_chunks_arrive_out_of_order_and_twice() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    // A letter of two bytes is cut in the middle.
    let text = "one\ntwo: é\nthree\n".as_bytes();
    let cut = text.iter().position(|byte| *byte == 0xc3).unwrap() + 1;
    let chunks = [&text[..4], &text[4..cut], &text[cut..]];
    for sequence in [3, 1, 3, 2, 2] {
        agent.chunk(&job, sequence, chunks[sequence as usize - 1]).await.ok();
    }
    // A repeated sequence changes nothing, whatever it holds.
    agent.chunk(&job, 1, b"other").await.ok();
    assert_eq!(log(&stage, &job, "").await.as_bytes(), text);
    agent.finish(&job, "0").await.ok();
    agent.chunk(&job, 4, b"late\n").await.ok();
    assert_eq!(log(&stage, &job, "").await, "one\ntwo: é\nthree\nlate\n");
}

#[tokio::test]
async fn row_11_hostile_chunks_are_refused() {
    let stage = Stage::with(|config| config.log_bytes_limit = 250_000).await;
    stage.build(json!([{"command": "a"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    let refused = async |query: &str, body: Vec<u8>| {
        let answer = agent.raw_chunk(&job, query, body).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
        answer.message()
    };
    let bomb = gzip(&vec![0; 3_000_000]);
    assert!(bomb.len() < 20_000);
    assert!(refused("sequence=1&offset=0&size=1", bomb).await.contains("longer than"));
    assert!(refused("sequence=1&offset=0&size=1", b"not gzip".to_vec()).await.contains("gzip"));
    for query in [
        "sequence=0&offset=0",
        "sequence=-1",
        "sequence=x",
        "sequence=1&offset=-1",
        "",
        "sequence=99999999999",
    ] {
        refused(query, gzip(b"x")).await;
    }
    for sequence in 1..=2 {
        agent.chunk(&job, sequence, &vec![b'x'; 100_000]).await.ok();
    }
    assert!(refused("sequence=3", gzip(&vec![b'x'; 100_000])).await.contains("full"));
    assert_eq!(log(&stage, &job, "").await.len(), 200_000);
    let stranger = stage.agent(json!({})).await;
    assert_eq!(stranger.chunk(&job, 9, b"x").await.status, 422);
}

#[tokio::test]
async fn row_12_header_times_are_taken_and_time_marks_stripped() {
    let stage = Stage::new().await;
    stage.build(json!([{"command": "a"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    let times = json!({"header_times": {"0": "2027-01-15T08:00:00Z", "1": "2027-01-15T08:00:01Z", "x": "", "-1": ""}});
    for _ in 0..2 {
        agent.post(&format!("/jobs/{job}/header_times"), Some(times.clone())).await.ok();
    }
    agent.chunk(&job, 1, b"\x1b_bk;t=1700000000000\x07~~~ Start\r\n\x1b_bk;t=17000").await.ok();
    agent.chunk(&job, 2, b"00000001\x07\x1b[32mgreen\x1b[0m\n").await.ok();
    assert_eq!(log(&stage, &job, "").await, "~~~ Start\r\n\u{1b}[32mgreen\u{1b}[0m\n");
    assert!(log(&stage, &job, "?timestamps=keep").await.contains("\u{1b}_bk;t=1700000000001\u{7}"));
}

#[tokio::test]
async fn row_12_a_long_log_is_served_in_pages() {
    let stage = Stage::with(|config| config.log_bytes_limit = 10_000_000).await;
    stage.build(json!([{"command": "a"}])).await;
    let agent = stage.agent(json!({})).await;
    let job = agent.runs().await;
    for sequence in 1..=30 {
        agent.chunk(&job, sequence, &vec![b'a' + (sequence % 26) as u8; 100_000]).await.ok();
    }
    assert_eq!(log(&stage, &job, "").await.len(), 3_000_000);
    let mut after = 0;
    let mut length = 0;
    loop {
        let path = format!("/api/jobs/{job}/log?after={after}");
        let page = stage.user(Method::GET, &path, None).await.ok();
        if page.text.is_empty() {
            break;
        }
        assert!(page.text.len() < 700_000);
        length += page.text.len();
        after = page.headers["x-log-next"].to_str().unwrap().parse().unwrap();
    }
    assert_eq!(length, 3_000_000);
}

#[tokio::test]
async fn a_log_survives_a_restart() {
    let mut stage = Stage::new().await;
    stage.build(json!([{"command": "a"}])).await;
    let (job, token) = {
        let agent = stage.agent(json!({})).await;
        let job = agent.runs().await;
        agent.chunk(&job, 1, b"before\n").await.ok();
        (job, agent.token)
    };
    stage.restart().await;
    let agent = Agent { stage: &stage, id: String::new(), token };
    agent.chunk(&job, 2, b"after\n").await.ok();
    assert_eq!(log(&stage, &job, "").await, "before\nafter\n");
}
