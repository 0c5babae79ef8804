//! An agent with its folders and a repository, for one job.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;

use crate::server::{Seen, Server, log_of, raw_log_of};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Rig {
    pub server: Server,
    pub folder: tempfile::TempDir,
    /// Lines of the agent's configuration.
    pub config: Vec<String>,
    /// Is the job acquired at once, or found by pings?
    pub acquire: bool,
}

/// A finished agent and what its server saw.
pub struct Outcome {
    pub status: ExitStatus,
    pub log: String,
    pub raw_log: String,
    pub finish: Value,
    pub calls: Vec<String>,
}

impl Outcome {
    pub fn exit_status(&self) -> &str {
        self.finish["exit_status"].as_str().expect("a finish with a status")
    }

    /// The lines of the log that hold one of `words`, blanks and terminal line ends aside.
    pub fn lines(&self, prefix: &str) -> Vec<String> {
        let lines = self.log.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| line.starts_with(prefix)).collect()
    }
}

impl Rig {
    /// A job that runs `command` in a repository with a README.
    pub async fn new(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rig = Self { server: Server::start().await, folder, config: Vec::new(), acquire: true };
        std::fs::create_dir_all(rig.path("hooks")).unwrap();
        rig.commit(&[("README.md", "hello\n")]);
        let repository = rig.path("repository").display().to_string();
        let env = [
            ("BUILDKITE_JOB_ID", "job-1"),
            ("BUILDKITE_REPO", &repository),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_ORGANIZATION_SLUG", "acme"),
            ("BUILDKITE_PIPELINE_SLUG", "app"),
            ("BUILDKITE_PIPELINE_PROVIDER", "git"),
            ("BUILDKITE_PULL_REQUEST", "false"),
            ("BUILDKITE_COMMAND", command),
        ];
        env.iter().for_each(|(name, value)| rig.env(name, value));
        rig
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn checkout(&self) -> PathBuf {
        self.path("builds/web-1/acme/app")
    }

    pub fn env(&self, name: &str, value: &str) {
        self.server.plan.lock().unwrap().env.insert(name.into(), value.into());
    }

    /// An agent hook, without the execute bit.
    pub fn hook(&self, name: &str, text: &str) {
        std::fs::write(self.path("hooks").join(name), text).unwrap();
    }

    /// A commit on `main` with these files; the answer is its id.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let repository = self.path("repository");
        if !repository.exists() {
            std::fs::create_dir(&repository).unwrap();
            git(&repository, &["init", "-q", "-b", "main"]);
        }
        for (name, text) in files {
            let file = repository.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        git(&repository, &["add", "-A"]);
        git(&repository, &["commit", "-q", "-m", "a commit"]);
        git(&repository, &["rev-parse", "HEAD"])
    }

    /// Starts the agent.
    pub fn start(&self) -> Child {
        let paths = [("build-path", "builds"), ("hooks-path", "hooks")];
        let paths = paths.map(|(key, below)| format!("{key}=\"{}\"", self.path(below).display()));
        let fixed = ["token=\"registration\"", "name=\"web.1\"", "checkout-attempts=1"].map(String::from);
        let endpoint = format!("endpoint=\"{}\"", self.server.endpoint);
        let lines: Vec<String> =
            paths.into_iter().chain(fixed).chain([endpoint]).chain(self.config.clone()).collect();
        std::fs::write(self.path("agent.cfg"), lines.join("\n")).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_build-agent"));
        command.arg("start").arg("--config").arg(self.path("agent.cfg"));
        if self.acquire {
            command.args(["--acquire-job", "job-1"]);
        } else {
            command.arg("--disconnect-after-job");
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BUILDKITE") {
                command.env_remove(name);
            }
        }
        command
            .env("BUILDKITE_AGENT_TOKEN", "registration")
            .env("FROM_PROCESS", "yes")
            .env("TMPDIR", self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    }

    /// Runs the agent to its end.
    pub async fn run(&self) -> Outcome {
        self.end(self.start()).await
    }

    pub async fn end(&self, mut agent: Child) -> Outcome {
        let status = tokio::time::timeout(PATIENCE, agent.wait()).await.expect("the agent leaves").unwrap();
        let seen: &Seen = &self.server.seen.lock().unwrap();
        Outcome {
            status,
            log: log_of(seen),
            raw_log: raw_log_of(seen),
            finish: seen.finish.clone().unwrap_or_default(),
            calls: seen.calls.clone(),
        }
    }
}

pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Sends a signal to a child by its id.
pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = child.id().expect("a running child").try_into().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// Is there a process with this id that is no zombie?
pub fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until there is none; nothing tells a process that is not its parent.
pub async fn until_gone(pid: &str) {
    let gone = async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it ends");
}
