//! One accepted job: its folder, its process, its log, its state at the server, its end.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent_api::client::{ApiError, Client};
use agent_api::wire::{Job, JobFinish, JobStart};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::environment::{self, BIN, ENV_FILE, JobFacts};
use super::upload::{self, Upload};
use super::{Order, Shared};
use crate::bootstrap::result::JobResult;
use crate::processes;
use crate::vars::Vars;

/// Time for hooks after a cancelled command has ended.
const CLEANUP: Duration = Duration::from_secs(5);

/// Log chunk size for servers that forget to say one.
const CHUNK_BYTES: u64 = 100 * 1024;

/// What is needed to run one job.
pub(super) struct JobRun {
    pub client: Client,
    pub token: String,
    pub agent: String,
    pub state_interval: Duration,
    pub shared: Arc<Shared>,
    pub orders: watch::Receiver<Order>,
    pub job: Job,
}

/// Runs the job and tells the server. An error means that it was not run, and that the server is not told so: it
/// gave the job to someone else, or it does not answer.
pub(super) async fn run(mut run: JobRun) -> Result<(), ApiError> {
    let started_at = jiff::Timestamp::now().to_string();
    run.client.start(&run.job.id, &JobStart { started_at }).await?;
    tracing::info!(job = run.job.id, "running");
    let (result, lost) = match Running::start(&run) {
        Ok(running) => running.until_end(&mut run).await,
        Err(error) => {
            tracing::error!(job = run.job.id, "cannot start the job's process: {error}");
            (JobResult { signal_reason: Some("process_run_error".into()), ..JobResult::not_run() }, 0)
        }
    };
    tracing::info!(job = run.job.id, exit_status = result.exit_status, "finished");
    let finish = JobFinish {
        exit_status: result.exit_status.to_string(),
        finished_at: jiff::Timestamp::now().to_string(),
        signal: result.signal,
        signal_reason: result.signal_reason,
        chunks_failed_count: lost,
        ignore_agent_in_dispatches: run.shared.settings.disconnect_after_job.then_some(true),
    };
    if let Err(error) = run.client.finish(&run.job.id, &finish).await {
        tracing::error!(job = run.job.id, "the result is lost: {error}");
    }
    Ok(())
}

/// A job's process and log.
struct Running {
    folder: tempfile::TempDir,
    child: Child,
    log: JoinHandle<u64>,
}

impl Running {
    fn start(run: &JobRun) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = tempfile::Builder::new().prefix("job-").tempdir()?;
        std::fs::DirBuilder::new().mode(0o700).create(folder.path().join(BIN))?;
        symlink(&program, folder.path().join(BIN).join("buildkite-agent"))?;
        std::fs::write(folder.path().join(ENV_FILE), environment::env_file(&run.job.env))?;
        let (reader, writer) = io::pipe()?;
        let mut command = match run.shared.settings.bootstrap_script.split_first() {
            Some((script, arguments)) => {
                let mut command = std::process::Command::new(script);
                command.args(arguments);
                command
            }
            None => {
                let mut command = std::process::Command::new(&program);
                command.arg("bootstrap");
                command
            }
        };
        command.arg("--result").arg(result_file(folder.path()));
        command.env_clear().envs(variables(run, folder.path()).iter());
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = tokio::process::Command::from(command).spawn()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let log = tokio::spawn(upload::stream(upload_of(run), reader));
        Ok(Self { folder, child, log })
    }

    /// Waits for the end of process and log, and cancels when server or process say so.
    async fn until_end(mut self, run: &mut JobRun) -> (JobResult, u64) {
        let (status, cancelled) = self.wait(run).await;
        let lost = self.log.await.unwrap_or(1);
        let mut result = match status {
            Ok(status) => read_result(self.folder.path(), status),
            Err(error) => {
                tracing::error!("lost the job's process: {error}");
                JobResult::not_run()
            }
        };
        if !result.complete {
            let bin = self.folder.path().join(BIN);
            processes::end_marked(&format!("BUILDKITE_BIN_PATH={}", bin.display()));
        }
        if let Some(reason) = cancelled {
            result = result.cancelled(reason, &run.shared.settings.cancel_signal);
        }
        (result, lost)
    }

    async fn wait(&mut self, run: &mut JobRun) -> (io::Result<ExitStatus>, Option<&'static str>) {
        let pid = Pid::from_raw(self.child.id().and_then(|pid| pid.try_into().ok()).unwrap_or_default());
        let reason = tokio::select! {
            status = self.child.wait() => return (status, None),
            () = cancelled_by_server(&run.client, &run.job.id, run.state_interval) => "cancel",
            _ = run.orders.wait_for(|order| *order == Order::Cancel) => "agent_stop",
        };
        tracing::info!(job = run.job.id, reason, "cancelling");
        // An error means that the process has just ended.
        let _ = kill(pid, Signal::SIGTERM);
        let limit = run.shared.settings.cancel_grace + CLEANUP;
        if let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await {
            return (status, Some(reason));
        }
        tracing::warn!(job = run.job.id, "still running after {limit:?}: ending all its processes");
        processes::end_tree(pid);
        (self.child.wait().await, Some(reason))
    }
}

/// Returns when the server wants the job to end.
async fn cancelled_by_server(client: &Client, job: &str, interval: Duration) {
    loop {
        match client.job_state(job).await {
            Ok(answer) => {
                if matches!(answer.state.as_str(), "canceling" | "canceled" | "timing_out" | "timed_out") {
                    return;
                }
            }
            Err(error @ ApiError::Unauthorized { .. }) => {
                tracing::error!(job, "{error}");
                return;
            }
            Err(error) => tracing::warn!(job, "{error}; asking again later"),
        }
        tokio::time::sleep(interval + interval.mul_f64(rand::random())).await;
    }
}

fn variables(run: &JobRun, folder: &Path) -> Vars {
    let facts = JobFacts {
        job_id: &run.job.id,
        agent: &run.agent,
        endpoint: run.client.endpoint(),
        token: &run.token,
        request_headers: &run.client.request_headers(),
        folder,
        agent_pid: std::process::id(),
    };
    environment::compose(&Vars::of_process(), &run.job.env, &run.shared.settings, &facts)
}

fn upload_of(run: &JobRun) -> Upload {
    let size = if run.job.chunks_max_size_bytes == 0 { CHUNK_BYTES } else { run.job.chunks_max_size_bytes };
    let settings = &run.shared.settings;
    let safe_id = run.job.id.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    Upload {
        client: run.client.clone(),
        job: run.job.id.clone(),
        chunk_size: usize::try_from(size).unwrap_or(usize::MAX),
        interval: Duration::from_secs(u64::from(run.job.chunks_interval_seconds.unwrap_or(1).max(1))),
        inline_times: settings.ansi_timestamps,
        copy: settings.job_log_path.as_ref().map(|folder| folder.join(format!("job-{safe_id}.log"))),
    }
}

fn result_file(folder: &Path) -> std::path::PathBuf {
    folder.join("result.json")
}

/// What the process left behind; one that died before it could write has not run the job to its end.
fn read_result(folder: &Path, status: ExitStatus) -> JobResult {
    let written = std::fs::read(result_file(folder)).ok();
    let result = written.and_then(|bytes| serde_json::from_slice::<JobResult>(&bytes).ok());
    result.unwrap_or_else(|| {
        tracing::error!("the job's process ended without a result: {status}");
        JobResult { signal_reason: Some("process_run_error".into()), ..JobResult::not_run() }
    })
}
