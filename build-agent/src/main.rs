//! `build-agent`: the work is in the library of the same name.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use build_agent::{agent, bootstrap, config, tool};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "build-agent", version, about = "Runs jobs of a CI server that speaks the agent API")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Registers with the server and runs its jobs.
    Start(config::StartArgs),
    /// Runs one job from the environment; the agent starts it.
    #[command(hide = true)]
    Bootstrap(bootstrap::Args),
    /// Writes the environment to a file; hooks' wrappers use it.
    #[command(hide = true)]
    EnvDump {
        /// Where to.
        file: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called_as = args.first().map(Path::new).and_then(Path::file_stem).unwrap_or_default();
    if called_as == "buildkite-agent" {
        return tool::main(&args);
    }
    match Cli::parse().verb {
        Verb::Start(args) => agent::main(&args),
        Verb::Bootstrap(args) => bootstrap::main(args),
        Verb::EnvDump { file } => bootstrap::dump_env(&file),
    }
}
