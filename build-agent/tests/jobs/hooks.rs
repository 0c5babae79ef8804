//! Hooks: order, environment, failures (rows 1 to 6).

use crate::rig::Rig;

const PHASES: [&str; 7] = [
    "environment",
    "pre-checkout",
    "post-checkout",
    "pre-command",
    "post-command",
    "pre-exit",
    "pre-artifact",
];

/// A job whose hooks each print `ran <scope> <phase>`, some of them with an exit status.
async fn traced(command: &str, exits: &[(&str, i32)]) -> Rig {
    let rig = Rig::new(command).await;
    let exit = |phase: &str| exits.iter().find(|(name, _)| *name == phase).map_or(0, |(_, status)| *status);
    for phase in PHASES {
        rig.hook(
            phase,
            &format!(
                "echo ran agent {phase} ${{BUILDKITE_COMMAND_EXIT_STATUS-none}}\n(exit {})\n",
                exit(phase)
            ),
        );
        let file = format!(".buildkite/hooks/{phase}");
        rig.commit(&[(
            &file,
            &format!("echo ran repository {phase} ${{BUILDKITE_COMMAND_EXIT_STATUS-none}}\n"),
        )]);
    }
    rig
}

#[tokio::test]
async fn row_01_job_environment() {
    let rig = Rig::new("env | sort | sed 's/^/env: /'").await;
    rig.env("FOO", "from server");
    rig.env("BUILDKITE_BUILD_PATH", "/evil");
    let outcome = rig.run().await;
    for line in
        ["env: FOO=from server", "env: FROM_PROCESS=yes", "env: BUILDKITE_IGNORED_ENV=BUILDKITE_BUILD_PATH"]
    {
        assert!(outcome.lines("env: ").contains(&line.to_owned()), "{line} is not in {}", outcome.log);
    }
    assert_eq!(outcome.lines("env: BUILDKITE_AGENT_TOKEN"), [""; 0]);
    assert_eq!(outcome.exit_status(), "0");
}

#[tokio::test]
async fn row_02_checkout_path_and_env_file() {
    let rig = Rig::new("echo in $PWD; grep FOO $BUILDKITE_ENV_FILE; echo file $BUILDKITE_ENV_FILE").await;
    rig.env("FOO", "a b");
    let outcome = rig.run().await;
    assert_eq!(outcome.lines("in "), [format!("in {}", rig.checkout().display())]);
    assert_eq!(outcome.lines("FOO"), ["FOO=\"a b\""]);
    let file = outcome.lines("file ")[0].replace("file ", "");
    assert!(!std::path::Path::new(&file).exists(), "the file is gone after the job");
}

#[tokio::test]
async fn row_03_hooks_are_sourced_without_errexit_and_change_env_and_folder() {
    let rig = Rig::new("printf 'got <%s> <%s>\\n' \"$MULTI\" \"${GONE-unset}\"; echo in $PWD").await;
    rig.env("GONE", "still here");
    rig.hook(
        "environment",
        "false\nexport MULTI='one\ntwo'\nunset GONE\nexport BUILDKITE_SHELL=/bin/false\n",
    );
    rig.hook("pre-command", "mkdir -p sub\ncd sub\n");
    let outcome = rig.run().await;
    assert!(outcome.log.replace('\r', "").contains("got <one\ntwo> <unset>"), "{}", outcome.log);
    assert_eq!(outcome.lines("in "), [format!("in {}", rig.checkout().join("sub").display())]);
    assert!(outcome.log.contains("BUILDKITE_SHELL is protected"), "{}", outcome.log);
}

#[tokio::test]
async fn row_03_last_status_of_a_hook_counts_and_exit_loses_changes() {
    let rig = Rig::new("echo value ${LOST-none}").await;
    rig.hook("environment", "export LOST=1\nexit 0\n");
    let outcome = rig.run().await;
    assert_eq!(outcome.lines("value"), ["value none"]);
}

