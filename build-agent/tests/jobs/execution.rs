//! Commands, cancel, log and exit statuses (rows 7, 8, 13 to 16, 20).

use nix::sys::signal::Signal;

use crate::rig::{Rig, signal, until_gone};

#[tokio::test]
async fn row_07_script_of_the_checkout_and_inline_text() {
    let rig = Rig::new("ci/test.sh\n").await;
    rig.commit(&[("ci/test.sh", "#!/bin/sh\necho script in $PWD\n")]);
    let outcome = rig.run().await;
    assert_eq!(outcome.lines("script in"), [format!("script in {}", rig.checkout().display())]);
    assert!(outcome.log.contains("+++ Running script\n"), "{}", outcome.log);

    let outcome = Rig::new("echo first\nfalse\necho never").await.run().await;
    assert_eq!((outcome.exit_status(), outcome.lines("never").len()), ("1", 0));
    assert_eq!(outcome.lines("first"), ["first"]);
}

#[tokio::test]
async fn row_07_no_command_is_an_error_after_the_checkout() {
    let rig = Rig::new("").await;
    let outcome = rig.run().await;
    assert_eq!(outcome.exit_status(), "1");
    assert!(outcome.log.contains("No command has been provided"), "{}", outcome.log);
    assert!(rig.checkout().join("README.md").exists());
}

#[tokio::test]
async fn row_08_terminal_and_process_group() {
    let command =
        "test -t 1 && echo term $TERM; echo group $(ps -o pid=,pgid=,sid= -p $$); test -t 0 || echo no input";
    let outcome = Rig::new(command).await.run().await;
    assert_eq!(outcome.lines("term"), ["term xterm-256color"]);
    let ids: Vec<String> = outcome.lines("group")[0].split_whitespace().skip(1).map(String::from).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    assert_eq!(outcome.lines("no input").len(), 1);
}

#[tokio::test]
async fn row_08_without_a_terminal() {
    let mut rig = Rig::new("test -t 1 || echo plain; echo to stderr >&2").await;
    rig.config.push("no-pty=true".into());
    let outcome = rig.run().await;
    assert_eq!((outcome.lines("plain").len(), outcome.lines("to stderr").len()), (1, 1));
    assert!(!outcome.log.contains('\r'));
}

/// Ignores the cancel signal, and leaves a process in a session of its own.
const STUBBORN: &str = "trap '' TERM HUP INT\n\
    setsid bash -c 'trap \"\" TERM HUP; echo $$ > orphan; while true; do sleep 1; done' &\n\
    echo $$ > shell\n\
    until test -s orphan; do sleep 0.01; done\n\
    echo ready\nwhile true; do sleep 1; done";

#[tokio::test]
async fn row_08_cancel_leaves_no_survivors_and_clean_up_hooks_run() {
    let mut rig = Rig::new(STUBBORN).await;
    rig.config.push("cancel-grace-period=1".into());
    rig.hook("post-command", "echo hook post-command $BUILDKITE_COMMAND_EXIT_STATUS");
    rig.hook("pre-exit", "echo hook pre-exit");
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    rig.server.plan.lock().unwrap().state = "canceling".into();
    let outcome = rig.end(agent).await;
    for file in ["orphan", "shell"] {
        let pid = std::fs::read_to_string(rig.checkout().join(file)).unwrap();
        until_gone(pid.trim()).await;
    }
    assert_eq!(outcome.lines("hook "), ["hook post-command -1", "hook pre-exit"]);
    assert_eq!(outcome.finish["exit_status"], "-1");
    assert_eq!(outcome.finish["signal"], "SIGKILL");
    assert_eq!(outcome.finish["signal_reason"], "cancel");
}

