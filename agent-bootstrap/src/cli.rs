//! The command line: verbs, their help, and the way from a result to an exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::layout::Layout;
use crate::watch::operator;
use crate::watch::protocol::Request;

/// Turns an instance into CI agents and gives every job its secrets
#[derive(Debug, Parser)]
#[command(name = "agent-bootstrap", version, max_term_width = 100)]
pub struct Cli {
    /// Folder that stands for `/` on this instance
    #[arg(long, env = "TIDEMARK_ROOT", default_value = "/", global = true, hide_env_values = true)]
    pub root: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a job hook: prints exports and unsets for the calling shell to evaluate
    Hook {
        /// The hook's name
        phase: Phase,
    },
    /// Answer git's credential helper protocol from the job's git-credentials files
    GitCredential {
        /// The job whose files answer, else BUILDKITE_JOB_ID
        #[arg(long)]
        job: Option<String>,
        /// get, store or erase
        operation: String,
    },
    /// Answer Docker's credential helper protocol: ECR tokens and the job's registry logins
    DockerCredential {
        /// get, store, erase or list
        operation: String,
    },
    /// Turn this instance into agents: settings, token, configuration, start
    Boot(crate::boot::BootArgs),
    /// Fetch again what may change while agents run
    Refresh {
        /// What to fetch
        #[command(subcommand)]
        what: crate::boot::refresh::Refresh,
    },
    /// Watch this instance: protection follows busy agents, idle and lifecycle events drain and retire it
    Watch(crate::watch::WatchArgs),
    /// Deliver this instance's logs to CloudWatch Logs
    Logs(crate::logs::LogsArgs),
    /// Take no more jobs, and stay; what runs is finished
    Cordon,
    /// Take jobs again after `cordon`
    Uncordon,
    /// Finish what runs, and leave for a successor
    Drain {
        /// Cancel what runs instead
        #[arg(long)]
        cancel_jobs: bool,
    },
    /// Tell what the instance does, as one JSON line
    Status,
    /// Run a job in a cgroup of its own and end what it leaves behind (the agents' bootstrap-script)
    JobScope(crate::job_scope::JobScopeArgs),
    /// Give what containers left in a pipeline's build folder back to the agents' user (as root)
    FixPermissions(crate::fix_permissions::FixPermissionsArgs),
    /// Check identity, bucket, KMS, CI API, Docker, disk and clock, each with a fix line
    Doctor(crate::doctor::DoctorArgs),
    /// Secrets of a pipeline
    Secrets {
        /// What to do with them
        #[command(subcommand)]
        verb: SecretsVerb,
    },
}

/// Verbs of `secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsVerb {
    /// Lint and list what a job of a pipeline would get: names, never values
    Check(crate::secrets::CheckArgs),
}

/// The job hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Before checkout: secrets, ssh-agent, Docker configuration
    Environment,
    /// Before the command: Docker registry logins are checked
    PreCommand,
    /// After everything: what the environment hook started is stopped and removed
    PreExit,
}

/// Parses, runs one verb, reports its failure in one line on stderr.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A credential helper that has no login says so on stdout; that is no fault to report.
            if !failure.message.is_empty() {
                eprintln!("agent-bootstrap: {failure}");
            }
            failure.exit_code()
        }
    }
}

/// Called as `docker-credential-tidemark get` (a link to this program), the name says the verb.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(PathBuf::from);
    if name.as_deref().and_then(Path::file_name).is_some_and(|n| n == "docker-credential-tidemark") {
        arguments.insert(1, "docker-credential".into());
    }
    arguments
}

fn run(cli: Cli) -> Result<(), Failure> {
    let layout = Layout::below(cli.root);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("start of the async runtime: {e}")))?;
    runtime.block_on(async {
        match cli.verb {
            Verb::Hook { phase } => crate::hooks::run(&layout, phase).await,
            Verb::GitCredential { job, operation } => {
                crate::git_credential::run(&layout, &operation, job.as_deref()).await
            }
            Verb::DockerCredential { operation } => crate::registry::run(&layout, &operation).await,
            Verb::Boot(args) => crate::boot::run(&layout, args).await,
            Verb::Refresh { what } => crate::boot::refresh::run(&layout, what).await,
            Verb::Watch(args) => crate::watch::run(&layout, args).await,
            Verb::Logs(args) => crate::logs::run(&layout, args).await,
            Verb::Cordon => operator::say(&layout, &Request::Cordon).await,
            Verb::Uncordon => operator::say(&layout, &Request::Uncordon).await,
            Verb::Drain { cancel_jobs } => operator::say(&layout, &Request::Drain { cancel_jobs }).await,
            Verb::Status => operator::say(&layout, &Request::Status).await,
            Verb::JobScope(args) => crate::job_scope::run(&args),
            Verb::FixPermissions(args) => crate::fix_permissions::run(&layout, &args),
            Verb::Doctor(args) => crate::doctor::run(&layout, args).await,
            Verb::Secrets { verb: SecretsVerb::Check(args) } => crate::secrets::check(&layout, args).await,
        }
    })
}
