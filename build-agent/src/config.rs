//! Settings of `start`: flags over environment over the configuration file, read once, all faults told at once.

mod file;
mod keys;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use file::parse as parse_file;
use keys::Reader;

/// Flags of `start`. Everything else comes from the file or the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StartArgs {
    /// Configuration file of the open-source agent's form.
    #[arg(long, env = "BUILDKITE_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Run only this job, then leave.
    #[arg(long)]
    pub acquire_job: Option<String>,
    /// Leave after one job.
    #[arg(long)]
    pub disconnect_after_job: bool,
}

/// What an agent needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Registration token.
    pub token: SecretString,
    /// Name, with placeholders (`%hostname`, `%spawn`, `%n`, `%random`).
    pub name: String,
    /// Higher is asked first.
    pub priority: Option<String>,
    /// `key=value` each.
    pub tags: Vec<String>,
    /// How many agents this process registers.
    pub spawn: u32,
    /// Base URL of the API.
    pub endpoint: String,
    /// Folder of the checkouts.
    pub build_path: PathBuf,
    /// Program and arguments that run `build-agent bootstrap`; this program itself where empty.
    pub bootstrap_script: Vec<String>,
    /// Folder of the instance's hooks.
    pub hooks_path: Option<PathBuf>,
    /// Folder of plugins.
    pub plugins_path: Option<PathBuf>,
    /// File these settings came from.
    pub config_path: Option<PathBuf>,
    /// Where job logs are kept as files, if at all.
    pub job_log_path: Option<PathBuf>,
    /// Shell and flags that get a command as last argument.
    pub shell: String,
    /// Do commands get a terminal?
    pub pty: bool,
    /// Leave after one job.
    pub disconnect_after_job: bool,
    /// Leave after so long without a job.
    pub disconnect_after_idle: Option<Duration>,
    /// Leave, between jobs, after so long.
    pub disconnect_after_uptime: Option<Duration>,
    /// Time between the cancel signal and SIGKILL.
    pub cancel_grace: Duration,
    /// Signal that tells a command to end.
    pub cancel_signal: String,
    /// Flags of `git clone`.
    pub git_clone_flags: String,
    /// Flags of `git fetch`.
    pub git_fetch_flags: String,
    /// Flags of `git clean`.
    pub git_clean_flags: String,
    /// Flags of `git checkout`.
    pub git_checkout_flags: String,
    /// Are submodules checked out?
    pub git_submodules: bool,
    /// How often a failing checkout is tried.
    pub checkout_attempts: u32,
    /// May jobs run commands that are no scripts of the checkout?
    pub command_eval: bool,
    /// May the checkout bring hooks?
    pub local_hooks: bool,
    /// May jobs use plugins?
    pub plugins: bool,
    /// Patterns of names whose values are secrets.
    pub redacted_vars: Vec<String>,
    /// Times inside the log lines, or header times beside it?
    pub ansi_timestamps: bool,
    /// Run only this job.
    pub acquire_job: Option<String>,
    /// More lines on stderr.
    pub debug: bool,
}

/// Names whose values are secrets unless the settings say otherwise.
pub const REDACTED_VARS: &str = "*_PASSWORD,*_SECRET,*_TOKEN,*_PRIVATE_KEY,*_ACCESS_KEY,*_SECRET_KEY,\
*_CONNECTION_STRING,*_API_KEY,*_SSH_KEY";

/// Settings and what is odd about them, or all that is wrong.
pub type Loaded = Result<(Settings, Vec<String>), Vec<String>>;

/// Reads the file named by `args` and puts `environment` and `args` over it.
///
/// # Errors
/// One line for each fault.
pub fn load(args: &StartArgs, environment: impl Fn(&str) -> Option<String>) -> Loaded {
    let mut faults = Vec::new();
    let mut pairs = Vec::new();
    if let Some(path) = &args.config {
        match std::fs::read_to_string(path) {
            Ok(text) => match file::parse(&text) {
                Ok(found) => pairs = found,
                Err(bad) => {
                    faults.extend(bad.into_iter().map(|fault| format!("{}: {fault}", path.display())))
                }
            },
            Err(error) => faults.push(format!("cannot read {}: {error}", path.display())),
        }
    }
    let mut reader = Reader::new(pairs, environment, faults);
    let settings = read(&mut reader, args);
    reader.finish(settings)
}

fn read(from: &mut Reader, args: &StartArgs) -> Settings {
    let token = from.required("token", "the registration token of the server");
    Settings {
        token: token.into(),
        name: from.text("name", "%hostname-%spawn"),
        priority: from.optional("priority"),
        tags: from.list("tags", ""),
        spawn: from.number("spawn", 1, 1..=100) as u32,
        endpoint: from.url("endpoint"),
        build_path: from.required("build-path", "the folder for checkouts").into(),
        bootstrap_script: from.command("bootstrap-script"),
        hooks_path: from.optional("hooks-path").map(Into::into),
        plugins_path: from.optional("plugins-path").map(Into::into),
        config_path: args.config.clone(),
        job_log_path: from.optional("job-log-path").map(Into::into),
        shell: from.text("shell", "/bin/bash -e -c"),
        pty: !from.switch("no-pty"),
        disconnect_after_job: from.switch("disconnect-after-job") || args.disconnect_after_job,
        disconnect_after_idle: from.seconds("disconnect-after-idle-timeout"),
        disconnect_after_uptime: from.seconds("disconnect-after-uptime"),
        cancel_grace: Duration::from_secs(from.number("cancel-grace-period", 10, 1..=86_400)),
        cancel_signal: from.signal("cancel-signal"),
        git_clone_flags: from.words("git-clone-flags", "-v"),
        git_fetch_flags: from.words("git-fetch-flags", "-v --prune"),
        git_clean_flags: from.words("git-clean-flags", "-ffxdq"),
        git_checkout_flags: from.words("git-checkout-flags", "-f"),
        git_submodules: !from.switch("no-git-submodules"),
        checkout_attempts: from.number("checkout-attempts", 6, 1..=20) as u32,
        command_eval: !from.switch("no-command-eval"),
        local_hooks: !from.switch("no-local-hooks"),
        plugins: !from.switch("no-plugins"),
        redacted_vars: from.list("redacted-vars", REDACTED_VARS),
        ansi_timestamps: !from.switch("no-ansi-timestamps"),
        acquire_job: args.acquire_job.clone().or_else(|| from.optional("acquire-job")),
        debug: from.switch("debug"),
    }
}

#[cfg(test)]
mod tests;
