//! `lab up`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum as _;
use secrecy::ExposeSecret;

use super::Stop;
use crate::instances::kind::Wanted;
use crate::lab::{Lab, LabOptions};
use crate::state::{Hold, State};

/// The name of the lab's stack.
const STACK: &str = "ci";

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    /// Go to the background once everything runs
    #[arg(long)]
    pub(super) detach: bool,
    /// What instances are
    #[arg(long, value_enum, default_value = "processes")]
    instances: Wanted,
    /// A parameter of the template, NAME=VALUE; may be given several times
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(folder: &Path, args: UpArgs) -> Result<String> {
    if args.detach {
        return detach(folder, &args);
    }
    let _hold = Hold::take(folder)?;
    State::remove(folder);
    let mut stop = Stop::listen()?;
    let lab = tokio::select! {
        started = start(folder, &args) => started?,
        // Dropping what has started ends it.
        () = stop.asked() => bail!("stopped while starting"),
    };
    eprintln!("lab: up; Ctrl-C or `lab down --dir {}` ends it", folder.display());
    stop.asked().await;
    eprintln!("lab: ending");
    State::remove(lab.folder());
    lab.stop().await?;
    Ok(String::new())
}

async fn start(folder: &Path, args: &UpArgs) -> Result<Lab> {
    let instances = args.instances.choose(|what| eprintln!("lab: {what}")).await?;
    eprintln!("lab: {instances}");
    let options = LabOptions { folder: Some(folder.to_owned()), instances, ..LabOptions::default() };
    let mut lab = Lab::start(options).await?;
    if let Some(ami) = lab.ami() {
        eprintln!("lab: instances boot {ami}");
    }
    eprintln!("lab: AWS at {}", lab.endpoint().url());
    let parameters: Vec<(&str, &str)> =
        args.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let stack = lab.deploy_stack(STACK, &parameters).await?;
    let group = stack.output("AutoScalingGroupName")?.to_owned();
    eprintln!("lab: stack {STACK} with group {group}");
    let mut environment = lab.admin_environment();
    environment.insert("TIDEMARK_LAB_TOKEN".to_owned(), lab.endpoint().token().expose_secret().to_owned());
    if let Some(server) = lab.build_server() {
        eprintln!("lab: build-server at {}", server.url());
        environment.insert("BUILD_SERVER_URL".to_owned(), server.url().to_owned());
        environment
            .insert("BUILD_SERVER_TOKEN_FILE".to_owned(), server.api_token_file().display().to_string());
    }
    let pid = i32::try_from(std::process::id())?;
    let state =
        State { pid, endpoint: lab.endpoint().url().to_owned(), environment, stack: stack.name, group };
    state.write(lab.folder())?;
    Ok(lab)
}

/// Starts the same program again in a process group of its own, and waits until it is up or has failed.
fn detach(folder: &Path, args: &UpArgs) -> Result<String> {
    // Tells at once when a lab runs already.
    drop(Hold::take(folder)?);
    State::remove(folder);
    let log = folder.join("lab.log");
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&log);
    let file = file.with_context(|| format!("write {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").arg("--dir").arg(folder);
    let kind = args.instances.to_possible_value();
    command.args(kind.map(|kind| format!("--instances={}", kind.get_name())));
    for (name, value) in &args.parameters {
        command.arg("--parameter").arg(format!("{name}={value}"));
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let mut child = command.spawn().context("start of the lab in the background")?;
    loop {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("the lab did not start ({status}): {}", text.lines().last().unwrap_or("no output"));
        }
        if State::read(folder)?.is_some() {
            return Ok(format!("lab up in {} (process {})\n", folder.display(), child.id()));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
