//! The instance's logs go to CloudWatch Logs: groups of the stack, one stream an instance.
//!
//! # Layout
//! - [`record`], [`text`], [`batch`]: lines, their groups, and the events and batches they become. Pure.
//! - [`source`]: port to where lines come from; adapters [`journal`] (with [`export`], its format) and [`files`].
//! - [`sink`]: port to where events go; [`cloudwatch`] is its adapter.
//! - [`ship`]: the one task; [`position`]: how far it came, on disk.

pub mod batch;
pub mod cloudwatch;
pub mod export;
pub mod files;
pub mod journal;
pub mod position;
pub mod record;
pub mod ship;
pub mod sink;
pub mod source;
pub mod text;

use std::time::Duration;

use aws::session::Patience;
use aws::{Imds, Session};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::boot::identity::InstanceFile;
use crate::boot::settings::LogsSettings;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::units::process::Process;
use cloudwatch::CloudWatchLogs;
use files::Files;
use journal::Journal;
use position::PositionFile;
use record::Groups;
use ship::Shipper;
use sink::Sink;
use source::{Position, Source};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// How this machine runs services: systemd, whose journal is read, or processes, whose files are
    #[arg(long, env = "TIDEMARK_UNIT_MANAGER", hide_env_values = true)]
    unit_manager: Option<String>,
    /// Deliver what is there and end, unless the run before is said to have done so: exited:0
    #[arg(long, value_name = "CODE:STATUS")]
    after: Option<String>,
}

/// One attempt each: the shipper itself tries again, and knows better when.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    attempt: Duration::from_secs(5),
    operation: Duration::from_secs(5),
    attempts: 1,
};

/// How long the last lines may take after SIGTERM.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(20);

/// Whose logs, and where they go.
struct Target {
    instance: String,
    region: String,
    stack: String,
    settings: LogsSettings,
}

/// Ships until the process is told to stop, then what is there at that time.
///
/// # Errors
/// When the machine lacks what is needed, or when the last lines could not be delivered in time (75): they stay on the
/// instance, and the next start delivers them.
pub async fn run(layout: &Layout, args: LogsArgs) -> Result<(), Failure> {
    let from_files = match args.unit_manager.as_deref().filter(|n| !n.is_empty()) {
        None | Some("systemd") => false,
        Some("processes") => true,
        Some(other) => {
            return Err(Failure::config(format!(
                "TIDEMARK_UNIT_MANAGER: `{other}` is neither systemd nor processes"
            )));
        }
    };
    let at_once = match args.after.as_deref() {
        // It delivered all. Or nobody knows yet where to: the next start will.
        Some("exited:0") => return Ok(()),
        Some(_) if InstanceFile::read(layout)?.is_none() => return Ok(()),
        given => given.is_some(),
    };
    let mut sigterm =
        signal(SignalKind::terminate()).map_err(|e| Failure::failed(format!("logs: SIGTERM: {e}")))?;
    let _pid_file = PidFile::write(layout)?;
    let (stop, stopped) = watch::channel(at_once);
    let target = target(layout, &mut sigterm, &stop).await?;
    let session = Session::load(Some(&target.region), PATIENCE).await?;
    let (groups, make_groups) = match target.settings.group_prefix {
        Some(prefix) => (Groups::Below(prefix), Some(target.settings.retention_days)),
        None => (Groups::OfStack(target.stack), None),
    };
    let sink = CloudWatchLogs::new(&session, &target.instance, make_groups);
    let file = PositionFile::of(layout, &target.instance);
    let position = file.read();
    if from_files {
        let given = match position {
            Some(Position::Files(given)) => given,
            _ => Default::default(),
        };
        let source = Files::after(layout, given);
        until_stopped(Shipper::new(source, sink, groups, file, stopped), sigterm, &stop).await
    } else {
        let cursor = match position {
            Some(Position::Journal(cursor)) => cursor,
            _ => None,
        };
        let source = Journal::after(cursor);
        until_stopped(Shipper::new(source, sink, groups, file, stopped), sigterm, &stop).await
    }
}

async fn until_stopped<S: Source, K: Sink>(
    shipper: Shipper<S, K>,
    mut sigterm: Signal,
    stop: &watch::Sender<bool>,
) -> Result<(), Failure> {
    let out_of_time = async {
        if !*stop.borrow() {
            sigterm.recv().await;
            stop.send_replace(true);
        }
        tokio::time::sleep(FLUSH_LIMIT).await;
    };
    tokio::select! {
        ended = shipper.run() => ended,
        () = out_of_time => Err(Failure::try_again(format!(
            "logs: the last lines could not be delivered within {FLUSH_LIMIT:?}; they stay on the instance"
        ))),
    }
}

/// The instance file tells it as soon as boot has written it. An instance that is stopped before that (its boot has
/// failed) asks the metadata service, so that its logs say why.
async fn target(
    layout: &Layout,
    sigterm: &mut Signal,
    stop: &watch::Sender<bool>,
) -> Result<Target, Failure> {
    loop {
        if let Some(file) = InstanceFile::read(layout)? {
            return Ok(Target {
                instance: file.identity.instance_id,
                region: file.identity.region,
                stack: file.stack,
                settings: file.logs,
            });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            _ = sigterm.recv() => break,
        }
    }
    stop.send_replace(true);
    let imds = Imds::new();
    let told = async {
        Ok::<_, aws::CallError>(Target {
            instance: imds.require("meta-data/instance-id").await?,
            region: imds.require("meta-data/placement/region").await?,
            stack: imds.require("meta-data/tags/instance/tidemark:stack").await?,
            settings: LogsSettings::default(),
        })
    };
    let target = tokio::time::timeout(FLUSH_LIMIT, told).await;
    Ok(target.map_err(|_| Failure::unavailable("logs: the metadata service does not answer"))??)
}

/// Tells who ships, for a `watch` where no systemd knows.
struct PidFile(std::path::PathBuf);

impl PidFile {
    fn write(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.logs_pid_file();
        let own = std::process::id().try_into().ok().and_then(Process::running);
        let own = own.ok_or_else(|| Failure::failed("logs: this process is not in /proc"))?;
        std::fs::create_dir_all(layout.run())
            .map_err(|e| Failure::failed(format!("folder {}: {e}", layout.run().display())))?;
        crate::boot::files::file(&path, own.to_string().as_bytes(), 0o644, crate::boot::files::Owner::own())?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // One that stays names a process that is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}
