//! Programs that are run: bounded in time, ended with all that they started.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use crate::problem::Problem;

/// No more of a program's output is kept.
const MOST_OUTPUT: u64 = 1024 * 1024;

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its output.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
}

impl Ended {
    /// The last lines of its complaints, in one line for people.
    #[must_use]
    pub fn complaint(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(3)..].join(" / ");
        if tail.is_empty() { format!("it ended with {}", self.status) } else { tail }
    }
}

/// A process group that ends when this is dropped.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts a program as the leader of a group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { child, leader })
    }

    /// The program.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to all of the group.
    pub fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // Nobody left to hear it is what is wanted.
            let _ = killpg(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or takes longer than `patience`; `what` says in words what it was to do.
pub async fn run(command: &mut Command, patience: Duration, what: &str) -> Result<Ended, Problem> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 78 } else { 1 };
        Problem::new(code, format!("{what}: {program} does not start: {error}"))
    })?;
    let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
    let all = async { tokio::join!(taken(stdout), taken(stderr), group.child().wait()) };
    match tokio::time::timeout(patience, all).await {
        Ok((stdout, stderr, Ok(status))) => Ok(Ended { status, stdout, stderr }),
        Ok((_, _, Err(error))) => Err(Problem::new(1, format!("{what}: {program}: {error}"))),
        Err(_) => Err(Problem::new(
            75,
            format!("{what}: {program} did not end within {} s and was stopped", patience.as_secs()),
        )),
    }
}

/// All of a stream, of which the first part is kept.
async fn taken(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut first = (&mut stream).take(MOST_OUTPUT);
    // A stream that breaks has ended.
    let _ = first.read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped_with_its_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 600 & echo $! > {}; wait", file.path().display());
        let mut command = Command::new("sh");
        let problem =
            run(command.args(["-c", &script]), Duration::from_millis(500), "fetch").await.unwrap_err();
        assert_eq!(problem.code, 75);
        assert!(problem.message.starts_with("fetch: sh did not end within"), "{problem}");
        let child: i32 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "{child} still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_a_program_says_is_kept_to_a_bound() {
        let mut command = Command::new("sh");
        let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo no >&2; exit 3";
        let ended = run(command.args(["-c", script]), Duration::from_secs(60), "noise").await.unwrap();
        assert_eq!(ended.stdout.len(), 1024 * 1024);
        assert_eq!((ended.status.code(), ended.complaint().as_str()), (Some(3), "no"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_matter_of_configuration() {
        let mut command = Command::new("/nonexistent/packer");
        let problem = run(&mut command, Duration::from_secs(1), "build").await.unwrap_err();
        assert_eq!(problem.code, 78, "{problem}");
    }
}
