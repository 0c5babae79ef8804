//! The command line: `once`, `run`, `lambda`, `check`, `explain`, `simulate`, `trace`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::check::{CheckOptions, check, environment};
use crate::config::Config;
use crate::daemon::run_until_stopped;
use crate::explain::command::{ExplainOptions, explain};
use crate::ports::Problem;
use crate::scaler::{Scalers, session};
use crate::settings::source::Source;
use crate::simulate::command::{SimulateOptions, simulate};
use crate::simulate::trace::command::{TraceOptions, trace};

/// Reads a CI queue's job counts, publishes them to CloudWatch and resizes the Auto Scaling group
///
/// Settings come from the environment: ASG_NAME, BUILDKITE_QUEUE, BUILDKITE_AGENT_ENDPOINT and one of
/// BUILDKITE_AGENT_TOKEN, BUILDKITE_AGENT_TOKEN_SECRET, BUILDKITE_AGENT_TOKEN_SSM_KEY, and from the document that
/// SCALER_SETTINGS holds or names; docs/scaler.md lists all.
/// Every tick prints one JSON line that says what was seen, what was decided and why.
#[derive(Debug, Parser)]
#[command(name = "scaler", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// One tick, then exit; non-zero if anything failed
    Once {
        /// Decide and print, but change and publish nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Tick until stopped, LAMBDA_INTERVAL apart
    Run {
        /// Decide and print, but change and publish nothing
        #[arg(long)]
        dry_run: bool,
        /// Listen here for the CI's webhooks, which make the next tick come at once; they need HINT_SECRET
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Serve the Lambda runtime API: one invocation ticks for LAMBDA_TIMEOUT
    Lambda,
    /// Print the settings that hold, or all their faults, without any call
    Check(CheckOptions),
    /// Tell in plain words what was decided and why, from the records that ticks leave
    Explain(ExplainOptions),
    /// Try policies on a trace of jobs, on a virtual clock; nothing of AWS or the CI is touched
    Simulate(SimulateOptions),
    /// Print a trace of jobs for `simulate`, made or from a CI's history
    Trace(TraceOptions),
}

/// Parses, runs one verb, reports its failure in one line on stderr.
#[must_use]
pub fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let verb = Cli::parse_from(arguments()).verb;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Problem::new(1, format!("start of the async runtime: {error}"))),
    };
    match runtime.block_on(run(verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => report(&problem),
    }
}

fn report(problem: &Problem) -> ExitCode {
    for line in problem.message.lines() {
        eprintln!("scaler: {line}");
    }
    ExitCode::from(problem.code)
}

/// Lambda starts a custom runtime as `bootstrap`, without arguments.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(OsString::as_os_str).map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "bootstrap") {
        arguments.push("lambda".into());
    }
    arguments
}

async fn run(verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::Once { dry_run } => {
            let mut scalers = Scalers::connect(&config(None).await?).await?;
            let problems = scalers.tick(dry_run).await;
            scalers.rest().await;
            first(problems)
        }
        Verb::Run { dry_run, listen } => {
            let config = config(listen).await?;
            run_until_stopped(&config, Scalers::connect(&config).await?, dry_run).await
        }
        Verb::Lambda => crate::lambda::serve(config(None).await?).await,
        Verb::Check(options) => check(&options, Timestamp::now()),
        Verb::Explain(options) => explain(&options).await,
        Verb::Simulate(options) => simulate(&options),
        Verb::Trace(options) => trace(&options).await,
    }
}

/// The environment's configuration, and the document's where it lies. `listen` stands for `HINT_ADDRESS`.
async fn config(listen: Option<String>) -> Result<Config, Problem> {
    let lookup = |name: &str| match &listen {
        Some(address) if name == "HINT_ADDRESS" => Some(address.clone()),
        _ => environment(name),
    };
    let source = Source::of_environment(&lookup)?;
    let document = match source {
        None => None,
        Some(Source::Inline(text)) => Some(text),
        Some(place) => Some(place.fetch(&session().await?).await?),
    };
    Config::read(&lookup, document.as_deref()).map_err(|faults| Problem::new(78, faults.to_string()))
}

/// The first problem stands for the tick; the decision log has them all.
fn first(problems: Vec<Problem>) -> Result<(), Problem> {
    problems.into_iter().next().map_or(Ok(()), Err)
}