#[tokio::test]
async fn row_04_order_of_hooks() {
    let rig = traced("echo ran command", &[]).await;
    let outcome = rig.run().await;
    insta::assert_snapshot!(outcome.lines("ran ").join("\n"), @r"
    ran agent environment none
    ran agent pre-checkout none
    ran agent post-checkout none
    ran repository post-checkout none
    ran agent pre-command none
    ran repository pre-command none
    ran command
    ran agent post-command 0
    ran repository post-command 0
    ran agent pre-exit 0
    ran repository pre-exit 0
    ");
}

#[tokio::test]
async fn row_04_one_command_hook_the_repositorys_first() {
    let rig = Rig::new("echo ran the command").await;
    rig.hook("command", "echo ran agent");
    let outcome = rig.run().await;
    assert_eq!(outcome.lines("ran "), ["ran agent"]);
    let rig = Rig::new("echo ran the command").await;
    rig.hook("command", "echo ran agent");
    rig.hook("checkout", "mkdir -p .buildkite/hooks; echo 'echo ran repository' > .buildkite/hooks/command");
    let outcome = rig.run().await;
    assert_eq!(outcome.lines("ran "), ["ran repository"]);
    assert!(!rig.checkout().join(".git").exists(), "a checkout hook replaces the built-in checkout");
}

#[tokio::test]
async fn row_05_failures_table() {
    // Exits of hooks, the command's exit, status of the job, what did not run, what did run.
    type Row =
        (&'static [(&'static str, i32)], i32, &'static str, &'static [&'static str], &'static [&'static str]);
    let table: [Row; 7] = [
        (&[("environment", 44)], 0, "44", &["pre-checkout", "command"], &["agent pre-exit"]),
        (&[("pre-checkout", 7)], 0, "7", &["post-checkout", "command"], &["agent pre-exit"]),
        (&[("post-checkout", 8)], 0, "8", &["repository post-checkout", "command"], &["agent pre-exit"]),
        (
            &[("pre-command", 42)],
            0,
            "42",
            &["repository pre-command", "command", "post-command"],
            &["agent pre-exit none"],
        ),
        (&[], 5, "5", &[], &["agent post-command 5", "repository post-command 5", "agent pre-exit 5"]),
        (&[("post-command", 21)], 5, "21", &["repository post-command"], &["agent pre-exit 5"]),
        (&[("pre-exit", 33)], 0, "33", &["repository pre-exit"], &["agent post-command 0"]),
    ];
    for (exits, command, status, absent, present) in table {
        let rig = traced(&format!("echo ran the command; exit {command}"), exits).await;
        let outcome = rig.run().await;
        let ran = outcome.lines("ran ");
        assert_eq!(outcome.exit_status(), status, "{exits:?}: {}", outcome.log);
        for part in absent {
            let part = part.replace("command", if *part == "command" { "the command" } else { "command" });
            assert!(!ran.iter().any(|line| line.contains(&part)), "{exits:?}: {part} in {ran:?}");
        }
        for part in present {
            assert!(ran.iter().any(|line| line.contains(part)), "{exits:?}: no {part} in {ran:?}");
        }
    }
}

#[tokio::test]
async fn row_05_artifact_phase_runs_after_a_failed_pre_command_and_hides_no_status() {
    let rig = traced("echo ran command; exit 4", &[("pre-command", 42)]).await;
    rig.env("BUILDKITE_ARTIFACT_PATHS", "log/*");
    let outcome = rig.run().await;
    assert!(outcome.lines("ran ").contains(&"ran agent pre-artifact none".to_owned()), "{}", outcome.log);
    assert_eq!(outcome.exit_status(), "42");
    let rig = traced("echo ran command", &[("pre-artifact", 23)]).await;
    rig.env("BUILDKITE_ARTIFACT_PATHS", "log/*");
    assert_eq!(rig.run().await.exit_status(), "23");
}

#[tokio::test]
async fn row_06_exit_statuses_before_post_command() {
    let rig = Rig::new("exit 5").await;
    rig.hook("pre-command", "true");
    rig.hook("post-command", "echo seen $BUILDKITE_COMMAND_EXIT_STATUS $BUILDKITE_LAST_HOOK_EXIT_STATUS");
    assert_eq!(rig.run().await.lines("seen"), ["seen 5 0"]);
}

#[tokio::test]
async fn plugins_get_an_honest_error() {
    let rig = Rig::new("echo ran command").await;
    rig.env("BUILDKITE_PLUGINS", r#"[{"docker#v1":null}]"#);
    let outcome = rig.run().await;
    assert!(outcome.log.contains("cannot run plugins yet"), "{}", outcome.log);
    assert_eq!((outcome.exit_status(), outcome.lines("ran ").len()), ("1", 0));
}