#[tokio::test]
async fn row_08_clean_up_that_hangs_is_ended_too() {
    let mut rig = Rig::new("echo ready; exec sleep 1000").await;
    rig.config.push("cancel-grace-period=1".into());
    rig.hook(
        "pre-exit",
        "echo $$ > \"$BUILDKITE_BUILD_CHECKOUT_PATH/hook\"; trap '' TERM; while true; do sleep 1; done",
    );
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    rig.server.plan.lock().unwrap().state = "canceled".into();
    let outcome = rig.end(agent).await;
    let pid = std::fs::read_to_string(rig.checkout().join("hook")).unwrap();
    until_gone(pid.trim()).await;
    assert_eq!((outcome.exit_status(), outcome.finish["signal_reason"].as_str()), ("-1", Some("cancel")));
}

#[tokio::test]
async fn row_13_markers_and_coloured_lines() {
    let rig = Rig::new("exit 3").await;
    rig.hook("pre-command", "true");
    let log = rig.run().await.log;
    for part in [
        "~~~ Running agent pre-command hook\n\x1b[90m$\x1b[0m ",
        "+++ Running commands\n\x1b[90m$\x1b[0m exit 3\n",
        "\x1b[31m🚨 Error: The command exited with status 3\x1b[0m\n^^^ +++\n",
    ] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
}

#[tokio::test]
async fn row_14_redaction_of_server_hook_and_added_values() {
    let command = "echo $SERVER_TOKEN $HOOK_PASSWORD; printf half-of; sleep 0.1; echo -a-secret; echo $PLAIN\n\
        printf added-by-tool | buildkite-agent redactor add; echo added-by-tool\n\
        echo '{\"k\":\"from-json\"}' | buildkite-agent redactor add --format json; echo from-json";
    let rig = Rig::new(command).await;
    rig.env("SERVER_TOKEN", "server-secret");
    rig.env("SPLIT_SECRET", "half-of-a-secret");
    rig.env("PLAIN", "shown-as-it-is");
    rig.hook("environment", "export HOOK_PASSWORD='hook secret'\n");
    let outcome = rig.run().await;
    // The shell's command line stands in the log before the tool has named the last two.
    let output = outcome.raw_log.split("from-json\n").last().unwrap();
    for secret in ["server-secret", "hook secret", "half-of-a-secret", "access-token-1"] {
        assert!(!outcome.log.contains(secret), "{secret} is in {}", outcome.log);
    }
    assert!(!output.contains("added-by-tool") && !output.contains("from-json"), "{output}");
    assert_eq!(outcome.lines("[REDACTED] [REDACTED]").len(), 1);
    assert_eq!(outcome.lines("[REDACTED]").len(), 4, "{}", outcome.log);
    assert_eq!(outcome.lines("shown-as-it-is").len(), 1);
}

#[tokio::test]
async fn row_15_chunks_are_contiguous_small_and_before_finish() {
    let rig = Rig::new("seq 1 20000").await;
    rig.server.plan.lock().unwrap().chunk_bytes = 1000;
    let outcome = rig.run().await;
    let seen = rig.server.seen.lock().unwrap();
    let mut offset = 0;
    for (index, (sequence, chunk)) in seen.chunks.iter().enumerate() {
        assert_eq!((*sequence, chunk.offset), (index as u64 + 1, offset));
        assert!(chunk.size <= 1000 && chunk.size == chunk.text.len() as u64);
        offset += chunk.size;
    }
    let finish = outcome.calls.iter().position(|call| call.ends_with("/finish")).unwrap();
    let last_chunk = outcome.calls.iter().rposition(|call| call.ends_with("/chunks")).unwrap();
    assert!(last_chunk < finish);
    assert!(outcome.raw_log.starts_with("\x1b_bk;t="));
    assert!(outcome.log.contains("\n20000\r\n"), "the last output is there");
    assert_eq!((outcome.finish["chunks_failed_count"].as_u64(), seen.header_times.len()), (Some(0), 0));
}

