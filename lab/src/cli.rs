//! The command line: `up`, `demo`, `bake`, `down`, `status`, `logs`, `env`.

mod look;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::instances::kind::Wanted;
use crate::state::{self, State};

/// A whole CI stack on this machine: the real template and the real programs on a local AWS
#[derive(Debug, Parser)]
#[command(name = "lab", version, max_term_width = 100)]
struct Cli {
    /// Folder of the lab: everything it makes lies there
    #[arg(long, env = "TIDEMARK_LAB_DIR", default_value = "target/lab", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the lab with a stack `ci` and a build-server, and run until Ctrl-C
    Up(up::UpArgs),
    /// Run the product's main job from end to end: jobs of two pipelines, from zero instances and back
    Demo {
        /// Where report.json, timeline.svg and all logs lie afterwards
        #[arg(long, default_value = "target/demo")]
        folder: PathBuf,
        /// What instances are
        #[arg(long, value_enum, default_value = "auto")]
        instances: Wanted,
    },
    /// Build the AMI of container instances with Packer, unless it is there; prints the engine's image
    Bake,
    /// End the lab that runs in the folder
    Down,
    /// Show the stack, its group and its instances
    Status,
    /// Print a log; without a name, list them
    Logs {
        /// An instance's id, moto, scaler, server or lab
        name: Option<String>,
    },
    /// Print export lines for awscli and `build-server builds`: eval "$(lab env)"
    Env,
}

/// Parses, runs one verb, reports its failure in one line on stderr.
#[must_use]
pub fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("TIDEMARK_LAB_LOG").unwrap_or_else(|_| "lab=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let has_helpers = cli.verb.has_helpers();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::anyhow!("start of the async runtime: {error}")),
    };
    let outcome = runtime.block_on(run(cli));
    // With the runtime goes whatever still holds a helper; a failed or stopped verb too leaves only once all have ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if has_helpers {
        crate::children::until_all_ended();
        if let Ok(programs) = crate::instances::programs() {
            crate::engine::until_ended(&crate::engine::folder_beside(&programs));
        }
    }
    match outcome {
        Ok(text) => print(&text),
        Err(error) => report(&error),
    }
}

impl Verb {
    /// Does a lab run in this very process?
    fn has_helpers(&self) -> bool {
        match self {
            Self::Up(args) => !args.detach,
            Self::Demo { .. } | Self::Bake => true,
            Self::Down | Self::Status | Self::Logs { .. } | Self::Env => false,
        }
    }
}

/// Ctrl-C and SIGTERM, which end a lab in order.
struct Stop {
    terminate: Signals,
    interrupt: Signals,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn run(cli: Cli) -> Result<String> {
    match cli.verb {
        Verb::Up(args) => up::run(&cli.dir, args).await,
        Verb::Demo { folder, instances } => {
            let mut stop = Stop::listen()?;
            let summary = tokio::select! {
                summary = crate::demo::run(&folder, instances) => summary?,
                () = stop.asked() => bail!("demo: stopped; its logs are in {}", folder.display()),
            };
            let instances = &summary.instances;
            Ok(format!(
                "{summary}\ninstances: {instances}\nreport: {0}/report.json, {0}/timeline.svg\n",
                folder.display()
            ))
        }
        Verb::Bake => {
            let mut stop = Stop::listen()?;
            tokio::select! {
                image = crate::bake::once() => image,
                () = stop.asked() => bail!("bake: stopped; nothing is kept of it"),
            }
        }
        Verb::Down => down(&cli.dir),
        Verb::Status => look::status(&State::of_running(&cli.dir)?).await,
        Verb::Logs { name } => look::logs(&cli.dir, name.as_deref()),
        Verb::Env => Ok(exports(&State::of_running(&cli.dir)?)),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A reader that has gone, as in `lab logs moto | head`, is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("lab: {error:#}");
    ExitCode::FAILURE
}

/// How long a lab may take to end.
const END: Duration = Duration::from_secs(60);

/// Ends the lab. One that crashed has ended by itself, processes and all: only its state file is left to remove.
fn down(folder: &Path) -> Result<String> {
    if !state::is_running(folder)? {
        State::remove(folder);
        return Ok(format!("no lab runs in {}\n", folder.display()));
    }
    let state = State::of_running(folder)?;
    kill(Pid::from_raw(state.pid), Signal::SIGTERM)
        .with_context(|| format!("end of process {}", state.pid))?;
    let begun = Instant::now();
    while state::is_running(folder)? {
        if begun.elapsed() > END {
            bail!(
                "process {} has not ended after {} s; see {}",
                state.pid,
                END.as_secs(),
                folder.join("lab.log").display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(format!("the lab in {} has ended\n", folder.display()))
}

fn exports(state: &State) -> String {
    state
        .environment
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_safe_to_evaluate() {
        let state = State {
            pid: 1,
            endpoint: String::new(),
            environment: [("A".to_owned(), "it's $HOME".to_owned())].into(),
            stack: String::new(),
            group: String::new(),
        };
        assert_eq!(exports(&state), "export A='it'\\''s $HOME'\n");
    }

    #[test]
    fn down_is_harmless_where_nothing_runs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(down(folder.path()).unwrap().starts_with("no lab runs in"));
    }
}
