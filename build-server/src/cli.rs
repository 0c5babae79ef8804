//! The commands.

mod builds;
mod client;
mod queues;

use std::{
    io::{ErrorKind, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use client::Fault;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{Config, Intervals},
    serve,
};

/// A CI server for agents of the open-source agent API.
#[derive(Parser)]
#[command(name = "build-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT
    Serve(Box<ServeArgs>),
    /// Make, look at and cancel builds of a running server
    Builds(builds::BuildsArgs),
    /// Look at, pause and resume queues of a running server
    Queues(queues::QueuesArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, env = "BUILD_SERVER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder of the database, the API token and the file `address`
    #[arg(long, env = "BUILD_SERVER_DATA")]
    data: PathBuf,
    /// Tokens that register agents and read metrics, one a line
    #[arg(long, env = "BUILD_SERVER_REGISTRATION_TOKEN_FILE")]
    registration_token_file: PathBuf,
    /// Tokens of the build API, one a line; made when absent [default: DATA/api-token]
    #[arg(long, env = "BUILD_SERVER_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
    /// Organization slug in jobs and metrics
    #[arg(long, env = "BUILD_SERVER_ORGANIZATION", default_value = "default")]
    organization: String,
    /// How people reach the server [default: the listening address]
    #[arg(long, env = "BUILD_SERVER_BASE_URL")]
    base_url: Option<String>,
    /// Seconds that readers of metrics are asked to wait
    #[arg(long, env = "BUILD_SERVER_METRICS_POLL_SECONDS", default_value_t = 10)]
    metrics_poll_seconds: u32,
    /// Seconds between an agent's pings
    #[arg(long, env = "BUILD_SERVER_PING_INTERVAL", default_value_t = 1)]
    ping_interval: u32,
    /// Seconds between an agent's looks at its job's state
    #[arg(long, env = "BUILD_SERVER_JOB_STATUS_INTERVAL", default_value_t = 2)]
    job_status_interval: u32,
    /// Seconds between an agent's heartbeats; after four without any request it is lost
    #[arg(long, env = "BUILD_SERVER_HEARTBEAT_INTERVAL", default_value_t = 10)]
    heartbeat_interval: u32,
    /// Longest log of a job in bytes
    #[arg(long, env = "BUILD_SERVER_LOG_BYTES_LIMIT", default_value_t = 256 * 1024 * 1024)]
    log_bytes_limit: u64,
}

impl From<ServeArgs> for Config {
    fn from(args: ServeArgs) -> Self {
        Self {
            listen: args.listen,
            api_token_file: args.api_token_file.unwrap_or_else(|| args.data.join("api-token")),
            data: args.data,
            registration_token_file: args.registration_token_file,
            organization: args.organization,
            base_url: args.base_url,
            metrics_poll: args.metrics_poll_seconds,
            intervals: Intervals {
                ping: args.ping_interval,
                job_status: args.job_status_interval,
                heartbeat: args.heartbeat_interval,
            },
            log_bytes_limit: args.log_bytes_limit,
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("BUILD_SERVER_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    // A second install is only refused, and then there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return report(1, &format!("start threads: {fault}")),
    };
    match cli.command {
        Command::Serve(args) => match runtime.block_on(serve_until_told(Config::from(*args))) {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, fault)) => report(code, &format!("{fault:#}")),
        },
        Command::Builds(args) => answered(runtime.block_on(builds::run(args))),
        Command::Queues(args) => answered(runtime.block_on(queues::run(args))),
    }
}

fn answered(answer: Result<(), Fault>) -> ExitCode {
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        // The reader (`| head`) has seen enough.
        Err(Fault::Output(fault)) if fault.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fault) => report(fault.exit_code(), &fault.to_string()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn report(code: u8, fault: &str) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "build-server: {fault}");
    ExitCode::from(code)
}

async fn serve_until_told(config: Config) -> Result<(), (u8, anyhow::Error)> {
    let failed = |fault| (1, fault);
    let faults = config.faults();
    if !faults.is_empty() {
        return Err((78, anyhow::anyhow!("{}", faults.join("; "))));
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM").map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT").map_err(failed)?;
    let running = serve::start(config).await.map_err(failed)?;
    let mut stdout = std::io::stdout();
    // The address stands in a file too, so a closed stdout is no reason to stop.
    let _ = writeln!(stdout, "listening on {}", running.address).and_then(|()| stdout.flush());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await.map_err(failed)
}
