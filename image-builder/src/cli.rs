//! The command line. kiln's flags keep their names.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::audit::ExecutionId;
use crate::check::{check, told};
use crate::config::shown::shown;
use crate::config::source::{DEFAULT, Given, Loaded};
use crate::init::{InitOptions, init};
use crate::job::message::is_variable_name;
use crate::job::of_arguments;
use crate::problem::Problem;
use crate::queue::BuildQueue;
use crate::signals;
use crate::worker::{Turn, Worker};

/// Builds AMIs from a queue: each message names a Packer template and the commit it is taken from
///
/// Settings are kiln's `config.yml`, with sections of our own beside kiln's; docs/images.md lists all.
#[derive(Debug, Parser)]
#[command(name = "image-builder", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Args)]
struct Place {
    /// The settings: a file or s3://bucket/key [default: ./config/config.yml]
    #[arg(long, global = true, value_name = "PLACE")]
    config: Option<String>,
    /// Region, instead of the settings' one
    #[arg(long = "awsRegion", alias = "aws-region", global = true, value_name = "REGION")]
    region: Option<String>,
    /// Profile of the AWS CLI, instead of the settings' one
    #[arg(long = "awsProfile", alias = "aws-profile", global = true, value_name = "PROFILE")]
    profile: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Take messages from the queue and build, until stopped
    Worker {
        /// At most one message; 0 when there was none, 1 when its build failed
        #[arg(long)]
        once: bool,
    },
    /// Put a build on the queue, and print the message's id
    Submit {
        /// The template's path in the repository
        template: String,
        /// The commit, best with all its digits
        sha: String,
        /// A Packer variable; may be given more than once
        #[arg(long = "var", value_name = "NAME=VALUE")]
        variables: Vec<String>,
    },
    /// Look at the queue, the repository, the bucket and Packer; writes one small object into the bucket
    Check,
    /// The settings
    #[command(subcommand)]
    Config(ConfigVerb),
}

#[derive(Debug, Clone, Subcommand)]
enum ConfigVerb {
    /// Write a settings file of five answers
    Init(InitOptions),
    /// Print the settings that hold
    Show,
}

/// Parses, runs one verb, reports its failure on stderr.
#[must_use]
pub fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse_from(std::env::args_os().collect::<Vec<OsString>>());
    // One thread: Packer hears of its end (packer.rs).
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Problem::new(1, format!("start of the async runtime: {error}"))),
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(problem) => report(&problem),
    }
}

fn report(problem: &Problem) -> ExitCode {
    for line in problem.message.lines() {
        eprintln!("image-builder: {line}");
    }
    ExitCode::from(problem.code)
}

async fn run(cli: Cli) -> Result<ExitCode, Problem> {
    let given = Given { config: cli.place.config, region: cli.place.region, profile: cli.place.profile };
    match cli.verb {
        Verb::Worker { once } => work(&given.load().await?, once).await,
        Verb::Submit { template, sha, variables } => submit(&given, &template, &sha, &variables).await,
        Verb::Check => {
            let worker = open(&given.load().await?).await?;
            let (text, failure) = told(&check(&worker).await);
            print(&text)?;
            failure.map_or(Ok(ExitCode::SUCCESS), |problem| Ok(ExitCode::from(problem.code)))
        }
        Verb::Config(ConfigVerb::Init(options)) => {
            init(&options, Path::new(given.config.as_deref().unwrap_or(DEFAULT)))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Config(ConfigVerb::Show) => {
            let loaded = given.load().await?;
            print(&shown(&loaded.config, loaded.session.region()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn work(loaded: &Loaded, once: bool) -> Result<ExitCode, Problem> {
    let worker = open(loaded).await?;
    let (ask, stop) = watch::channel(None);
    let watching = tokio::spawn(signals::watch(ask));
    if !once {
        eprintln!("image-builder: builds {} at a time from {}", worker.parallel, worker.queue.url());
        Arc::new(worker).serve(stop).await;
        watching.abort();
        return Ok(ExitCode::SUCCESS);
    }
    let turn = worker.turn(false, &stop).await;
    if matches!(turn, Ok(Turn::NoWork)) {
        worker.log.of(&ExecutionId::new(Timestamp::now())).info("No work found");
    }
    worker.log.flush().await;
    Ok(match turn? {
        Turn::NoWork | Turn::Done => ExitCode::SUCCESS,
        Turn::Failed => ExitCode::from(1),
        Turn::Left => ExitCode::from(75),
    })
}

async fn open(loaded: &Loaded) -> Result<Worker, Problem> {
    let stream = match &loaded.config.logs.stream {
        Some(stream) => stream.clone(),
        None => machine().await,
    };
    // A name that no other worker ever has, also not one of the same machine before or after.
    let owner = format!("{stream}/{}", ExecutionId::new(Timestamp::now()));
    Worker::open(loaded, &stream, &owner).await
}

/// The instance's id; the host's name where this is no instance.
async fn machine() -> String {
    let imds = aws::Imds::new();
    let id = tokio::time::timeout(std::time::Duration::from_secs(3), imds.get("meta-data/instance-id")).await;
    match id {
        Ok(Ok(Some(id))) => id,
        _ => nix::unistd::gethostname()
            .map_or_else(|_| "image-builder".to_owned(), |name| name.to_string_lossy().into_owned()),
    }
}

async fn submit(given: &Given, template: &str, sha: &str, variables: &[String]) -> Result<ExitCode, Problem> {
    let job = of_arguments(template, sha)?;
    let mut named = serde_json::Map::new();
    for variable in variables {
        let pair = variable.split_once('=').filter(|(name, _)| is_variable_name(name));
        let (name, value) =
            pair.ok_or_else(|| Problem::new(2, format!("--var {variable:?}: give it as name=value")))?;
        named.insert(name.to_owned(), json!(value));
    }
    let mut body = json!({"templateName": job.template.as_str(), "sha": job.commit.as_str()});
    if let Some(body) = body.as_object_mut()
        && !named.is_empty()
    {
        body.insert("variables".to_owned(), named.into());
    }
    let loaded = given.load().await?;
    let queue =
        BuildQueue::open(&loaded.session, &loaded.config.queue, loaded.config.builds.heartbeat).await?;
    let id = queue.submit(&body.to_string()).await?;
    print(&format!("{id}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<(), Problem> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Problem::new(1, format!("output: {error}")))
}
