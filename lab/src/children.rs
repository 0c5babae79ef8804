//! Helper processes (moto, sshd, agents) that surely end with the lab, however the lab ends.
//!
//! Each helper runs under `lab supervise -- PROGRAM ARGS…`, which holds the read end of a pipe whose other end only
//! the lab's process has. When the lab drops the [`Child`], exits, crashes or is ended by SIGKILL, the pipe closes,
//! and the supervisor ends the helper with all its descendants: it is their subreaper, so that even daemons that left
//! their parent are found. The supervisor stands in its own process group: Ctrl-C reaches it only through the lab.

mod supervise;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::process::{ChildStdin, Command};

pub use supervise::{supervise_when_asked, while_used};

/// The environment variable that names the `lab` program, where it is not beside the current one.
pub const LAB_PROGRAM: &str = "TIDEMARK_LAB";

/// How long a helper may take to end after SIGTERM before it gets SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long all helpers together may take to be gone: what got SIGKILL has to get the processor once more to end.
const GONE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct Helper {
    /// The program, an absolute path or a name on `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside (or, with `clean_environment`, instead of) the lab's own.
    pub environment: Vec<(OsString, OsString)>,
    /// Starts with `environment` only.
    pub clean_environment: bool,
    /// The working folder.
    pub folder: PathBuf,
    /// Standard output and error are appended here; made with mode 0600.
    pub log: PathBuf,
}

impl Helper {
    /// A helper with the lab's environment.
    pub fn new(program: impl Into<PathBuf>, folder: &Path, log: &Path) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            clean_environment: false,
            folder: folder.to_owned(),
            log: log.to_owned(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the helper under its supervisor.
    ///
    /// # Errors
    /// When the `lab` program is not found, or the log or the process cannot be made. A helper that does not exist is
    /// seen later: its supervisor ends with 127.
    pub fn start(self) -> Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .with_context(|| format!("start {}: log {}", self.name(), self.log.display()))?;
        let mut command = Command::new(lab_program()?);
        if self.clean_environment {
            command.env_clear();
        }
        let mut process = command
            .arg(supervise::VERB)
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .envs(self.environment.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", self.name()))?;
        let pipe = process.stdin.take();
        Ok(Child { name: self.name(), process, pipe })
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A running helper. Dropping it ends the helper and everything it started, in the background.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: tokio::process::Child,
    /// Its closing tells the supervisor that the lab has gone.
    pipe: Option<ChildStdin>,
}

impl Child {
    /// The supervisor's process id; none once it was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until the helper ends by itself, and tells its exit status (128 + the signal's number for a signal).
    ///
    /// # Errors
    /// When the supervisor cannot be waited for.
    pub async fn wait(&mut self) -> Result<i32> {
        let status = self.process.wait().await;
        Ok(status.with_context(|| format!("wait for {}", self.name))?.code().unwrap_or(1))
    }

    /// The exit status if the helper has ended.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self
            .process
            .try_wait()
            .with_context(|| format!("ask for {}", self.name))?
            .map(|status| status.code().unwrap_or(1)))
    }

    /// Ends the helper and all its descendants, and waits until none is left.
    ///
    /// # Errors
    /// When they have not ended long after the grace period.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.pipe.take());
        match tokio::time::timeout(GONE, self.process.wait()).await {
            Ok(status) => status.map(drop).with_context(|| format!("stop {}", self.name)),
            Err(_) => bail!("stop {}: not ended after {} s", self.name, GONE.as_secs()),
        }
    }
}

/// Waits until every child of this process has ended, after all [`Child`]ren were dropped: a lab that was stopped in the
/// middle leaves only when nothing of it runs any more. Gives up after a minute.
pub fn until_all_ended() {
    let begun = Instant::now();
    while begun.elapsed() < GONE {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// The `lab` program: this one, or `$TIDEMARK_LAB`, or the one in the target folder that this test or program is in.
///
/// # Errors
/// When there is none; the message says how to get it.
pub fn lab_program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(LAB_PROGRAM) {
        return Ok(named.into());
    }
    let this = std::env::current_exe().context("find the program lab")?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("lab"))
        .find(|program| program.is_file())
        .with_context(|| {
            format!(
                "find the program lab: not beside {}; run `cargo build -p lab`, or set {LAB_PROGRAM}",
                this.display()
            )
        })
}
