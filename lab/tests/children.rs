//! Helpers end with the lab, whatever ends the lab.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::children::Helper;

/// A helper that leaves its parent as a daemon does, ignores SIGTERM in its child, and writes both ids down.
const STUBBORN: &str =
    r#"setsid sh -c 'trap "" TERM; echo $$ >> pids; sleep 600 & wait; wait' & echo $$ >> pids; wait"#;

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pids(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn stopping_a_helper_ends_its_daemons_too() {
    let folder = tempfile::tempdir().unwrap();
    let helper = Helper::new("/bin/sh", folder.path(), &folder.path().join("log")).args(["-c", STUBBORN]);
    let child = helper.start().unwrap();
    until("both run", || pids(folder.path()).len() == 2);
    child.stop().await.unwrap();
    assert!(pids(folder.path()).iter().all(|pid| !alive(pid)));
}

#[tokio::test]
async fn a_helper_that_ends_tells_its_status() {
    let folder = tempfile::tempdir().unwrap();
    for (program, script, expected) in
        [("/bin/sh", "exit 7", 7), ("/bin/sh", "kill -9 $$", 137), ("/no/such/program", "", 127)]
    {
        let helper = Helper::new(program, folder.path(), &folder.path().join("log")).args(["-c", script]);
        assert_eq!(helper.start().unwrap().wait().await.unwrap(), expected, "{program} {script}");
    }
}

/// The pipe's end is in a process that is killed: nobody can tidy up but the supervisor.
#[test]
fn after_sigkill_of_the_lab_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    // A shell stands for the lab: it holds the write end, and starts the supervisor as the lab does.
    let script = format!(
        "mkfifo pipe; {} supervise -- /bin/sh -c \"$STUBBORN\" < pipe & exec 3> pipe; echo up; exec sleep 600",
        env!("CARGO_BIN_EXE_lab")
    );
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &script])
        .env("STUBBORN", STUBBORN)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    std::io::stderr().flush().unwrap();
    until("both run", || pids(folder.path()).len() == 2);
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("all ended", || pids(folder.path()).iter().all(|pid| !alive(pid)));
}
