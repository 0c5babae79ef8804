//! The process of one job: reads its environment once, runs the phases, leaves a result file.

mod checkout;
mod command;
mod commit;
mod config;
mod console;
mod hooks;
pub(crate) mod job_api;
mod phases;
mod process;
pub(crate) mod result;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::JobConfig;
use console::Console;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use process::Ended;
use result::JobResult;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::processes;
use crate::vars::Vars;

/// Arguments of `bootstrap`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the result is written; files of the job lie beside it.
    #[arg(long)]
    result: PathBuf,
}

/// A job as it runs: what hooks may change, and what they may not.
struct Executor {
    console: Console,
    /// Variables for the next process.
    vars: Vars,
    /// Folder of the next process.
    cwd: PathBuf,
    config: JobConfig,
    cancel: watch::Receiver<bool>,
    /// Files of this job.
    folder: PathBuf,
}

/// `build-agent bootstrap`.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    // Orphans of hooks and commands become ours, so that they can be found.
    if let Err(error) = prctl::set_child_subreaper(true) {
        eprintln!("build-agent: cannot collect orphans: {error}; a cancelled job may leave processes");
    }
    // Without its agent a job can tell nobody how it ends, and the server gives it to another agent.
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGTERM) {
        eprintln!("build-agent: cannot watch the agent: {error}; the job outlives it");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("build-agent: cannot start threads: {error}; check the limits of this user");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(&args.result));
    runtime.shutdown_background();
    match serde_json::to_vec(&result).map(|json| std::fs::write(&args.result, json)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => {
            eprintln!("build-agent: cannot write {}: is the disk full?", args.result.display());
            ExitCode::FAILURE
        }
    }
}

async fn run(result_file: &Path) -> JobResult {
    let mut vars = Vars::of_process();
    let config = match JobConfig::read(&vars) {
        Ok(config) => config,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("\x1b[31m🚨 Error: {fault}\x1b[0m"));
            return JobResult::of(Ended::Exited(1));
        }
    };
    let console = Console::default();
    console.hide_named(&vars, &config.redacted_vars).await;
    let folder = result_file.parent().unwrap_or(Path::new("/tmp")).to_owned();
    if let Err(error) = job_api::serve(&folder, &console, &mut vars) {
        console.comment(&format!("No local job API: {error}; `redactor add` will fail")).await;
    }
    vars.set("GIT_TERMINAL_PROMPT", "0");
    if config.pty {
        vars.set("TERM", "xterm-256color");
    }
    let cwd = std::env::current_dir().unwrap_or_else(|_| folder.clone());
    let (cancel_now, cancel) = watch::channel(false);
    let signals = tokio::spawn(cancel_on_signal(cancel_now));
    let mut job = Executor { console: console.clone(), vars, cwd, config, cancel, folder };
    let ended = job.run().await;
    console.finish().await;
    if *job.cancel.borrow() {
        processes::end_descendants(Pid::this(), &BTreeSet::new());
    }
    signals.abort();
    JobResult::of(ended)
}

/// TERM and INT cancel the job. The sender must live as long as the job runs.
async fn cancel_on_signal(cancel: watch::Sender<bool>) {
    let [Ok(mut term), Ok(mut int), Ok(mut quit)] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()].map(signal)
    else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = quit.recv() => {}
        }
        cancel.send_replace(true);
    }
}

/// `build-agent env-dump FILE`: folder and environment of the caller, each entry ended by NUL.
#[must_use]
pub fn dump_env(file: &Path) -> ExitCode {
    let cwd = std::env::current_dir().unwrap_or_default();
    let written = std::fs::File::create(file).and_then(|mut file| {
        file.write_all(cwd.as_os_str().as_bytes())?;
        file.write_all(&[0])?;
        file.write_all(&Vars::of_process().to_dump())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build-agent: cannot write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
