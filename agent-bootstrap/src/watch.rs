//! Protection follows busy agents; idle and lifecycle events drain and retire the instance.
//!
//! # Layout
//! - [`decide`]: the whole policy, pure; [`rollout`] says whose turn an update is; [`attempts`] and [`jobs`] are
//!   what it remembers.
//! - [`keeper`]: the one task that observes, asks `decide` and carries out its steps.
//! - [`group`], [`metadata`], [`settings`]: ports. [`autoscaling`] is the group's adapter, [`fake_group`] its double for tests.
//! - [`protocol`], [`server`], [`client`]: how hooks and people talk to it.

pub mod attempts;
pub mod autoscaling;
pub mod client;
pub mod decide;
pub mod fake_group;
pub mod group;
pub mod jobs;
pub mod keeper;
pub mod metadata;
pub mod protocol;
pub mod rollout;
pub mod server;
pub mod settings;

use std::time::Duration;

use aws::session::Patience;
use aws::{Imds, Session};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::boot::identity::InstanceFile;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::units;
use autoscaling::AutoScalingGroup;
use decide::Policy;
use keeper::{Keeper, Orders, Ports};
use metadata::ImdsMetadata;
use settings::UserDataSettings;

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// How agents are run: systemd or processes
    #[arg(long, env = "TIDEMARK_UNIT_MANAGER", hide_env_values = true)]
    unit_manager: Option<String>,
}

/// Jobs wait for these calls, and each is tried again by the policy itself.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(4),
    operation: Duration::from_secs(8),
    attempts: 2,
};

/// Watches until the process is told to stop. Agents are not touched by that.
///
/// # Errors
/// When the machine lacks what is needed: a readable instance file, a region, the socket.
pub async fn run(layout: &Layout, args: WatchArgs) -> Result<(), Failure> {
    let units = units::of_machine(layout, args.unit_manager.as_deref())?;
    let mut stop =
        signal(SignalKind::terminate()).map_err(|e| Failure::failed(format!("watch: SIGTERM: {e}")))?;
    let instance = tokio::select! {
        instance = instance_file(layout) => instance?,
        _ = stop.recv() => return Ok(()),
    };
    let identity = &instance.identity;
    let session = Session::load(Some(&identity.region), PATIENCE).await?;
    let group = identity.group.clone().unwrap_or_default();
    let ports = Ports {
        group: AutoScalingGroup::new(&session, group, &identity.instance_id),
        metadata: ImdsMetadata(Imds::new()),
        settings: UserDataSettings::new(session.clone(), Imds::new(), layout.clone()),
        units,
    };
    let keeper = Keeper::new(ports, orders(layout, &instance))?;
    let (calls, received) = mpsc::channel(64);
    let serving = tokio::spawn(server::serve(server::bind(&layout.watch_socket())?, calls));
    let kept = keeper
        .run(received, async move {
            stop.recv().await;
        })
        .await;
    serving.abort();
    kept
}

fn orders(layout: &Layout, instance: &InstanceFile) -> Orders {
    let watch = &instance.watch;
    Orders {
        instance: instance.identity.instance_id.clone(),
        agents: instance.agents,
        policy: Policy {
            in_group: instance.identity.group.is_some(),
            idle_period: watch.idle_period,
            fail_safe_after: watch.fail_safe_after,
            has_hook: watch.terminating_hook.is_some(),
            heartbeat_interval: watch.heartbeat_interval,
            update_check: watch.update_check,
            update_concurrency: watch.update_concurrency,
        },
        hook: watch.terminating_hook.clone(),
        poll_interval: watch.poll_interval,
        memory: layout.run().join("watch.json"),
    }
}

/// The instance file, as soon as boot has written it.
async fn instance_file(layout: &Layout) -> Result<InstanceFile, Failure> {
    loop {
        if let Some(instance) = InstanceFile::read(layout)? {
            return Ok(instance);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
