//! Running the real program and timing it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::resource::{UsageWho, getrusage};

use crate::bucket::Bucket;

/// One row of the table.
pub struct Measured {
    pub name: String,
    pub median: Duration,
    pub p95: Duration,
    pub rss_kib: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        #[expect(clippy::cast_precision_loss, reason = "megabytes with one decimal")]
        let rss = self.rss_kib as f64 / 1024.0;
        write!(f, "| {} | {:.1} ms | {:.1} ms | {rss:.1} MB |", self.name, ms(self.median), ms(self.p95))
    }
}

/// Time of one run, and the largest resident set up to then.
pub struct Once {
    pub took: Duration,
    pub rss_kib: u64,
}

/// Runs `times` times and sorts.
pub fn measure(name: &str, times: usize, mut run: impl FnMut() -> Once) -> Measured {
    let runs: Vec<Once> = (0..times).map(|_| run()).collect();
    let mut took: Vec<Duration> = runs.iter().map(|r| r.took).collect();
    took.sort();
    Measured {
        name: name.to_owned(),
        median: took[times / 2],
        p95: took[times * 95 / 100],
        rss_kib: runs.iter().map(|r| r.rss_kib).max().unwrap_or(0),
    }
}

/// `--version`, until it has ended.
pub fn version(program: &Path) -> Once {
    timed(Command::new(program).arg("--version").env_clear())
}

/// Time from start to end, and the largest resident set of any program run so far: the kernel keeps only that.
fn timed(command: &mut Command) -> Once {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Once { took, rss_kib: children_rss_kib() }
}

/// The largest resident set of any program that ended so far.
pub fn children_rss_kib() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    u64::try_from(usage.max_rss()).unwrap_or(0)
}

/// One job's prelude, again and again.
pub struct Prelude {
    program: PathBuf,
    root: tempfile::TempDir,
    endpoint: String,
}

impl Prelude {
    pub fn new(program: &Path, bucket: &Bucket) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        Self { program: program.to_owned(), root, endpoint: bucket.url() }
    }

    fn command(&self, program: &Path, phase: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--root", &self.root.path().to_string_lossy(), "hook", phase])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.root.path())
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("BUILDKITE_JOB_ID", "0190-bench")
            .env("BUILDKITE_PIPELINE_SLUG", "app")
            .env("BUILDKITE_REPO", "git@example.com:acme/app.git")
            .env("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET", "secrets")
            .env("BUILDKITE_PLUGIN_S3_SECRETS_REGION", "us-east-1");
        command
    }

    /// The hook with everything in the page cache.
    pub fn run(&self) -> Once {
        self.hook(&self.program)
    }

    /// The hook as an instance's first job meets it: the program is read from disk.
    pub fn run_cold(&self) -> Once {
        let copy = self.root.path().join("agent-bootstrap");
        std::fs::copy(&self.program, &copy).expect("a copy of the program");
        evict(&copy);
        self.hook(&copy)
    }

    fn hook(&self, program: &Path) -> Once {
        let once = timed(&mut self.command(program, "environment"));
        let _ = timed(&mut self.command(program, "pre-exit"));
        once
    }
}

/// Takes a file out of the page cache. What is not on the disk yet stays in it, so it is written out first.
fn evict(file: &Path) {
    let opened = std::fs::File::open(file).expect("the copy is there");
    opened.sync_all().expect("the disk takes it");
    posix_fadvise(&opened, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("the kernel takes advice");
    let resident = Command::new("fincore").args(["--noheadings", "--output", "PAGES"]).arg(file).output();
    let resident = resident.expect("fincore is part of util-linux").stdout;
    assert_eq!(String::from_utf8_lossy(&resident).trim(), "0", "pages of {} stay in memory", file.display());
}
