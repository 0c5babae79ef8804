//! A shell program speaks the runtime API through curl-free sockets: bash's /dev/tcp.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::endpoint::credentials::Credentials;
use model::{Failed, Function, Rate};

struct Sessions;

impl RoleSessions for Sessions {
    fn issue(&self, role: &str, session: &str) -> Credentials {
        Credentials {
            access_key_id: format!("{role}/{session}"),
            secret_access_key: "s".to_owned().into(),
            session_token: None,
            expires: None,
        }
    }
}

/// Answers each event with what `answer` prints: the path below the invocation, and a body.
const PROGRAM: &str = r#"#!/bin/bash
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
while :; do
    exec 3<>"/dev/tcp/$host/$port"
    printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.0\r\nHost: x\r\n\r\n' >&3
    id=
    while IFS=$'\r' read -r line _ <&3 && [ -n "$line" ]; do
        case ${line,,} in lambda-runtime-aws-request-id:*) id=${line#*: } ;; esac
    done
    exec 3>&-
    case $MODE in
        exit) exit 7 ;;
        silent) sleep 600 ;;
        error) path=error body='{"errorType":"Tick","errorMessage":"metrics API: 500"}' ;;
        *) path=response body="{\"pid\":$$,\"queue\":\"$BUILDKITE_QUEUE\",\"key\":\"$AWS_ACCESS_KEY_ID\",\"home\":\"$HOME\"}" ;;
    esac
    exec 3<>"/dev/tcp/$host/$port"
    printf 'POST /2018-06-01/runtime/invocation/%s/%s HTTP/1.0\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s' "$id" "$path" "${#body}" "$body" >&3
    cat <&3 >/dev/null
    exec 3>&-
done
"#;

async fn lambda(mode: &str, timeout: Duration) -> (tempfile::TempDir, Lambda) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        program,
        endpoint: "http://127.0.0.1:1".into(),
        region: "us-east-1".into(),
        environment: Vec::new(),
        minute: std::time::Duration::from_secs(60),
    };
    let function = Function {
        name: "scaler".into(),
        arn: "arn:aws:lambda:us-east-1:1:function:scaler".into(),
        role: "scaler-role".into(),
        timeout,
        memory: 128,
        environment: [("BUILDKITE_QUEUE", "q"), ("MODE", mode)].map(|(k, v)| (k.into(), v.into())).into(),
        log_group: None,
    };
    (folder, Lambda::new(workshop, function, Arc::new(Sessions)).await.unwrap())
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_program_stays_warm_and_runs_under_its_role() {
    let (_folder, lambda) = lambda("answer", LONG).await;
    let first = lambda.invoke(serde_json::json!({})).await.outcome.unwrap();
    let second = lambda.invoke(serde_json::json!({})).await.outcome.unwrap();
    assert_eq!(first, second, "the same process answered");
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((first["queue"].as_str(), first["key"].as_str()), (Some("q"), Some("scaler-role/scaler")));
    assert_eq!(first["home"], "", "nothing of the lab's environment");
    assert_eq!(lambda.invocations().len(), 2);
    lambda.stop().await;
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart() {
    let cases = [
        ("error", LONG, Failed::Told("Tick: metrics API: 500".into())),
        ("exit", LONG, Failed::Exited(7)),
        ("silent", Duration::from_secs(1), Failed::TimedOut(1)),
    ];
    for (mode, timeout, expected) in cases {
        let (_folder, lambda) = lambda(mode, timeout).await;
        assert_eq!(lambda.invoke(serde_json::json!({})).await.outcome, Err(expected.clone()), "{mode}");
        assert_eq!(lambda.invoke(serde_json::json!({})).await.outcome, Err(expected), "{mode}, once more");
        lambda.stop().await;
    }
}

#[tokio::test]
async fn a_schedule_fires_and_stops() {
    let (folder, lambda) = lambda("answer", LONG).await;
    let schedules = Schedules::new(lambda_workshop(&folder), Arc::new(Sessions));
    let schedule = Schedule {
        rule: "each-minute".into(),
        rule_arn: "arn:aws:events:us-east-1:1:rule/each-minute".into(),
        rate: Rate::parse("rate(1 minute)").unwrap(),
        function: lambda.function().clone(),
    };
    schedules.set(vec![schedule]).await.unwrap();
    let done = schedules.invoke_now().await;
    assert!(done[0].outcome.is_ok(), "{done:?}");
    schedules.stop().await;
    assert_eq!(schedules.all(), []);
}

fn lambda_workshop(folder: &tempfile::TempDir) -> Workshop {
    Workshop {
        folder: folder.path().to_owned(),
        program: folder.path().join("program"),
        endpoint: "http://127.0.0.1:1".into(),
        region: "us-east-1".into(),
        environment: Vec::new(),
        minute: std::time::Duration::from_secs(60),
    }
}