#[tokio::test]
async fn row_15_header_times_instead_of_inline_times_and_failed_chunks_are_counted() {
    let mut rig = Rig::new("echo '--- mine'").await;
    rig.config.push("no-ansi-timestamps=true".into());
    rig.server.plan.lock().unwrap().failures.insert("chunks".into(), vec![422]);
    let outcome = rig.run().await;
    assert!(!outcome.raw_log.contains("\x1b_bk"));
    assert!(rig.server.seen.lock().unwrap().header_times.contains_key("0"));
    assert_eq!(outcome.finish["chunks_failed_count"], 1);
}

#[tokio::test]
async fn row_16_exit_statuses_and_signals() {
    let table = [("exit 0", "0", None), ("exit 7", "7", None), ("kill -9 $$", "-1", Some("SIGKILL"))];
    for (command, status, signal) in table {
        let outcome = Rig::new(command).await.run().await;
        assert_eq!((outcome.exit_status(), outcome.finish["signal"].as_str()), (status, signal), "{command}");
    }
}

#[tokio::test]
async fn row_16_status_0_after_a_cancel_is_1() {
    let rig = Rig::new("trap 'exit 0' TERM; echo ready; while true; do sleep 0.05; done").await;
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    rig.server.plan.lock().unwrap().state = "timing_out".into();
    let outcome = rig.end(agent).await;
    assert_eq!(outcome.finish["exit_status"], "1");
    assert_eq!(outcome.finish["signal"], "SIGTERM");
}

#[tokio::test]
async fn row_16_job_without_what_it_needs_fails_and_says_so() {
    let rig = Rig::new("true").await;
    rig.env("BUILDKITE_PIPELINE_SLUG", "../../etc");
    let outcome = rig.run().await;
    assert!(outcome.log.contains("is no folder name"), "{}", outcome.log);
    assert_eq!(outcome.exit_status(), "1");
}

#[tokio::test]
async fn row_20_the_last_output_is_never_lost() {
    for _ in 0..5 {
        let outcome = Rig::new("printf 'the very last'; exec kill -9 $$").await.run().await;
        assert!(outcome.log.contains("the very last"), "{}", outcome.log);
    }
}

#[tokio::test]
async fn row_20_output_of_a_job_with_a_left_background_process_ends() {
    let outcome =
        Rig::new("nohup setsid sleep 1000 >/dev/null & echo background $!; echo over").await.run().await;
    assert_eq!((outcome.exit_status(), outcome.lines("over").len()), ("0", 1));
    let pid = outcome.lines("background")[0].replace("background ", "");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).ok();
}

#[tokio::test]
async fn row_17_quit_cancels_and_the_agent_leaves_with_0() {
    let rig = Rig::new("echo ready; exec sleep 1000").await;
    let agent = rig.start();
    rig.server.wait_for_log("ready\r\n").await;
    signal(&agent, Signal::SIGQUIT);
    let outcome = rig.end(agent).await;
    assert_eq!(outcome.finish["signal_reason"], "agent_stop");
    assert_eq!((outcome.status.code(), outcome.exit_status()), (Some(0), "-1"));
}

/// Another program around the job's own: it gets the arguments, and a cancel reaches it first.
#[tokio::test]
async fn a_bootstrap_script_runs_the_job() {
    let mut rig = Rig::new("echo in $AROUND; exit 5").await;
    let script = rig.path("around it");
    let program = env!("CARGO_BIN_EXE_build-agent");
    std::fs::write(&script, "#!/bin/sh\nAROUND=$1; export AROUND; shift\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    rig.config.push(format!("bootstrap-script=\"'{}' scope {program} bootstrap\"", script.display()));
    let outcome = rig.run().await;
    assert_eq!((outcome.exit_status(), outcome.lines("in ")), ("5", vec!["in scope".to_owned()]));

    let mut rig = Rig::new("echo never").await;
    rig.config.push("bootstrap-script=/no/such/program".into());
    let outcome = rig.run().await;
    assert_eq!((outcome.exit_status(), outcome.lines("never").len()), ("-1", 0));
}
