//! The hidden verb `lab supervise [--while-used FILE] -- PROGRAM ARGS…`: runs a helper until it ends or the lab has
//! gone; with a file, until nobody holds a lock on it any more.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::signal::unix::{SignalKind, signal};

use super::GRACE;

/// The verb's name on the command line.
pub const VERB: &str = "supervise";

const WHILE_USED: &str = "--while-used";

/// Arguments of `lab` for a supervisor without a lab of its own: it ends its helper when nobody holds a lock on `file`.
/// The helper's command line follows.
#[must_use]
pub fn while_used(file: &Path) -> [OsString; 4] {
    [VERB.into(), WHILE_USED.into(), file.into(), "--".into()]
}

/// Runs as a supervisor when the command line says so; call it first in `main`, before any thread exists.
pub fn supervise_when_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1).peekable();
    (args.next()?.to_str() == Some(VERB)).then(|| {
        let used = args.next_if(|arg| arg == WHILE_USED).and_then(|_| args.next());
        let command: Vec<OsString> = args.skip_while(|arg| arg == "--").collect();
        supervise(&command, used)
    })
}

/// What a supervisor waits for: the end of its lab, or of all users of a file.
fn wait_for_end(used: Option<&OsString>) {
    let Some(file) = used else {
        // EOF, or a broken pipe: either way the lab has gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        return;
    };
    // Kept until this process has ended: who wants to use the file meanwhile waits for that.
    let lock = std::fs::File::open(file)
        .and_then(|file| Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into()));
    if let Err(error) = &lock {
        fail(&format!("supervise: lock {}: {error}", file.to_string_lossy()));
    }
    std::mem::forget(lock);
}

fn supervise(command: &[OsString], used: Option<OsString>) -> ExitCode {
    let Some((program, args)) = command.split_first() else {
        return fail("supervise: which program? Usage: lab supervise -- PROGRAM ARGS…");
    };
    if let Err(error) = prctl::set_child_subreaper(true) {
        return fail(&format!("supervise: become a subreaper: {error}"));
    }
    // Handlers, not a mask: a started program inherits a mask, and would then never hear SIGTERM.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("supervise: listen to signals: {error}")),
    };
    let child = match Command::new(program).args(args).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            fail(&format!("start {}: {error}", program.to_string_lossy()));
            return ExitCode::from(127);
        }
    };
    let ending = Arc::new(AtomicBool::new(false));
    {
        let ending = Arc::clone(&ending);
        std::thread::spawn(move || {
            wait_for_end(used.as_ref());
            end_all(&ending);
        });
    }
    {
        let ending = Arc::clone(&ending);
        std::thread::spawn(move || {
            signals.wait();
            end_all(&ending);
        });
    }
    let main = Pid::from_raw(child.id().cast_signed());
    reap_all(main, &ending)
}

/// SIGTERM, SIGINT and SIGHUP of this process.
struct Signals {
    runtime: tokio::runtime::Runtime,
    streams: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let streams = kinds.into_iter().map(signal).collect::<std::io::Result<_>>()?;
        drop(entered);
        Ok(Self { runtime, streams })
    }

    /// Waits for the first one.
    fn wait(mut self) {
        let waits = self.streams.iter_mut().map(|stream| Box::pin(stream.recv()));
        self.runtime.block_on(futures::future::select_all(waits));
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("lab: {message}");
    ExitCode::FAILURE
}

/// Reaps every descendant until none is left; the main one's end is the end of the others too.
fn reap_all(main: Pid, ending: &Arc<AtomicBool>) -> ExitCode {
    let mut code = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::empty())) {
            Ok(WaitStatus::Exited(pid, status)) if pid == main => {
                code = status;
                end_in_background(ending);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                code = 128 + signal as i32;
                end_in_background(ending);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
        }
    }
}

fn end_in_background(ending: &Arc<AtomicBool>) {
    let ending = Arc::clone(ending);
    std::thread::spawn(move || end_all(&ending));
}

/// SIGTERM to all descendants, and after the grace period SIGKILL until none is left: one that forks meanwhile is
/// seen in the next look.
fn end_all(ending: &AtomicBool) {
    if ending.swap(true, Ordering::SeqCst) {
        return;
    }
    let begun = Instant::now();
    for pid in descendants() {
        let _ = kill(pid, Signal::SIGTERM);
    }
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let left = descendants();
        if left.is_empty() {
            return;
        }
        if begun.elapsed() > GRACE {
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// All living processes below this one, by the parents that `/proc` tells.
fn descendants() -> Vec<Pid> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent_of(&stat)?))
        })
        .collect();
    let mut found = vec![getpid().as_raw()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            parents
                .iter()
                .filter(|(pid, of)| *of == parent && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        at += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// The parent in a line of `/proc/<pid>/stat` (proc(5)); the program's name before it may hold spaces and brackets.
/// None for a zombie: it has ended.
fn parent_of(stat: &str) -> Option<i32> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_program_name() {
        for (stat, parent) in [
            ("42 (moto_server) S 7 42 42 0", Some(7)),
            ("42 (a) b (c) R 9 1 1 0", Some(9)),
            ("42 (gone) Z 7 42 42 0", None),
            ("nonsense", None),
        ] {
            assert_eq!(parent_of(stat), parent, "{stat}");
        }
    }
}
