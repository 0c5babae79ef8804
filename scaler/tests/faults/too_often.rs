//! A CI that is asked too often says when it may be asked again, and is asked nothing before.

use std::time::Duration;

use crate::good_answer;
use crate::stage::{Ci, Stage};

fn too_often(retry_after: &'static str) -> Ci {
    Ci::TooOften(retry_after, good_answer().to_string())
}

#[tokio::test]
async fn it_is_asked_again_when_its_pause_is_over_and_capacity_is_held_until_then() {
    let stage = Stage::start(too_often("2")).await;
    // Forty ticks would fit into these two seconds.
    let answer = stage.invoke(&[("LAMBDA_INTERVAL", "50ms"), ("LAMBDA_TIMEOUT", "5s")]).await;
    assert_eq!(answer["errorType"], "TryAgain", "{answer}");
    let said = answer["errorMessage"].as_str().unwrap();
    assert!(said.contains("too many requests (429): slow down: no question before "), "{said}");
    let asked = stage.asked();
    assert!(asked.len() > 2, "it goes on as before: {asked:?}");
    assert!(asked[1] - asked[0] >= Duration::from_secs(2), "{asked:?}");
    assert_eq!(stage.desired_set().first(), Some(&0), "by what the CI said after its pause");
}

#[tokio::test]
async fn an_invocation_that_would_be_over_before_the_pause_is_over_ends() {
    for retry_after in ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"] {
        let stage = Stage::start(too_often(retry_after)).await;
        let answer = stage.invoke(&[("LAMBDA_INTERVAL", "50ms"), ("LAMBDA_TIMEOUT", "60s")]).await;
        assert_eq!(answer["errorType"], "TryAgain", "{retry_after}: {answer}");
        assert_eq!((stage.asked().len(), stage.desired_set()), (1, vec![]), "{retry_after}");
    }
}

#[tokio::test]
async fn what_is_no_pause_delays_nothing() {
    for retry_after in ["0", "soon", "Sat, 21 Nov 2020 12:00:00 GMT"] {
        let stage = Stage::start(too_often(retry_after)).await;
        stage.invoke(&[("LAMBDA_INTERVAL", "50ms"), ("LAMBDA_TIMEOUT", "2s")]).await;
        let asked = stage.asked();
        assert!(asked.len() > 1 && stage.desired_set().first() == Some(&0), "{retry_after}: {asked:?}");
        assert!(asked[1] - asked[0] < Duration::from_millis(1900), "{retry_after}: {asked:?}");
    }
}

#[tokio::test]
async fn explain_tells_of_the_pause() {
    let stage = Stage::start(too_often("120")).await;
    let run = stage.once(&[]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &run.stdout).unwrap();
    let told = stage.run(&["explain", "--file", file.path().to_str().unwrap()], &[]).await;
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stdout.contains("the jobs are not known; g stays at 2"), "{}", told.stdout);
    assert!(told.stdout.contains("(429): slow down: no question before "), "{}", told.stdout);
}
