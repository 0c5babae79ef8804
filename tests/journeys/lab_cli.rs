//! `lab up`, `env`, `down`, Ctrl-C and SIGKILL: the lab leaves nothing running, and starts again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::leftovers::{leftovers, until_none};
use crate::lone_cloud::Said;
use crate::scene::{PATIENCE, until};

fn lab(folder: &Path) -> Command {
    let mut command = Command::new(lab::children::lab_program().unwrap());
    command.env("TIDEMARK_LAB_DIR", folder).kill_on_drop(true);
    command
}

async fn said(folder: &Path, arguments: &[&str]) -> Said {
    lab(folder).args(arguments).output().await.unwrap().into()
}

async fn well(folder: &Path, arguments: &[&str]) -> String {
    let said = said(folder, arguments).await;
    assert!(said.success, "{arguments:?}: {}", said.stderr);
    said.stdout
}

#[tokio::test]
async fn a_lab_in_the_background_serves_awscli_and_leaves_nothing_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder: PathBuf = folder.path().canonicalize().unwrap();
    let up = ["up", "--detach", "--parameter", "MinSize=1"];
    assert!(well(&folder, &up).await.starts_with("lab up in "));
    let second = said(&folder, &up).await;
    assert!(!second.success && second.stderr.contains("a lab runs already"), "{}", second.stderr);

    let exports = well(&folder, &["env"]).await;
    let group =
        "aws autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0].AutoScalingGroupName";
    let aws = lab::moto::venv().unwrap().join("bin");
    let script = format!("{exports}\nPATH='{}':$PATH\n{group} --output text", aws.display());
    let asked = Command::new("sh").args(["-c", &script]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "ci-instances\n", "{asked:?}");
    assert!(well(&folder, &["status"]).await.contains("group         ci-instances: desired 1 of 1 to 10"));

    let pid = lab::state::State::of_running(&folder).unwrap().pid;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until_none(&folder, PATIENCE);
    let dead = said(&folder, &["status"]).await;
    assert!(!dead.success && dead.stderr.contains("no lab runs in"), "{}", dead.stderr);

    well(&folder, &["up", "--detach"]).await;
    assert!(well(&folder, &["down"]).await.ends_with("has ended\n"));
    until_none(&folder, PATIENCE);
    assert!(well(&folder, &["down"]).await.starts_with("no lab runs in"), "twice is harmless");
}

#[tokio::test]
async fn ctrl_c_ends_a_lab_in_the_foreground_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let folder: PathBuf = folder.path().canonicalize().unwrap();
    let mut lab = lab(&folder);
    lab.args(["up", "--parameter", "MinSize=1"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut lab = lab.spawn().unwrap();
    let mut told = BufReader::new(lab.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("lab: up;") {
        let line = told.next_line().await.unwrap();
        said.push_str(&line.unwrap_or_else(|| panic!("it ended: {said}")));
        said.push('\n');
    }
    // moto, the build server and an instance, which comes when the lab is up already.
    for program in ["moto_server", "build-server", "agent-bootstrap"] {
        until(program, || leftovers(&folder).iter().any(|process| process.contains(program))).await;
    }
    let pid = i32::try_from(lab.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(PATIENCE, lab.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(leftovers(&folder), Vec::<String>::new());
    assert!(!folder.join("lab.json").exists());
}
