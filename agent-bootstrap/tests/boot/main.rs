//! `boot` as an instance runs it: the real binary in a root of its own, before a metadata service and AWS on loopback.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests: a panic is their way to fail")]

mod additions;
mod again;
mod docker;
mod ends;
mod faults;
mod held;
mod idle;
mod stage;
mod world;

use std::path::Path;

use agent_bootstrap::registry::instance;
use stage::{INSTANCE, Stage, TOKEN, TOKEN_ARN, until};

/// Every file below `folder` that holds `needle`.
fn holding(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(needle) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

#[tokio::test]
async fn an_instance_becomes_its_agents() {
    let stage = Stage::new()
        .await
        .settings("agents-per-instance: 2\necr-login: false\nsecrets-bucket: b\nhooks-env: {NAME: 'a b'}\n");
    let run = stage.boot().await;
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    for phase in ["identity", "group", "settings", "agent token", "files", "agents", "ready in"] {
        assert!(run.stderr.contains(&format!("boot: {phase} ")), "{}", run.stderr);
    }
    assert_eq!(stage.agents().iter().filter(|agent| agent.is_alive()).count(), 2);
    // The agents are processes of their own: their first words come when they come.
    let said = || std::fs::read_to_string(stage.path("started")).unwrap_or_default();
    until("both say their first words", || said().lines().count() == 2).await;
    let config = stage.layout.agent_config();
    for number in [1, 2] {
        let line = format!("ci-{INSTANCE}-{number} start --config {}\n", config.display());
        assert!(stage.text("started").contains(&line), "{}", stage.text("started"));
    }
    let hooks_env = stage.text("etc/tidemark/hooks.env");
    for line in ["AWS_ECR_LOGIN=false\n", "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET=b\n", "NAME=a b\n"] {
        assert!(hooks_env.contains(line), "{hooks_env}");
    }
    let (account, region) = instance::account_and_region(&stage.layout);
    assert_eq!(account.map(|a| a.as_str().to_owned()).as_deref(), Some("123456789012"));
    assert_eq!(region.as_deref(), Some("us-east-1"));
}

#[tokio::test]
async fn files_have_their_modes_and_one_holds_the_token() {
    let stage = Stage::new().await;
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for (path, mode) in [
        ("etc/buildkite-agent/buildkite-agent.cfg", 0o640),
        ("etc/buildkite-agent/hooks/environment", 0o755),
        ("etc/buildkite-agent/hooks/pre-command", 0o755),
        ("etc/buildkite-agent/hooks/pre-exit", 0o755),
        ("etc/tidemark/hooks.env", 0o644),
        ("etc/tidemark/instance.json", 0o644),
        ("run/tidemark", 0o755),
        ("run/tidemark/jobs", 0o700),
        ("run/tidemark/ecr", 0o700),
    ] {
        assert_eq!(stage.mode(path), mode, "{path}: {:o}", stage.mode(path));
    }
    assert_eq!(holding(stage.layout.root(), TOKEN), ["buildkite-agent.cfg"]);
    assert!(!run.stderr.contains(TOKEN));
    for agent in stage.agents() {
        let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", agent.pid)).unwrap();
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", agent.pid)).unwrap();
        assert!(!arguments.contains(TOKEN) && !environment.contains(TOKEN));
    }
}

#[tokio::test]
async fn a_second_boot_starts_nothing_twice_and_takes_a_rotated_token() {
    let stage = Stage::new().await;
    assert_eq!(stage.boot().await.code, 0);
    let agents = stage.agents();
    stage.secret(Ok(r#"{"token": "r0tated"}"#));
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(stage.agents(), agents);
    assert!(agents.iter().all(|agent| agent.is_alive()));
    assert!(stage.text("etc/buildkite-agent/buildkite-agent.cfg").contains("token=\"r0tated\"\n"));
    assert_eq!(holding(&stage.path("etc"), TOKEN), Vec::<String>::new());
}

#[tokio::test]
async fn all_faults_of_the_settings_are_told_at_once() {
    let stage = Stage::new().await.settings("idle-perod: 5m\nagents-per-instance: 0\npoll-interval: soon\n");
    let run = stage.boot().await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    let told = run.stderr.lines().find(|line| line.starts_with("agent-bootstrap:")).unwrap();
    for word in ["boot: settings:", "`idle-perod`", "`idle-period`", "agents-per-instance", "poll-interval"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(stage.agents().is_empty() && !stage.layout.instance_file().exists());
    assert_eq!(stage.calls_of("SetInstanceHealth"), ["SetInstanceHealth i-0abc Unhealthy"]);
}

#[tokio::test]
async fn without_its_token_an_instance_is_given_back() {
    let cases: [(Result<&str, _>, i32, &str); 4] = [
        (Err(("ResourceNotFoundException", "no such secret")), 1, "no such secret"),
        (
            Err(("AccessDeniedException", "not authorized to perform: secretsmanager:GetSecretValue")),
            77,
            TOKEN_ARN,
        ),
        (Ok("  \n"), 78, "agent token there, and boot again"),
        (Ok("{\"password\": \"x\"}"), 78, TOKEN_ARN),
    ];
    for (answer, code, words) in cases {
        let stage = Stage::new().await;
        stage.secret(answer);
        let run = stage.boot().await;
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("boot: agent token:") && run.stderr.contains(words), "{}", run.stderr);
        assert!(run.stderr.contains("i-0abc is marked unhealthy; its group replaces it"), "{}", run.stderr);
        assert!(stage.agents().is_empty());
        assert!(
            stage.calls().contains(&"SetInstanceHealth i-0abc Unhealthy".to_owned()),
            "{:?}",
            stage.calls()
        );
    }
}

#[tokio::test]
async fn an_instance_that_cannot_be_given_back_says_so() {
    let stage = Stage::new().await.settings("poll-interval: soon\n");
    stage.refuse("SetInstanceHealth", 1, "AccessDenied", "not authorized");
    let run = stage.boot().await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("could not be marked unhealthy"), "{}", run.stderr);
    assert!(run.stderr.contains("terminate it by hand"), "{}", run.stderr);
}

#[tokio::test]
async fn who_does_not_know_itself_calls_nobody() {
    let stage = Stage::new().await;
    stage.change(|world| world.metadata.remove("meta-data/instance-id"));
    let run = stage.boot().await;
    assert_eq!(run.code, 1, "{}", run.stderr);
    for words in
        ["boot: identity:", "instance-id", "gives up a launch when the launching hook's time has passed"]
    {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert_eq!(stage.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn settings_and_token_may_lie_in_the_parameter_store() {
    let stage = Stage::new().await;
    let agent = stage.path("agent");
    let settings =
        format!("{{stack: ci, queue: q, agent-program: {}, agent-token: 'ssm:/ci/token'}}", agent.display());
    let stage = stage
        .user_data("ssm:/ci/settings\n")
        .parameter("/ci/settings", &settings)
        .parameter("/ci/token", TOKEN);
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        stage.calls_of("Amazon"),
        ["AmazonSSM.GetParameter /ci/settings", "AmazonSSM.GetParameter /ci/token"]
    );
    assert!(stage.text("etc/buildkite-agent/buildkite-agent.cfg").contains(TOKEN));
}
