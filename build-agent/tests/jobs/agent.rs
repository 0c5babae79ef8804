//! The agent around the job (rows 17 to 20).

use nix::sys::signal::Signal;
use serde_json::json;

use crate::rig::{Rig, signal};

fn with_ping(rig: &mut Rig) {
    rig.acquire = false;
    rig.server.plan.lock().unwrap().ping = Some(json!({"job": {"id": "job-1"}}));
}

#[tokio::test]
async fn row_15_life_of_an_agent_with_one_job() {
    let mut rig = Rig::new("echo hello").await;
    with_ping(&mut rig);
    rig.config.push("tags=\"queue=deploy,os=linux\"\npriority=5".into());
    let outcome = rig.run().await;
    let mut calls = outcome.calls.clone();
    calls.retain(|call| !call.ends_with("heartbeat") && !call.contains("/data/") && call != "GET jobs/job-1");
    calls.dedup();
    insta::assert_snapshot!(calls.join("\n"), @r"
    POST register
    POST connect
    PUT jobs/job-1/accept
    PUT jobs/job-1/start
    POST jobs/job-1/chunks
    PUT jobs/job-1/finish
    POST disconnect
    ");
    let seen = rig.server.seen.lock().unwrap();
    let register = &seen.registers[0];
    assert_eq!(register["meta_data"], json!(["queue=deploy", "os=linux"]));
    assert_eq!((&register["name"], &register["priority"]), (&json!("web.1"), &json!("5")));
    assert_eq!(seen.authorization["register"], "Token registration");
    assert_eq!(seen.authorization["finish"], "Token access-token-1");
    assert_eq!(outcome.finish["ignore_agent_in_dispatches"], true);
    assert_eq!(outcome.status.code(), Some(0));
}

#[tokio::test]
async fn row_17_term_while_idle_leaves_at_once() {
    let mut rig = Rig::new("true").await;
    rig.acquire = false;
    let agent = rig.start();
    rig.server.wait(|seen| seen.authorization.contains_key("ping")).await;
    signal(&agent, Signal::SIGTERM);
    let outcome = rig.end(agent).await;
    assert_eq!(outcome.status.code(), Some(0));
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");
}

#[tokio::test]
async fn row_17_first_term_finishes_the_job_and_the_second_cancels_it() {
    let mut rig = Rig::new("echo ready; until test -e go; do sleep 0.05; done; echo finished").await;
    with_ping(&mut rig);
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    signal(&agent, Signal::SIGTERM);
    std::fs::write(rig.checkout().join("go"), "").unwrap();
    let outcome = rig.end(agent).await;
    assert_eq!((outcome.exit_status(), outcome.lines("finished").len()), ("0", 1));
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");

    let mut rig = Rig::new("echo ready; exec sleep 1000").await;
    with_ping(&mut rig);
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    signal(&agent, Signal::SIGTERM);
    signal(&agent, Signal::SIGINT);
    let outcome = rig.end(agent).await;
    assert_eq!(
        (outcome.finish["signal_reason"].as_str(), outcome.status.code()),
        (Some("agent_stop"), Some(0))
    );
}

#[tokio::test]
async fn row_17_third_term_leaves_at_once_and_the_job_ends_too() {
    // The signal goes to the whole group: without `|| true` the shell's -e ends it with its sleep. So the job ends with
    // its grace period, well after the third signal.
    let command = "trap 'echo asked' TERM; echo $$ > shell; echo ready; while true; do sleep 1 || true; done";
    let mut rig = Rig::new(command).await;
    with_ping(&mut rig);
    rig.config.push("cancel-grace-period=15".into());
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    signal(&agent, Signal::SIGTERM);
    signal(&agent, Signal::SIGINT);
    rig.server.wait_for_log("asked\r\n").await;
    signal(&agent, Signal::SIGTERM);
    let outcome = rig.end(agent).await;
    assert_eq!((outcome.status.code(), outcome.finish.is_null()), (Some(1), true));
    let pid = std::fs::read_to_string(rig.checkout().join("shell")).unwrap();
    crate::rig::until_gone(pid.trim()).await;
}

#[tokio::test]
async fn row_17_acquire_locked_28() {
    let rig = Rig::new("true").await;
    rig.server.plan.lock().unwrap().failures.insert("acquire".into(), vec![423; 20]);
    let outcome = rig.run().await;
    let tries = outcome.calls.iter().filter(|call| call.ends_with("acquire")).count();
    assert_eq!((outcome.status.code(), tries > 1), (Some(28), true));
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");
}

#[tokio::test]
async fn row_15_several_agents_of_one_process_run_jobs_at_the_same_time() {
    // Each job waits for the other one.
    let mut rig = Rig::new("touch \"$MEET/$BUILDKITE_AGENT_NAME\"; until test -e \"$MEET/web.1\" && test -e \"$MEET/web.2\"; do sleep 0.05; done").await;
    with_ping(&mut rig);
    rig.env("MEET", &rig.folder.path().display().to_string());
    rig.config.extend(["spawn=2".into(), "name=\"web.%spawn\"".into()]);
    let outcome = rig.run().await;
    assert_eq!((outcome.status.code(), outcome.exit_status()), (Some(0), "0"));
    let names =
        rig.server.seen.lock().unwrap().registers.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names, ["web.1", "web.2"]);
    let count = |what: &str| outcome.calls.iter().filter(|call| call.ends_with(what)).count();
    assert_eq!((count("connect"), count("finish"), count("disconnect")), (4, 2, 2));
}

