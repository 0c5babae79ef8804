//! The file that Packer writes into. It is held locked by whoever has it open for writing, so it tells whether a Packer of
//! an earlier worker still lives, and afterwards what it came to.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Built, LOOK};
use crate::problem::Problem;

/// A longer line is told in parts, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// How long an orphan may still clean up: it has done so since its message was hidden for the last time.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// The kernel takes some time to end a process.
const KILLED_PATIENCE: Duration = Duration::from_secs(20);

/// The output's file, once nobody else holds it: a Packer does for as long as it or a child of it lives.
pub(super) async fn alone(path: &Path, patience: Duration) -> Result<Flock<File>, Problem> {
    let failed =
        |error: std::io::Error| Problem::new(1, format!("output of Packer in {}: {error}", path.display()));
    let deadline = Instant::now() + patience;
    let mut file = File::options().create(true).append(true).open(path).map_err(failed)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
            Err((_, Errno::EWOULDBLOCK)) => {
                let path = path.display();
                return Err(Problem::new(
                    75,
                    format!("a Packer of an earlier worker still runs and writes to {path}"),
                ));
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Kills a Packer whose worker died and that does not end, with all that it started: one that waits for an answer which
/// never comes hears no signal. Whether the recorded process is that Packer is told by the file that it writes to.
fn end_orphan(output: &Path) {
    let id = std::fs::read_to_string(output.with_extension("pid")).ok();
    let Some(id) = id.and_then(|id| id.trim().parse::<i32>().ok()) else { return };
    let writes_to = std::fs::read_link(format!("/proc/{id}/fd/1")).ok();
    if writes_to.is_some() && writes_to == output.canonicalize().ok() {
        // It may have ended between the two lines, which is as good.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// What a build whose worker died came to, by its output. Its Packer was asked to clean up when the worker died; it is
/// waited for, and killed if it does not end. Nothing where there is none.
///
/// # Errors
/// That Packer does not end, or the file cannot be read.
pub async fn past(output: &Path) -> Result<Option<Built>, Problem> {
    if !output.exists() {
        return Ok(None);
    }
    let _alone = match alone(output, ORPHAN_PATIENCE).await {
        Err(problem) if problem.code == 75 => {
            end_orphan(output);
            alone(output, KILLED_PATIENCE).await?
        }
        alone => alone?,
    };
    let failed =
        |error: std::io::Error| Problem::new(1, format!("output of Packer in {}: {error}", output.display()));
    let mut built = Built::default();
    let (nobody, _) = mpsc::channel(1);
    for line in Reader::open(output).map_err(failed)?.rest().map_err(failed)? {
        built.hear(&line, &nobody).await;
    }
    Ok(Some(built))
}

/// Reads a file that grows, line by line.
pub(super) struct Reader {
    file: File,
    begun: Vec<u8>,
}

impl Reader {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: File::open(path)?, begun: Vec::new() })
    }

    /// The lines that were ended since the last look.
    pub fn lines(&mut self) -> std::io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut chunk = vec![0; LONGEST_LINE];
        loop {
            let count = self.file.read(&mut chunk)?;
            if count == 0 {
                return Ok(lines);
            }
            for byte in &chunk[..count] {
                if *byte != b'\n' {
                    self.begun.push(*byte);
                }
                if *byte == b'\n' || self.begun.len() >= LONGEST_LINE {
                    lines.push(self.take());
                }
            }
        }
    }

    /// As [`Reader::lines`], and what was begun but not ended.
    pub fn rest(&mut self) -> std::io::Result<Vec<String>> {
        let mut lines = self.lines()?;
        if !self.begun.is_empty() {
            lines.push(self.take());
        }
        Ok(lines)
    }

    fn take(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.begun).trim_end_matches('\r').to_owned();
        self.begun.clear();
        line
    }
}
