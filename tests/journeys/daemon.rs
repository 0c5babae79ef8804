//! `scaler run`, as a user's daemon.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::scene::{PATIENCE, Scene};

/// The process, and its decision log.
pub struct Daemon {
    child: Child,
    /// Where it listens for hints.
    pub url: String,
    log: std::path::PathBuf,
}

impl Daemon {
    /// With these variables, under this role.
    pub async fn start(
        scene: &Scene,
        role: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let log = scene.lab.folder().join("daemon.log");
        let mut command = Command::new(scene.lab.programs().join("scaler"));
        command.args(["run", "--listen", "127.0.0.1:0"]).env_clear();
        command.envs(scene.lab.endpoint().mint_session(role, "daemon").environment());
        command.envs([("AWS_ENDPOINT_URL", scene.lab.endpoint().url()), ("AWS_REGION", lab::lab::REGION)]);
        command.envs(variables);
        command.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let url = line.strip_prefix("scaler: listening for hints on ").unwrap_or_else(|| panic!("{line}"));
        let url = url.to_owned();
        // What it complains of later goes on; nobody needs it unless the test fails.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
            }
        });
        Self { child, url, log }
    }

    /// Waits until it has ticked so often.
    pub async fn ticks(&self, count: usize) {
        let begun = Instant::now();
        while self.ticked() < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} ticks", self.ticked());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often it has ticked, with one group.
    pub fn ticked(&self) -> usize {
        self.decisions().len()
    }

    /// The lines of its decision log.
    pub fn decisions(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.starts_with(r#"{"at":"#)).map(str::to_owned).collect()
    }

    /// Those of a group.
    pub fn decisions_on(&self, group: &str) -> Vec<Value> {
        let lines = self.decisions();
        let all = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|line| line["group"] == group).collect()
    }

    /// The file of its stdout.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// Ends it as systemd does.
    pub async fn stop(mut self) {
        let id = self.child.id().unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(id.try_into().unwrap()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert!(self.child.wait().await.unwrap().success(), "SIGTERM is a good end");
    }
}
