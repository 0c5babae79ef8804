//! The same boot twice, and a boot that was killed anywhere: the end is always the same.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::stage::{Stage, until};

/// Processes of this instance that live, whoever knows of them.
fn processes(stage: &Stage) -> usize {
    let root = format!("TIDEMARK_ROOT={}", stage.layout.root().display());
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        std::fs::read(path.join("environ")).ok()
    });
    all.filter(|environ| environ.split(|b| *b == 0).any(|v| v == root.as_bytes())).count()
}

/// Boots an instance to its end, and looks whether everything is as after one boot.
async fn is_as_after_one_boot(stage: &Stage, case: &str) {
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{case}: {}", run.stderr);
    // What a killed boot left half-started ends by itself.
    until(&format!("{case}: one process"), || processes(stage) == 1).await;
    assert_eq!(stage.living(), 1, "{case}");
    let plain = Stage::new().await;
    assert_eq!(plain.boot().await.code, 0);
    let (seen, expected) = (stage.tree(), plain.tree());
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{case}");
    for (path, content) in &expected {
        assert_eq!(&seen[path], content, "{case}: {path}");
    }
    assert_eq!(stage.change(|world| world.state), "InService", "{case}");
}

#[tokio::test]
async fn a_boot_that_is_killed_after_any_phase_is_made_good() {
    for phase in
        ["identity", "session", "group", "settings", "agent token", "files", "launch action", "agents"]
    {
        let stage = Stage::new().await;
        let mut child = stage.command(&["boot"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(&format!("boot: {phase} ")) {
                break;
            }
        }
        child.kill().await.unwrap();
        is_as_after_one_boot(&stage, phase).await;
    }
}

#[tokio::test]
async fn a_boot_that_is_killed_while_it_asks_is_made_good() {
    for asked in [
        "meta-data/instance-id",
        "user-data",
        "secretsmanager.GetSecretValue",
        "CompleteLifecycleAction",
        "SignalResource",
        "PutMetricData",
    ] {
        let stage = Stage::new().await;
        stage.change(|world| world.silent.insert(asked.to_owned()));
        let mut child = stage.command(&["boot"]).spawn().unwrap();
        until(asked, || stage.change(|world| world.unanswered.contains_key(asked))).await;
        child.kill().await.unwrap();
        stage.change(|world| world.silent.clear());
        is_as_after_one_boot(&stage, asked).await;
    }
}

/// What happens between the phases has no name to wait for, so the times themselves are tried.
#[tokio::test]
async fn a_boot_that_is_killed_at_any_time_is_made_good() {
    for wait in (0..24).map(|n| n * 4) {
        let stage = Stage::new().await;
        let mut child = stage.command(&["boot"]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        child.kill().await.unwrap();
        is_as_after_one_boot(&stage, &format!("{wait} ms")).await;
    }
}

#[tokio::test]
async fn two_boots_at_once_are_one() {
    let stage = Stage::new().await;
    stage.change(|world| world.silent.insert("secretsmanager.GetSecretValue".to_owned()));
    let first = stage.command(&["boot"]).spawn().unwrap();
    until("the first boot runs", || stage.path("run/tidemark/boot.lock").exists()).await;
    let second = stage.boot().await;
    assert_eq!(second.code, 75, "{}", second.stderr);
    assert!(second.stderr.contains("another boot of this instance runs"), "{}", second.stderr);
    stage.change(|world| world.silent.clear());
    assert!(first.wait_with_output().await.unwrap().status.success());
    assert_eq!((stage.living(), stage.calls_of("SetInstanceHealth").len()), (1, 0));
}

#[tokio::test]
async fn a_second_boot_that_fails_leaves_running_agents_alone() {
    let stage = Stage::new().await;
    assert_eq!(stage.boot().await.code, 0);
    stage.secret(Err(("AccessDeniedException", "not authorized")));
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (77, 1), "{}", run.stderr);
    assert!(run.stderr.contains("the agents that run here stay as they are"), "{}", run.stderr);
    assert_eq!(stage.calls_of("SetInstanceHealth").len(), 0);
}
