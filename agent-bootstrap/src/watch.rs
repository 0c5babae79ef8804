//! Protection follows busy agents; idleness, notices, operators and the group's own wish drain and retire the instance.
//! What to do is decided in `lifecycle`.
//!
//! # Layout
//! - [`keeper`]: the one task that observes, asks `lifecycle::decide` and carries out its steps; [`jobs`] is what
//!   outlives it.
//! - [`updates`]: whether it is the turn of this instance to make room for a successor. [`clock`]: the keeper's time.
//! - [`group`], [`metadata`], [`settings`], [`scaler`]: ports. [`autoscaling`] is the group's adapter, [`fake_group`] its double for
//!   tests.
//! - [`protocol`], [`server`], [`client`], [`operator`]: how hooks and people talk to it; [`asker`]: who they are.

pub mod asker;
pub mod autoscaling;
pub mod client;
pub mod clock;
pub mod fake_group;
pub mod group;
pub mod jobs;
pub mod keeper;
pub mod metadata;
pub mod operator;
pub mod protocol;
pub mod scaler;
pub mod server;
pub mod settings;
pub mod updates;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws::session::Patience;
use aws::{Imds, Session};
use jiff::{SignedDuration, Timestamp};
use lifecycle::Policy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::boot::agent_config::agent_name;
use crate::boot::identity::InstanceFile;
use crate::disk;
use crate::disk::decide::Limits;
use crate::disk::docker::DockerEngine;
use crate::disk::guard::{Guard, GuardEnd};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::units::{self, AgentUnit};
use asker::Users;
use autoscaling::AutoScalingGroup;
use clock::{EvenClock, ThisMachine};
use keeper::{Keeper, Orders, Ports};
use metadata::ImdsMetadata;
use scaler::StackParameter;
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
    let (disk, guard_end) = disk::guard::ends();
    let guarding = guard(layout, &instance, guard_end).map(tokio::spawn);
    let ports = Ports {
        group: AutoScalingGroup::new(&session, group, &identity.instance_id),
        metadata: ImdsMetadata(Imds::new()),
        settings: UserDataSettings::new(session.clone(), Imds::new(), layout.clone()),
        scaler: StackParameter::new(&session, &instance.stack),
        units,
        disk,
        clock: EvenClock::new(ThisMachine::new()),
    };
    let orders = orders(layout, &instance);
    say_when_idle(&orders, instance.booted_in);
    let keeper = Keeper::new(ports, orders)?;
    let (calls, received) = mpsc::channel(64);
    let listener = server::bind(&layout.watch_socket())?;
    let serving = tokio::spawn(server::serve(listener, Users::of_machine(), calls));
    let kept = keeper
        .run(received, async move {
            stop.recv().await;
        })
        .await;
    serving.abort();
    if let Some(guarding) = guarding {
        guarding.abort();
    }
    kept
}

/// How long it stays idle, in the log: by itself that follows from how long it took to come.
fn say_when_idle(orders: &Orders, booted_in: Option<SignedDuration>) {
    let words = |period: SignedDuration| format!("{period:#}");
    let never = || "never".to_owned();
    eprintln!(
        "{}",
        serde_json::json!({
            "at": Timestamp::now(),
            "instance": orders.instance,
            "booted_in": booted_in.map(words),
            "idle_period": orders.policy.idle_period.map_or_else(never, words),
            "fail_safe_after": orders.policy.fail_safe_after.map_or_else(never, words),
        })
    );
}

/// The disk guard. An instance that is a folder of some machine (the lab's processes) has no disk to guard, unless an
/// engine of its own lies there: never the machine's.
fn guard(
    layout: &Layout,
    instance: &InstanceFile,
    end: GuardEnd,
) -> Option<impl Future<Output = ()> + use<>> {
    let socket = layout.docker_socket();
    let is_machine = layout.root() == Path::new("/");
    if !is_machine && !socket.exists() {
        return None;
    }
    let settings = &instance.disk;
    let limits = Limits {
        free: settings.free_gib.map(|gib| gib << 30),
        inodes: settings.free_inodes,
        unused_for: settings.unused_for,
    };
    let engine = socket.exists().then(|| DockerEngine::new(&socket));
    let space = |path: &PathBuf| disk::space::of(path);
    let guard = Guard::new(&instance.identity.instance_id, engine, space, layout.builds(), limits, end);
    Some(guard.run(settings.check.unsigned_abs()))
}

fn orders(layout: &Layout, instance: &InstanceFile) -> Orders {
    let (watch, boot) = (&instance.watch, instance.booted_in);
    Orders {
        instance: instance.identity.instance_id.clone(),
        agents: (1..=instance.agents).map(|number| agent(instance, number)).collect(),
        policy: Policy {
            in_group: instance.identity.group.is_some(),
            idle_period: watch.idle_period(boot),
            fail_safe_after: watch.fail_safe_after(boot),
            has_hook: watch.terminating_hook.is_some(),
            heartbeat_interval: watch.heartbeat_interval,
            update_check: watch.update_check,
            update_concurrency: watch.update_concurrency,
            max_age: watch.max_age.map(|age| spread(age, &instance.identity.instance_id)),
            after_job: watch.after_job,
            drain_on_rebalance: watch.drain_on_rebalance,
            spot_grace: watch.spot_grace,
        },
        hook: watch.terminating_hook.clone(),
        poll_interval: watch.poll_interval,
        memory: layout.run().join("watch.json"),
    }
}

fn agent(instance: &InstanceFile, number: u32) -> AgentUnit {
    let name = agent_name(&instance.stack, &instance.identity.instance_id, number);
    AgentUnit { number, name, program: instance.agent_program.clone().into() }
}

/// Up to a tenth less, by the instance's id: instances of one launch do not all leave at the same time.
fn spread(age: SignedDuration, instance: &str) -> SignedDuration {
    let number: u32 = instance.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let part = i32::try_from(number % 100).unwrap_or(0);
    age.saturating_sub((age / 1000).saturating_mul(part))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_a_tenth() {
        let day = SignedDuration::from_hours(24);
        let ages: Vec<_> = (0..200).map(|n| spread(day, &format!("i-{n:017x}"))).collect();
        assert!(ages.iter().all(|age| *age <= day && *age > day * 9 / 10), "{ages:?}");
        let distinct: std::collections::BTreeSet<_> = ages.iter().collect();
        assert!(distinct.len() > 20, "{distinct:?}");
    }
}
