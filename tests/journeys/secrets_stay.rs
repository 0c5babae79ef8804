//! Invariant 5: no secret's bytes reach a log, a command line, a file that outlives the job, or another job.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::leftovers::leftovers;
use crate::logs::{shipped, shipped_until};
use crate::scene::{Scene, until};

const VALUE: &str = "correct horse $battery 'staple";
const PASSWORD: &str = "git-s3cret-of-app";

#[tokio::test]
async fn a_jobs_secrets_end_with_the_job_and_are_seen_by_nobody_else() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
    let key = ssh_key(&scene).await;
    let line = key.lines().nth(2).unwrap();
    scene.upload("app/env", &format!("API_KEY=\"{}\"\n", VALUE.replace('$', "\\$"))).await;
    scene.upload("app/private_ssh_key", &key).await;
    scene.upload("app/git-credentials", &format!("https://ci:{PASSWORD}@git.example/app.git\n")).await;
    let instance = scene.in_service(1).await[0].id.clone();

    let enough = scene.lab.folder().join("enough");
    let command = format!(
        "[ ${{#API_KEY}} = {} ] && echo \"key $API_KEY\" && ssh-add -l && until [ -e '{}' ]; do sleep 0.1; done",
        VALUE.len(),
        enough.display()
    );
    let job = scene.queue("app", &command).await;
    scene.log_until(&job, "SHA256:").await;
    let running = leftovers(scene.lab.folder());
    assert!(running.iter().any(|process| process.contains("ssh-agent")), "{running:?}");
    for secret in [VALUE, PASSWORD, line] {
        let shown: Vec<&String> = running.iter().filter(|process| process.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:?}");
    }
    std::fs::write(&enough, "").unwrap();
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("key [REDACTED]") && !log.contains(VALUE), "{log}");

    let (status, log) = scene.run("other", "echo key ${API_KEY:-none}; ssh-add -l || echo no agent").await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("key none") && log.contains("no agent"), "{log}");
    // It was told to end with the first job.
    let agents = || leftovers(scene.lab.folder()).iter().any(|process| process.contains("ssh-agent"));
    until("no ssh-agent is left", || !agents()).await;
    let shipped = all_shipped(&scene, &instance).await;
    for secret in [VALUE, PASSWORD, line, &scene.agent_token().await] {
        let shown: Vec<&String> = shipped.iter().filter(|message| message.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:?}");
    }
    for secret in [VALUE, PASSWORD, line] {
        assert_eq!(files_with(scene.lab.folder(), secret), Vec::<PathBuf>::new(), "{secret}");
    }
    scene.lab.stop().await.unwrap();
}

/// What CloudWatch Logs holds of an instance that has run two jobs.
async fn all_shipped(scene: &Scene, instance: &str) -> Vec<String> {
    let jobs_over = |m: &[String]| m.iter().filter(|m| m.contains("finished")).count() == 2;
    let mut all = shipped_until(scene, "/tidemark/ci/agent", instance, jobs_over).await;
    let hooks_over = |m: &[String]| m.iter().filter(|m| m.contains("its hook says so")).count() == 2;
    all.extend(shipped_until(scene, "/tidemark/ci/watch", instance, hooks_over).await);
    for group in ["boot", "docker", "system"] {
        all.extend(shipped(scene, &format!("/tidemark/ci/{group}"), instance).await);
    }
    all
}

async fn ssh_key(scene: &Scene) -> String {
    let file = scene.lab.folder().join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "journey", "-f"]).arg(&file);
    assert!(keygen.status().await.unwrap().success());
    let key = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    key
}

/// The files below a folder that hold `secret`: logs, databases, whatever instances left. What goes while this looks is
/// gone.
fn files_with(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let there = |error: &Error| assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let Ok(entries) = std::fs::read_dir(folder).inspect_err(there) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, secret));
        } else if kind.is_file()
            && let Ok(bytes) = std::fs::read(&path).inspect_err(there)
            && String::from_utf8_lossy(&bytes).contains(secret)
        {
            found.push(path);
        }
    }
    found
}
