//! The command line: what it prints and how it exits.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
};

use crate::program::{Program, binary, folder};

fn told(output: &Output) -> (Option<i32>, String) {
    assert!(output.stdout.is_empty(), "stdout is for answers");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[test]
fn a_start_leaves_its_address_and_a_private_token() {
    let dir = folder();
    let server = Program::start(dir.path());
    let address = std::fs::read_to_string(dir.path().join("data/address")).unwrap();
    assert_eq!(address.trim(), server.url);
    for (path, mode) in [("data", 0o700), ("data/api-token", 0o600)] {
        let found = dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
}

#[test]
fn a_bad_start_says_what_to_do() {
    let dir = folder();
    let serve = |more: &[&str]| {
        let data = dir.path().join("data");
        let mut command = binary();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        told(&command.args(more).output().unwrap())
    };
    let registration = dir.path().join("registration");
    let good = ["--registration-token-file", registration.to_str().unwrap()];
    let (code, text) = serve(
        &[&good[..], &["--ping-interval", "0", "--heartbeat-interval", "0", "--organization", "a/b"]]
            .concat(),
    );
    assert_eq!(code, Some(78));
    for setting in ["--ping-interval 0", "--heartbeat-interval 0", "--organization \"a/b\""] {
        assert!(text.contains(setting), "{text}");
    }
    let (code, text) = serve(&["--registration-token-file", "/nowhere/token"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nowhere/token"), "{text}");
    let _running = Program::start(dir.path());
    let (code, text) = serve(&good);
    assert_eq!(code, Some(1));
    assert!(text.contains("is another build-server using this folder?"), "{text}");
}

#[test]
fn builds_are_made_shown_listed_and_canceled() {
    let dir = folder();
    let server = Program::start(dir.path());
    let create = [
        "create",
        "--pipeline",
        "app",
        "--repo",
        "/r",
        "--command",
        "make",
        "--command",
        "make test",
        "--queue",
        "big",
        "--env",
        "A=b=c",
        "--pull-request",
        "5",
        "--pull-request-repo",
        "https://h/fork.git",
        "--priority",
        "-3",
    ];
    let build = server.builds_json(&create);
    assert_eq!(build["jobs"].as_array().unwrap().len(), 2);
    assert_eq!((&build["jobs"][0]["queue"], &build["jobs"][0]["priority"]), (&"big".into(), &(-3).into()));
    assert_eq!(build["pull_request"]["number"], 5);
    assert_eq!(server.builds_json(&["show", "1"]), build);
    assert_eq!(server.builds_json(&["list"])["builds"][0], build);
    let text = String::from_utf8(server.builds(&["cancel", "1"]).stdout).unwrap();
    assert!(text.starts_with("build 1 canceled app "), "{text}");
    assert!(text.contains("(canceled before it ran)"), "{text}");
    assert!(server.builds(&["log", "1"]).stdout.is_empty());
}

#[test]
fn queues_are_paused_listed_and_resumed() {
    let dir = folder();
    let server = Program::start(dir.path());
    server.builds_json(&["create", "--pipeline", "app", "--repo", "/r", "--command", "make"]);
    let queues = |arguments: &[&str]| {
        let mut command = binary();
        command.arg("queues").args(arguments).args(["--server", &server.url, "--token-file"]);
        command.arg(dir.path().join("data/api-token")).output().unwrap()
    };
    let text = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let paused = text(queues(&["pause", "default", "--note", "moving the database"]));
    let since = "queue default 1 scheduled 0 running 0 agents paused since 20";
    assert!(paused.starts_with(since) && paused.ends_with("Z: moving the database\n"), "{paused}");
    assert_eq!(text(queues(&["list"])), paused);
    let json: serde_json::Value = serde_json::from_str(&text(queues(&["list", "--json"]))).unwrap();
    assert_eq!(json["queues"][0]["note"], "moving the database");
    assert_eq!(text(queues(&["resume", "default"])), "queue default 1 scheduled 0 running 0 agents\n");
    assert_eq!(told(&queues(&["pause", "../agents"])).0, Some(2));
}

#[test]
fn each_failure_has_its_exit_code() {
    let dir = folder();
    let server = Program::start(dir.path());
    let (code, text) = told(&server.builds(&["show", "7"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("no build 7"), "{text}");
    let (code, _) = told(&server.builds(&["show", "../agents"]));
    assert_eq!(code, Some(2));
    let (code, text) = told(&server.builds(&[
        "create",
        "--pipeline",
        "..",
        "--repo",
        "/r",
        "--command",
        "x",
        "--env",
        "CI=1",
    ]));
    assert_eq!(code, Some(1));
    assert!(text.contains("pipeline:") && text.contains("env.CI:"), "{text}");
    let wrong = dir.path().join("registration");
    let output =
        binary().args(["builds", "list", "--server", &server.url, "--token-file"]).arg(&wrong).output();
    assert_eq!(told(&output.unwrap()).0, Some(77));
    let url = server.url.clone();
    assert_eq!(server.terminate(), Some(0));
    let output = binary().args(["builds", "list", "--server", &url, "--token-file"]).arg(&wrong).output();
    let (code, text) = told(&output.unwrap());
    assert_eq!(code, Some(69));
    assert!(text.contains(&url), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = folder();
    let server = Program::start(dir.path());
    let command = "x".repeat(50_000);
    server.builds_json(&[
        "create",
        "--pipeline",
        "app",
        "--repo",
        "/r",
        "--command",
        &command,
        "--command",
        &command,
    ]);
    let token = dir.path().join("data/api-token");
    let mut show = binary();
    show.args(["builds", "show", "1", "--json", "--server", &server.url, "--token-file"]).arg(token);
    let mut child = show.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let (code, text) = told(&output);
    assert_eq!(code, Some(0));
    assert!(!text.contains("build-server:"), "{text}");
}
