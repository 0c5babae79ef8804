//! A `build-server` process in a folder of its own.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub const REGISTRATION: &str = "registration-secret";

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-server"));
    command
        .env_remove("BUILD_SERVER_URL")
        .env_remove("BUILD_SERVER_TOKEN_FILE")
        .env("BUILD_SERVER_LOG", "debug");
    command
}

/// A folder with a registration token.
pub fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("registration"), REGISTRATION).unwrap();
    dir
}

pub struct Program {
    child: Child,
    pub url: String,
    dir: PathBuf,
}

impl Program {
    /// Starts it and waits for the line that says where it listens.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub fn start_with(dir: &Path, more: &[&str]) -> Self {
        let errors = std::fs::File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
        let mut child = binary()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.join("data"))
            .arg("--registration-token-file")
            .arg(dir.join("registration"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, url, dir: dir.to_owned() }
    }

    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    /// `build-server builds …` against it.
    pub fn builds(&self, args: &[&str]) -> Output {
        let token = self.dir.join("data/api-token");
        binary()
            .arg("builds")
            .args(args)
            .args(["--server", &self.url, "--token-file"])
            .arg(token)
            .output()
            .unwrap()
    }

    /// The same, which must succeed and print JSON.
    pub fn builds_json(&self, args: &[&str]) -> Value {
        let output = self.builds(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
