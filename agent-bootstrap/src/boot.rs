//! From a bare instance to running agents.
//!
//! # Layout
//! - [`phases`]: each step is timed, held to its budget and tried again while its fault may pass.
//! - [`sequence`]: which phase needs what of which other one; what need not wait runs side by side.
//! - [`identity`], [`user_data`], [`settings`], [`fetch`]: what the boot goes by.
//! - [`reference`]: places outside the settings. [`bootstrap_script`], [`storage`], [`docker`], [`access`]: what a stack
//!   may want of its instances beyond agents.
//! - [`written`], [`agent_config`], [`files`]: what it leaves. [`refresh`]: what of that is fetched again later.
//! - [`ends`], [`report`]: whom it tells how it ended. [`hold`]: boots that keep failing are not repeated without a pause.

pub mod access;
pub mod agent_config;
pub mod bootstrap_script;
pub mod docker;
pub mod ends;
pub mod fetch;
pub mod files;
pub mod hold;
pub mod identity;
pub mod phases;
pub mod reference;
pub mod refresh;
pub mod report;
pub mod sequence;
pub mod settings;
pub mod storage;
pub mod user_data;
pub mod written;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::failure::Failure;
use crate::layout::Layout;
use crate::units::{self, Machine};
use report::Report;
use sequence::{Ended, Sequence};

/// Arguments of `boot`.
#[derive(Debug, clap::Args)]
pub struct BootArgs {
    /// Print what the last boot did and how long it took, and boot nothing
    #[arg(long)]
    report: bool,
    /// The report as JSON
    #[arg(long, requires = "report")]
    json: bool,
    /// Longest time of the whole boot, in seconds, unless the setting boot-timeout says otherwise
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    budget: u64,
    /// After three boots in a row that failed, seconds until another one is tried; later pauses are longer
    #[arg(long, env = "TIDEMARK_PROBE_AFTER", value_name = "SECONDS", default_value_t = 60, hide = true)]
    probe_after: u64,
    /// How agents are run: systemd or processes
    #[arg(long, env = "TIDEMARK_UNIT_MANAGER", hide_env_values = true)]
    unit_manager: Option<String>,
}

/// Runs all phases. A second run changes nothing that is right already and starts nothing twice.
///
/// # Errors
/// The phase that failed, why, and what to do; it is said already, so the failure has no message. The instance is then
/// given up: its launch is abandoned, it is marked unhealthy and powered off; after a pause where such boots would be
/// repeated for ever.
pub async fn run(layout: &Layout, args: BootArgs) -> Result<(), Failure> {
    if args.report {
        return report::print(layout, args.json);
    }
    let units = units::of_machine(layout, args.unit_manager.as_deref())?;
    let machine = units::machine(layout, args.unit_manager.as_deref())?;
    let _alone = alone(layout)?;
    let sequence = Sequence::new(layout, &*units, &*machine, Duration::from_secs(args.budget));
    match sequence.run().await {
        Ok(Ended::Ready) => {
            ready(layout, &sequence).await;
            Ok(())
        }
        Ok(Ended::NotWanted) => {
            eprintln!("boot: the group ends this instance before it came into service; no agent was started");
            Ok(())
        }
        Err(failure) => {
            eprintln!("agent-bootstrap: {failure}");
            let pause = Duration::from_secs(args.probe_after);
            give_up(layout, &sequence, &failure, &*machine, pause).await;
            Err(Failure { message: String::new(), ..failure })
        }
    }
}

/// Two boots at once would write the same files. The lock ends with its holder.
fn alone(layout: &Layout) -> Result<Option<File>, Failure> {
    let path = layout.run().join("boot.lock");
    // Its own user's alone: whoever may open it may hold it.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let opened = std::fs::create_dir_all(layout.run()).and_then(|()| options.open(&path));
    // A disk that cannot be written fails the boot where the group hears of it.
    let Ok(file) = opened else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::try_again(format!(
            "boot: another boot of this instance runs (it holds {}); wait for its end",
            path.display()
        ))),
        Err(TryLockError::Error(e)) => Err(Failure::failed(format!("boot: {}: {e}", path.display()))),
    }
}

/// The agents run. What is left is told to others, and nothing of it can undo the boot.
async fn ready(layout: &Layout, sequence: &Sequence<'_>) {
    let report = sequence.report(None, Timestamp::now());
    eprintln!("boot: ready in {} ms", report.milliseconds);
    if let Err(failure) = report.keep(layout) {
        eprintln!("boot: the report is not kept: {failure}");
    }
    let known = sequence.known();
    if let Some(ends) = known.ends() {
        ends.signal_success().await;
        ends.publish(&report).await;
    }
}

async fn give_up(
    layout: &Layout,
    sequence: &Sequence<'_>,
    failure: &Failure,
    machine: &dyn Machine,
    pause: Duration,
) {
    let report: Report = sequence.report(Some(failure.message.clone()), Timestamp::now());
    if let Err(unkept) = report.keep(layout) {
        eprintln!("boot: the report is not kept: {unkept}");
    }
    if sequence.agents_run() {
        eprintln!("boot: the agents that run here stay as they are");
        return;
    }
    let known = sequence.known();
    match known.ends() {
        Some(ends) => ends.give_up(pause).await,
        None => eprintln!(
            "boot: the group cannot be told: it replaces an instance in service once that is powered off, and gives up \
             a launch when the launching hook's time has passed"
        ),
    }
    if let Err(failure) = machine.power_off() {
        eprintln!("boot: the machine stays on: {failure}; terminate the instance by hand");
    }
}
