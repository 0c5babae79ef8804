//! What is offered, and how.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::secrets::bundle::{GitFile, SshKey};

fn bundle() -> Bundle {
    let text = |t: &str| Zeroizing::new(t.to_owned());
    Bundle {
        changes: vec![
            Change::set("A", "secret value"),
            Change::set("B", "short"),
            Change::set("C", "first line\nsecond \"line\""),
            Change::set("D", "secret value"),
            Change::Unset("E".to_owned()),
        ],
        ssh_keys: vec![SshKey {
            uri: String::new(),
            text: text("-----BEGIN X-----\nQUJDREVGR0g=\n-----END X-----\n"),
        }],
        git_files: vec![GitFile { uri: String::new(), text: text("https://u:p%40ssword@h") }],
        contents: Vec::new(),
    }
}

#[test]
fn every_secret_is_offered_once_whole_and_by_its_lines() {
    let offered: Vec<String> = values(&bundle()).iter().map(|v| v.to_string()).collect();
    for expected in [
        "secret value",
        "first line",
        "second \"line\"",
        "first line\nsecond \"line\"",
        "QUJDREVGR0g=",
        "p@ssword",
        "p%40ssword",
    ] {
        assert_eq!(offered.iter().filter(|v| *v == expected).count(), 1, "{expected} in {offered:?}");
    }
    assert!(!offered.iter().any(|v| v == "short" || v == "-----END X-----"), "{offered:?}");
}

#[tokio::test]
async fn the_agent_gets_them_on_stdin_and_its_failure_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, seen) = (folder.path().join("buildkite-agent"), folder.path().join("seen"));
    let install = |exit: u8| {
        let text = format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\nexit {exit}\n", seen.display());
        std::fs::write(&agent, text).unwrap();
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let environment: Environment = [("PATH", folder.path())].into_iter().collect();
    assert_eq!(offer(&values(&bundle()), &environment).await, None, "no such program: nothing to say");
    install(0);
    assert_eq!(offer(&values(&bundle()), &environment).await, None);
    let got = std::fs::read_to_string(&seen).unwrap();
    let (arguments, body) = got.split_once('\n').unwrap();
    assert_eq!(arguments, "redactor add --format json");
    let body: std::collections::BTreeMap<String, String> = serde_json::from_str(body).unwrap();
    assert_eq!(body.len(), values(&bundle()).len());
    assert!(body.values().any(|v| v == "second \"line\""));
    install(3);
    let warning = offer(&values(&bundle()), &environment).await.unwrap();
    assert!(warning.contains("warning") && !warning.contains("secret value"), "{warning}");
}

#[test]
fn bodies_are_split() {
    let many: Vec<_> = (0..40).map(|n| Zeroizing::new(format!("{n:0>60000}"))).collect();
    let bodies = bodies(&many);
    assert!(bodies.len() > 1 && bodies.iter().all(|b| b.len() < AT_ONCE + 1024));
    let all: usize = bodies
        .iter()
        .map(|b| serde_json::from_str::<serde_json::Value>(b).unwrap().as_object().unwrap().len())
        .sum();
    assert_eq!(all, 40);
}
