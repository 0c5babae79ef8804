//! Instances: what the group orders and ends, of two kinds. `processes`: a folder, a loopback address, a metadata service
//! and the processes of `agent-bootstrap`. `containers`: systemd in a container made of an AMI. EC2 hears of both kinds
//! (`described`).

pub mod address;
pub mod containers;
pub mod described;
pub mod kind;
pub mod processes;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::group::model::TemplateRef;
use crate::imds::Facts;

/// Where the instances run.
#[derive(Debug, Clone)]
pub struct Site {
    /// Each instance gets a folder of its own below.
    pub folder: PathBuf,
    /// Folder with `agent-bootstrap` and `build-agent`.
    pub programs: PathBuf,
    /// `AWS_ENDPOINT_URL` of the instances.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// More variables for the instances' processes.
    pub environment: Vec<(String, String)>,
}

impl Site {
    /// What the metadata service of an instance with this address tells.
    fn facts(&self, order: &InstanceOrder, address: Ipv4Addr) -> Facts {
        Facts {
            instance_id: order.id.clone(),
            account: self.account.clone(),
            region: self.region.clone(),
            zone: order.zone.clone(),
            instance_type: order.instance_type.clone(),
            image: order.image.clone(),
            address,
            tags: order.tags.clone(),
            user_data: order.user_data.clone(),
            role: order.role.clone(),
            launched: Timestamp::now(),
            spot: order.spot,
        }
    }
}

/// What an instance is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceOrder {
    /// `i-…`.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Instance type.
    pub instance_type: String,
    /// AMI id.
    pub image: String,
    /// Name of the instance profile's role.
    pub role: Option<String>,
    /// Decoded.
    pub user_data: Vec<u8>,
    /// Tags, those that AWS adds included.
    pub tags: BTreeMap<String, String>,
    /// The launch template, its version as a number.
    pub template: TemplateRef,
    /// The group's subnets, of all zones; none in a group that names zones only.
    pub subnets: Vec<String>,
    /// Is it a spot instance?
    pub spot: bool,
}

/// Starts and ends machines. The edge of the group; a fake stands here in its tests.
pub trait Instances: Send + Sync {
    /// Starts a machine. Returning means EC2's `running`: it boots from now on by itself.
    fn launch(&self, order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>>;

    /// Ends a machine with everything that runs on it. Harmless for one that is gone.
    fn terminate<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()>;

    /// Stops a machine that goes to the warm pool; its disk stays. A kind that cannot lets it run.
    fn stop<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Starts a stopped machine again. Harmless for one that runs.
    fn start<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<(), LaunchFailed>> {
        Box::pin(async { Ok(()) })
    }

    /// The metadata service shall tell this `autoscaling/target-lifecycle-state`.
    fn tell_target_state(&self, id: &str, state: &'static str);

    /// Machines that have ended without being told to: EC2's status checks would find them.
    fn ended(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}

/// A machine could not be started.
#[derive(Debug, thiserror::Error)]
#[error("launch of {id}: {reason}")]
pub struct LaunchFailed {
    /// Which.
    pub id: String,
    /// Why, for people.
    pub reason: String,
}

/// Where the programs of the project lie: `TIDEMARK_PROGRAMS`, or the folder of the running program (a test's
/// lies one folder deeper).
///
/// # Errors
/// There is no such folder with `agent-bootstrap` in it.
pub fn programs() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("TIDEMARK_PROGRAMS").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(given));
    }
    let running = std::env::current_exe()?;
    running
        .ancestors()
        .skip(1)
        .take(2)
        .find(|folder| folder.join("agent-bootstrap").is_file())
        .map(PathBuf::from)
        .ok_or_else(|| {
            anyhow::anyhow!(
                "no agent-bootstrap beside {}: build the programs (cargo build), or set TIDEMARK_PROGRAMS to their folder",
                running.display()
            )
        })
}
