//! Runs a job in a cgroup of its own, and ends what it leaves behind.
//!
//! The agents' `bootstrap-script` is `agent-bootstrap job-scope -- <agent> bootstrap`, so this works the same for the
//! open-source agent and for `build-agent`, as the agents' own user. This process stays in the agent's cgroup; a
//! second one enters the job's cgroup, makes itself the kernel's first choice when memory runs out, and becomes the
//! job.
//!
//! # Layout
//! - [`cgroup`]: the job's cgroup, where this user may make one (systemd's `Delegate=`).
//! - [`processes`]: the job's processes by descent; all there is where no cgroup can be made.

pub mod cgroup;
pub mod processes;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::failure::Failure;
use cgroup::Cgroup;

/// Arguments of `job-scope`.
#[derive(Debug, clap::Args)]
pub struct JobScopeArgs {
    /// Let processes that the job leaves behind live on
    #[arg(long)]
    keep_processes: bool,
    /// Enter this cgroup (`-` for none) and become the command: used by job-scope itself
    #[arg(long, hide = true, value_name = "FOLDER")]
    enter: Option<PathBuf>,
    /// The program that runs the job, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// `oom_score_adj` of a job's processes: far more likely to be ended than the agent (-500 by its unit) or a service.
const OOM_SCORE: &str = "500";

/// Stands for no cgroup.
const NONE: &str = "-";

/// What is passed on to the job.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs the command to its end and then ends what it left.
///
/// # Errors
/// The command's own exit status (128 and the signal's number for a signal) without a message; 69 where it cannot be
/// started.
pub fn run(args: &JobScopeArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.enter {
        return Err(become_job(folder, &args.command));
    }
    // Blocked from now on and taken one by one; the job itself gets a mask without them.
    let mut taken: SigSet = PASSED_ON.into_iter().collect();
    taken.add(Signal::SIGCHLD);
    taken.thread_block().map_err(|e| failed("blocking signals", e))?;
    if !args.keep_processes {
        // Orphans of the job become ours, so that they can be found.
        prctl::set_child_subreaper(true).map_err(|e| failed("becoming the orphans' parent", e))?;
    }
    // A job whose agent has gone can tell nobody how it ends.
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(|e| failed("watching the agent", e))?;
    let cgroup = Cgroup::make();
    let program = std::env::current_exe().map_err(|e| failed("finding this program", e))?;
    let mut command = Command::new(program);
    command.args(["job-scope", "--enter"]).arg(cgroup.as_ref().map_or(Path::new(NONE), Cgroup::folder));
    let child = command.arg("--").args(&args.command).spawn().map_err(|e| failed("starting the job", e))?;
    let job = Pid::from_raw(child.id().cast_signed());
    let ended = follow(job, &taken)?;
    if let Some(cgroup) = cgroup {
        cgroup.end(!args.keep_processes);
    }
    if !args.keep_processes {
        processes::end_descendants();
    }
    match ended {
        0 => Ok(()),
        code => Err(Failure { code, message: String::new() }),
    }
}

/// Passes signals on until the job's own process has ended; its exit code. Orphans that end meanwhile are reaped.
fn follow(job: Pid, taken: &SigSet) -> Result<u8, Failure> {
    loop {
        match taken.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(job) {
                    return Ok(code);
                }
            }
            // An error means that it has just ended.
            Ok(signal) => drop(kill(job, signal)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(failed("waiting for the job", error)),
        }
    }
}

fn reap(job: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == job => code = u8::try_from(status).ok(),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == job => {
                code = u8::try_from(128 + signal as i32).ok()
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return code,
        }
    }
}

/// Returns only where that fails.
fn become_job(folder: &Path, command: &[OsString]) -> Failure {
    if folder != Path::new(NONE) {
        // A job without its cgroup still ends by descent.
        if let Err(error) = cgroup::enter(folder) {
            eprintln!("job-scope: {}: {error}; the job runs in its agent's cgroup", folder.display());
        }
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        eprintln!(
            "job-scope: oom_score_adj: {error}; when memory runs out the agent may be ended before the job"
        );
    }
    if let Err(error) = SigSet::empty().thread_set_mask() {
        return failed("unblocking signals", error);
    }
    let Some((program, arguments)) = command.split_first() else {
        return failed("starting the job", "no command");
    };
    let error = Command::new(program).args(arguments).exec();
    Failure::unavailable(format!("job-scope: start of {}: {error}", program.to_string_lossy()))
}

fn failed(step: &str, error: impl std::fmt::Display) -> Failure {
    Failure::unavailable(format!("job-scope: {step}: {error}"))
}
