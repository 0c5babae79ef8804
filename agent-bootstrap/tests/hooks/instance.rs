//! An instance without anything around it: a root folder, the installed hooks, an agent that sources them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_bootstrap::hooks::scripts::{HOOK_SCRIPTS, script};

use crate::fake_s3::{BUCKET, FakeS3};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-bootstrap");

pub struct Instance {
    pub root: tempfile::TempDir,
    pub s3: FakeS3,
    pub environment: BTreeMap<String, String>,
}

/// What a hook, sourced as the agent does it, left behind.
pub struct Ran {
    pub code: i32,
    pub stderr: String,
    /// The environment after the hook, empty when the hook failed.
    pub environment: BTreeMap<String, Vec<u8>>,
}

impl Ran {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|v| std::str::from_utf8(v).unwrap())
    }

    #[track_caller]
    pub fn passed(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Failed with this code, in one line with these words, and exported nothing.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.environment.is_empty(), "half an environment");
        let line = self.stderr.lines().last().unwrap_or_default();
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
        self
    }
}

impl Instance {
    pub fn new() -> Self {
        let s3 = FakeS3::start();
        let environment = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &s3.url),
            ("AWS_MAX_ATTEMPTS", "1"),
            ("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET", BUCKET),
            ("BUILDKITE_PIPELINE_SLUG", "app"),
            ("BUILDKITE_JOB_ID", "job-1"),
            ("BUILDKITE_REPO", "https://git.example/acme/app.git"),
        ];
        let environment = environment.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        // A short path: sockets below it must fit.
        let root = tempfile::Builder::new().prefix("tm").tempdir_in("/tmp").unwrap();
        Self { root, s3, environment }
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    /// The instance's settings file, as boot writes it.
    pub fn settings(&mut self, text: &str) -> &mut Self {
        let path = self.root.path().join("etc/tidemark/hooks.env");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn job_folder(&self) -> PathBuf {
        self.root.path().join("run/tidemark/jobs/job-1")
    }

    /// Sources an installed hook and shows the environment that is left.
    pub fn hook(&self, phase: &str) -> Ran {
        self.hook_in(phase, &self.environment)
    }

    pub fn hook_in(&self, phase: &str, environment: &BTreeMap<String, String>) -> Ran {
        let template = HOOK_SCRIPTS.iter().find(|(name, _)| *name == phase).unwrap().1;
        let hook = self.root.path().join(phase);
        std::fs::write(&hook, script(template, Path::new(PROGRAM), self.root.path())).unwrap();
        let output = Command::new("bash")
            .args([
                "--noprofile",
                "--norc",
                "-c",
                r#". "$1"; status=$?; [ $status = 0 ] || exit $status; env -0"#,
                "-",
            ])
            .arg(&hook)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let pairs = output.stdout.split(|b| *b == 0).filter(|pair| !pair.is_empty());
        let environment = pairs
            .map(|pair| {
                let at = pair.iter().position(|b| *b == b'=').unwrap();
                (String::from_utf8_lossy(&pair[..at]).into_owned(), pair[at + 1..].to_vec())
            })
            .collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { code: output.status.code().unwrap(), stderr, environment }
    }
}

/// Whatever a test started must not outlive it.
impl Drop for Instance {
    fn drop(&mut self) {
        self.hook("pre-exit");
    }
}
