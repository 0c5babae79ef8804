//! `agent-bootstrap logs` reads a real journal: systemd-journald with mounts of its own, CloudWatch Logs played here.
//! Needs root and journald; says so loudly where they are missing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's failure is its message")]

mod stage;

use std::collections::BTreeSet;

use stage::Stage;

fn numbered(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|n| format!("talker: line {n}")).collect()
}

#[tokio::test]
async fn the_journal_arrives_once_and_in_order_and_a_restart_goes_on() {
    let Some(stage) = Stage::new().await else { return };
    stage.say("talker", &lines(0, 1000));
    let first = stage.ship();
    stage.until(|s| s.of("talker").len() >= 1000).await;
    stage.say("talker", &lines(1000, 1500));
    stage.say("odd", b"red \x1b[31m bin \xff end\n\n  \nafter the empty ones\n");
    stage.say("long", &[vec![b'x'; 100_000], b"\n".to_vec()].concat());
    stage.until(|s| s.of("talker").len() >= 1500 && s.of("long").concat().len() > 100_000).await;
    first.stop().await;
    assert_eq!(stage.of("talker"), numbered(0, 1500));
    assert_eq!(stage.of("odd"), ["odd: red ␛[31m bin \u{fffd} end", "odd: after the empty ones"]);
    let long: String = stage.of("long").iter().map(|m| m.trim_start_matches("long: ")).collect();
    assert_eq!(long, "x".repeat(100_000));

    stage.say("talker", &lines(1500, 1600));
    let second = stage.ship();
    stage.until(|s| s.of("talker").len() >= 1600).await;
    second.stop().await;
    assert_eq!(stage.of("talker"), numbered(0, 1600));
    assert_eq!(stage.of("odd").len(), 2, "sent again");
}

#[tokio::test]
async fn what_was_logged_before_the_end_is_delivered_before_it() {
    let Some(stage) = Stage::new().await else { return };
    let shipping = stage.ship();
    stage.say("talker", &lines(0, 10));
    stage.until(|s| s.of("talker").len() >= 10).await;
    for burst in 1..4 {
        stage.throttle(3);
        stage.say("talker", &lines(burst * 1000, burst * 1000 + 900));
        if burst == 3 {
            break;
        }
        stage.until(|s| s.of("talker").len() as u32 >= 10 + burst * 900).await;
    }
    shipping.stop().await;
    let expected: Vec<String> = [(0, 10), (1000, 1900), (2000, 2900), (3000, 3900)]
        .iter()
        .flat_map(|(a, b)| numbered(*a, *b))
        .collect();
    assert_eq!(stage.of("talker"), expected);
}

#[tokio::test]
async fn a_kill_at_any_time_loses_nothing() {
    let Some(stage) = Stage::new().await else { return };
    for round in 0..5u32 {
        let shipping = stage.ship();
        stage.say("talker", &lines(round * 300, round * 300 + 300));
        // Later and later in its work: before it reads, while it gathers, after it has delivered.
        let calls = stage.calls();
        let wanted = calls + usize::try_from(round / 2).unwrap();
        stage.until(|s| s.calls() >= wanted).await;
        shipping.kill().await;
    }
    let last = stage.ship();
    let all: BTreeSet<String> = numbered(0, 1500).into_iter().collect();
    stage.until(|s| s.of("talker").into_iter().collect::<BTreeSet<_>>() == all).await;
    last.stop().await;
    let mut seen = stage.of("talker");
    let doubled = seen.len() - 1500;
    // Each kill may leave one round in doubt, which here is all that was said until then.
    assert!(doubled <= 300 * (1 + 2 + 3 + 4 + 5), "{doubled}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1500);
}

#[tokio::test]
async fn without_an_answer_it_ends_in_time_and_the_next_start_delivers() {
    let Some(stage) = Stage::new().await else { return };
    stage.throttle(usize::MAX);
    stage.say("talker", &lines(0, 50));
    let shipping = stage.ship();
    stage.until(|s| s.refused() > 0).await;
    let (code, said) = shipping.ended().await;
    assert_eq!(code, Some(75), "{said}");
    assert!(
        said.contains("the last lines could not be delivered within 20s; they stay on the instance"),
        "{said}"
    );
    assert!(said.contains("ThrottlingException") && said.contains("are tried again"), "{said}");
    stage.throttle(0);
    let next = stage.ship();
    stage.until(|s| s.of("talker").len() >= 50).await;
    next.stop().await;
    assert_eq!(stage.of("talker"), numbered(0, 50));
}

/// Lines as a program prints them.
fn lines(from: u32, to: u32) -> Vec<u8> {
    (from..to).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}
