//! The command line: `once`, `run`, `lambda`, `check`, `explain`, `simulate`, `trace`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use aws::Session;
use aws::session::Patience;
use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::check::{CheckOptions, check, environment};
use crate::config::Config;
use crate::daemon::run_until_stopped;
use crate::explain::command::{ExplainOptions, explain};
use crate::gap::valid_for;
use crate::group::AutoScalingGroup;
use crate::hint::desk::Desk;
use crate::hint::heard::{Heard, WithHints};
use crate::hint::secret::HintSecret;
use crate::job_counts::BuildkiteJobCounts;
use crate::keeps::KeepsParameter;
use crate::metrics::CloudWatchMetrics;
use crate::pace;
use crate::ports::Problem;
use crate::schedule::Effective;
use crate::settings::source::Source;
use crate::simulate::command::{self, SimulateOptions, TraceOptions};
use crate::tagged::TaggedGroups;
use crate::tick::{Kept, Order, Others, Outcome, tick};

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
    /// Print a trace of jobs for `simulate`
    Trace(TraceOptions),
}

/// Everything a tick needs, kept from one tick to the next: connections, token, time of the last publication, where
/// AWS does not deliver.
#[derive(Debug)]
pub struct Scaler {
    config: Config,
    jobs: WithHints<BuildkiteJobCounts>,
    desk: Option<Arc<Desk>>,
    groups: Vec<Kept<AutoScalingGroup>>,
    others: Others<TaggedGroups>,
    metrics: CloudWatchMetrics,
    keeps: KeepsParameter,
    published: Option<Instant>,
}

impl Scaler {
    /// Connects with the environment's configuration.
    ///
    /// # Errors
    /// Every fault of the configuration; no region; no token.
    pub async fn connect(config: Config) -> Result<Self, Problem> {
        let session = session().await?;
        let heard = Arc::new(Heard::default());
        let jobs = WithHints::new(BuildkiteJobCounts::new(&config, &session), Arc::clone(&heard));
        let secret = config.hints.as_ref().map(|hints| HintSecret::new(hints.secret.clone(), &session));
        let desk = secret.map(|secret| Arc::new(Desk::new(secret, &config.queue, heard)));
        let groups = config.groups.iter();
        let groups = groups.map(|name| Kept::new(name, AutoScalingGroup::new(&session, name))).collect();
        let others = Others::new(TaggedGroups::new(&session));
        let metrics = CloudWatchMetrics::new(&session, valid_for(config.publish_every));
        let keeps = KeepsParameter::new(&session, config.keeps_parameter.clone());
        Ok(Self { config, jobs, desk, groups, others, metrics, keeps, published: None })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where hints are taken, if they are believed at all.
    #[must_use]
    pub fn desk(&self) -> Option<Arc<Desk>> {
        self.desk.clone()
    }

    /// One tick; its decisions go to stdout, a JSON line for each group, and its record, if it was not quiet.
    pub async fn tick(&mut self, dry_run: bool) -> Outcome {
        let due = pace::publication_due(self.published.map(|at| at.elapsed()), self.config.publish_every);
        self.tick_with(dry_run, due).await
    }

    /// One tick that leaves the metrics to the ticks of the schedule, which may run elsewhere.
    pub async fn tick_unpublished(&mut self) -> Outcome {
        self.tick_with(false, false).await
    }

    async fn tick_with(&mut self, dry_run: bool, due: bool) -> Outcome {
        let now = Timestamp::now();
        let Effective { policy, most, period } = self.config.effective_at(now);
        let order = Order {
            queue: self.config.queue.clone(),
            policy,
            most,
            period,
            patience: self.config.patience,
            probe_after: self.config.probe_after,
            mode: self.config.mode,
            share: self.config.share,
            dry_run,
            publish: self.config.publish && due,
        };
        let mut outcome =
            tick(&order, &self.jobs, &mut self.groups, &mut self.others, &self.metrics, now).await;
        if outcome.published {
            self.published = Some(Instant::now());
        }
        log(&outcome);
        if outcome.keeps_idle
            && !dry_run
            && let Err(problem) = self.keeps.say(now).await
        {
            // The decisions are logged already, and a daemon goes on after a failed tick.
            eprintln!("scaler: idle instances that are kept may retire by themselves: {problem}");
            outcome.problems.push(problem);
        }
        outcome
    }
}

fn log(outcome: &Outcome) {
    // First: whoever follows the decisions takes the last line for the newest.
    outcome.record.iter().for_each(print);
    outcome.decisions.iter().for_each(print);
}

#[expect(clippy::print_stdout, reason = "the decision log is the program's machine-readable output")]
fn print(line: &impl serde::Serialize) {
    match serde_json::to_string(line) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("scaler: decision log: {error}"),
    }
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
            let outcome = Scaler::connect(config(None).await?).await?.tick(dry_run).await;
            first(outcome.problems)
        }
        Verb::Run { dry_run, listen } => {
            run_until_stopped(Scaler::connect(config(listen).await?).await?, dry_run).await
        }
        Verb::Lambda => crate::lambda::serve(config(None).await?).await,
        Verb::Check(options) => check(&options, Timestamp::now()),
        Verb::Explain(options) => explain(&options).await,
        Verb::Simulate(options) => command::simulate(&options),
        Verb::Trace(options) => command::trace(&options),
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

async fn session() -> Result<Session, Problem> {
    Session::load(None, Patience::default()).await.map_err(|e| Problem::new(78, e.to_string()))
}

/// The first problem stands for the tick; the decision log has them all.
fn first(problems: Vec<Problem>) -> Result<(), Problem> {
    problems.into_iter().next().map_or(Ok(()), Err)
}
