//! Runs one program of the job in a process group of its own, with a terminal, to its end or its cancel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::Instant;

use super::Executor;
use crate::processes;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Ended {
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The number hooks and people see.
    pub fn status(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::Signaled(_) => -1,
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::Signaled(status.signal().unwrap_or_default()), Self::Exited)
    }
}

/// After a process ended and something it left still holds its terminal: silence of so long means that all it wrote
/// has been read.
const QUIET: Duration = Duration::from_millis(250);

/// Width and height that programs see.
const TERMINAL: (u16, u16) = (100, 160);

type Output = Box<dyn AsyncRead + Unpin + Send>;

impl Executor {
    /// Runs `program`. A program that cannot be started is an error in the log and status 1, or 127 if there is none.
    pub(super) async fn spawn<S: AsRef<OsStr>>(&mut self, program: &str, args: &[S]) -> Ended {
        let before = processes::descendants(Pid::this());
        match self.start(program, args) {
            Ok((child, output)) => self.follow(child, output, &before).await,
            Err(error) => {
                let folder = self.cwd.display();
                self.console.error(&format!("Cannot run {program} in {folder}: {error}")).await;
                Ended::Exited(if error.kind() == io::ErrorKind::NotFound { 127 } else { 1 })
            }
        }
    }

    fn start<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> io::Result<(Child, Output)> {
        let mut command = std::process::Command::new(program);
        command.args(args).current_dir(&self.cwd).env_clear().envs(self.vars.iter()).stdin(Stdio::null());
        if self.config.pty {
            let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
            pty.resize(pty_process::Size::new(TERMINAL.0, TERMINAL.1)).map_err(io::Error::other)?;
            let command =
                pty_process::Command::from(tokio::process::Command::from(command)).stdin(Stdio::null());
            let child = command.spawn(pts).map_err(io_error)?;
            return Ok((child, Box::new(pty)));
        }
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = tokio::process::Command::from(command).spawn()?;
        Ok((child, Box::new(pipe::Receiver::from_owned_fd(reader.into())?)))
    }

    /// Reads the output until the process has ended and nothing more comes. A cancel reaches the first process that
    /// runs then; later ones are the clean-up, which the agent limits.
    async fn follow(
        &mut self,
        mut child: Child,
        mut output: Output,
        before: &BTreeSet<processes::Process>,
    ) -> Ended {
        let group = Pid::from_raw(child.id().and_then(|pid| pid.try_into().ok()).unwrap_or_default());
        let listens = !*self.cancel.borrow();
        let mut cancel = self.cancel.clone();
        let (mut ended, mut is_open, mut deadline) = (None, true, None);
        let mut buffer = vec![0; 32 * 1024];
        while ended.is_none() || is_open {
            tokio::select! {
                read = output.read(&mut buffer), if is_open => match read {
                    Ok(0) | Err(_) => is_open = false,
                    Ok(count) => self.console.write(&buffer[..count]).await,
                },
                status = child.wait(), if ended.is_none() => {
                    ended = Some(status.map_or(Ended::Exited(1), Ended::from));
                }
                _ = cancel.wait_for(|cancel| *cancel), if listens && deadline.is_none() && ended.is_none() => {
                    signal_group(group, self.config.cancel_signal);
                    deadline = Some(Instant::now() + self.config.cancel_grace);
                }
                () = sleep_until(deadline), if deadline.is_some() && ended.is_none() => {
                    self.console.comment("The command did not end in time and is killed").await;
                    signal_group(group, Signal::SIGKILL);
                    deadline = Some(Instant::now() + self.config.cancel_grace);
                }
                () = tokio::time::sleep(QUIET), if ended.is_some() => break,
            }
        }
        if deadline.is_some() {
            processes::end_descendants(Pid::this(), before);
        }
        ended.unwrap_or(Ended::Exited(1))
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn signal_group(group: Pid, signal: Signal) {
    // Id 0 would be our own group. An error means that the group is gone.
    if group.as_raw() > 1 {
        let _ = killpg(group, signal);
    }
}

fn io_error(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