#[tokio::test]
async fn row_17_acquire_refused_27_and_wrong_token_1() {
    let rig = Rig::new("true").await;
    rig.server.plan.lock().unwrap().failures.insert("acquire".into(), vec![422]);
    let outcome = rig.run().await;
    assert_eq!(outcome.status.code(), Some(27));
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");

    let rig = Rig::new("true").await;
    rig.server.plan.lock().unwrap().failures.insert("register".into(), vec![401]);
    assert_eq!(rig.run().await.status.code(), Some(1));
}

#[tokio::test]
async fn row_18_refused_accept_goes_back_to_pinging() {
    let mut rig = Rig::new("true").await;
    with_ping(&mut rig);
    rig.server.plan.lock().unwrap().failures.insert("accept".into(), vec![422]);
    let outcome = rig.run().await;
    let accepts = outcome.calls.iter().filter(|call| call.ends_with("accept")).count();
    assert_eq!((accepts, outcome.exit_status()), (2, "0"));
}

#[tokio::test]
async fn row_18_refused_heartbeat_cancels_the_job_and_401_on_state_too() {
    let rig = Rig::new("echo ready; exec sleep 1000").await;
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    rig.server.plan.lock().unwrap().failures.insert("heartbeat".into(), vec![404]);
    assert_eq!(rig.end(agent).await.finish["signal_reason"], "agent_stop");

    let rig = Rig::new("echo ready; exec sleep 1000").await;
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    rig.server.plan.lock().unwrap().failures.insert("job-1".into(), vec![401]);
    assert_eq!(rig.end(agent).await.finish["signal_reason"], "cancel");
}

#[tokio::test]
async fn row_18_refused_start_runs_nothing_and_sends_no_finish() {
    let rig = Rig::new("true").await;
    rig.server.plan.lock().unwrap().failures.insert("start".into(), vec![422]);
    let outcome = rig.run().await;
    assert!(outcome.finish.is_null());
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");
}

#[tokio::test]
async fn row_19_disconnect_and_finish_also_when_the_jobs_process_dies() {
    let rig =
        Rig::new("setsid sleep 1000 & echo $! > left; kill -9 $(ps -o ppid= -p $$); exec sleep 1000").await;
    let outcome = rig.run().await;
    assert_eq!(
        (outcome.exit_status(), outcome.finish["signal_reason"].as_str()),
        ("-1", Some("process_run_error"))
    );
    assert_eq!(outcome.calls.last().unwrap(), "POST disconnect");
    let left = std::fs::read_to_string(rig.checkout().join("left")).unwrap();
    crate::rig::until_gone(left.trim()).await;
}

#[tokio::test]
async fn row_19_job_does_not_outlive_a_killed_agent() {
    let rig = Rig::new("echo $$ > shell; echo ready; exec sleep 1000").await;
    let mut agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    let pid = std::fs::read_to_string(rig.checkout().join("shell")).unwrap();
    agent.kill().await.unwrap();
    crate::rig::until_gone(pid.trim()).await;
}

#[tokio::test]
async fn row_19_server_asks_to_disconnect() {
    let mut rig = Rig::new("true").await;
    rig.acquire = false;
    rig.server.plan.lock().unwrap().ping = Some(json!({"action": "disconnect"}));
    let outcome = rig.run().await;
    assert_eq!(
        outcome.calls.iter().filter(|call| !call.ends_with("heartbeat")).count(),
        3,
        "{:?}",
        outcome.calls
    );
    assert_eq!(outcome.status.code(), Some(0));
}

#[tokio::test]
async fn idle_timeout_leaves() {
    let mut rig = Rig::new("true").await;
    rig.acquire = false;
    rig.config.push("disconnect-after-idle-timeout=1".into());
    let outcome = rig.run().await;
    assert_eq!((outcome.calls.last().unwrap().as_str(), outcome.status.code()), ("POST disconnect", Some(0)));
}

#[tokio::test]
async fn uptime_limit_leaves() {
    let mut rig = Rig::new("true").await;
    rig.acquire = false;
    rig.config.push("disconnect-after-uptime=1".into());
    let outcome = rig.run().await;
    assert_eq!((outcome.calls.last().unwrap().as_str(), outcome.status.code()), ("POST disconnect", Some(0)));
}

#[tokio::test]
async fn bad_settings_are_exit_78() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_build-agent"))
        .args(["start", "--config", "does-not-exist.cfg"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).lines().count() > 2, "all faults at once");
}
