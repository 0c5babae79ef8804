//! Instances as containers: systemd as the first process, the files of an AMI, a network of their own. Nothing of the
//! machine is in reach but the lab's services.
//!
//! # Layout
//! - [`inside`]: what the container runs before systemd.
//! - [`wires`]: its other end, outside.

pub mod inside;
pub mod wires;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use super::address::Addresses;
use super::{InstanceOrder, Instances, LaunchFailed, Site};
use crate::children::lab_program;
use crate::engine::Engine;
use crate::engine::build_instance::AMI;
use crate::engine::container::{Container, ContainerOrder, Network};
use crate::imds::{Imds, Notices, RoleSessions};
use wires::{Services, Wires};

/// How long an instance that is terminated may take to power off; EC2 gives some minutes.
const POWER_OFF: Duration = Duration::from_secs(5);

/// Instances as containers of an engine.
pub struct ContainerInstances {
    site: Site,
    engine: Engine,
    services: Services,
    sessions: Arc<dyn RoleSessions>,
    addresses: Addresses,
    running: Mutex<BTreeMap<String, Arc<Running>>>,
}

struct Running {
    metadata: Imds,
    container: Container,
    console: JoinHandle<()>,
    _wires: Wires,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.console.abort();
    }
}

impl ContainerInstances {
    /// None yet. `services` are the addresses that instances reach.
    #[must_use]
    pub fn new(site: Site, engine: Engine, services: Services, sessions: Arc<dyn RoleSessions>) -> Self {
        let (addresses, running) = (Addresses::default(), Mutex::default());
        Self { site, engine, services, sessions, addresses, running }
    }

    /// The folder of an instance on this machine, with `console.log`. It stays when the instance has ended.
    #[must_use]
    pub fn folder(&self, id: &str) -> PathBuf {
        self.site.folder.join(id)
    }

    /// The ids of the instances that run.
    pub fn running(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The URL of an instance's metadata service on this machine.
    pub fn metadata_url(&self, id: &str) -> Option<String> {
        self.lock().get(id).map(|r| r.metadata.url())
    }

    /// Changes what an instance's metadata service announces. False when there is no such instance.
    pub fn notify(&self, id: &str, change: impl FnOnce(&mut Notices)) -> bool {
        let running = self.lock();
        let found = running.get(id);
        if let Some(instance) = found {
            instance.metadata.notify(change);
        }
        found.is_some()
    }

    /// The container of an instance that runs.
    pub fn container(&self, id: &str) -> Option<Container> {
        self.lock().get(id).map(|running| running.container.clone())
    }

    /// Reboots an instance as EC2 does: what does not end in time loses its power.
    ///
    /// # Errors
    /// There is no such instance, or the engine refuses.
    pub async fn reboot(&self, id: &str) -> Result<()> {
        let Some(running) = self.lock().get(id).cloned() else { bail!("no instance {id} runs") };
        running.container.reboot(POWER_OFF).await
    }

    /// The instances that have powered themselves off.
    pub async fn ended_by_themselves(&self) -> Vec<String> {
        let all: Vec<(String, Arc<Running>)> =
            self.lock().iter().map(|(id, running)| (id.clone(), Arc::clone(running))).collect();
        let mut ended = Vec::new();
        for (id, running) in all {
            // Unknown is not ended.
            if running.console.is_finished() && running.container.runs().await.is_ok_and(|runs| !runs) {
                ended.push(id);
            }
        }
        ended
    }

    /// Ends all instances.
    pub async fn terminate_all(&self) {
        let ids = self.running();
        futures::future::join_all(ids.iter().map(|id| self.terminate(id))).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, order: InstanceOrder) -> Result<()> {
        let image = self.image(&order.image).await?;
        let folder = self.folder(&order.id);
        let socket_folder = folder.join("wires");
        std::fs::create_dir_all(&socket_folder)
            .with_context(|| format!("make {}", socket_folder.display()))?;
        let facts = self.site.facts(&order, self.addresses.next());
        let metadata =
            Imds::start(facts, Arc::clone(&self.sessions)).await.context("start of the metadata service")?;
        let wires = Wires::open(&socket_folder, self.services.clone(), metadata.socket_address())?;
        let container = Container::start(&self.engine, self.container_order(&order, image)?).await?;
        let console = keep_console(&container, folder.join("console.log")).await?;
        let running = Running { metadata, container, console, _wires: wires };
        self.lock().insert(order.id, Arc::new(running));
        Ok(())
    }

    /// As on EC2, an instance of an AMI that is not there does not start.
    async fn image(&self, ami: &str) -> Result<String> {
        let built = format!("{AMI}:{ami}");
        if self.engine.has_image(&built).await? {
            return Ok(built);
        }
        bail!("InvalidAMIID.NotFound: the engine has no image {built}")
    }

    fn container_order(&self, order: &InstanceOrder, image: String) -> Result<ContainerOrder> {
        let program = lab_program()?;
        let program = program.canonicalize().with_context(|| format!("find {}", program.display()))?;
        let socket_folder = self.folder(&order.id).join("wires");
        let variables = [
            format!("AWS_ENDPOINT_URL={}", self.site.endpoint),
            format!("AWS_REGION={}", self.site.region),
            format!("AWS_DEFAULT_REGION={}", self.site.region),
        ];
        let given = self.site.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let begin = [inside::PROGRAM.to_owned(), inside::POWER_ON.to_owned()];
        Ok(ContainerOrder {
            // The engine may hold instances of several labs.
            name: format!("tidemark-{}-{}", order.id, std::process::id()),
            hostname: order.id.clone(),
            image,
            network: Network::None,
            command: begin.into_iter().chain(variables).chain(given).collect(),
            binds: vec![
                format!("{}:{}:ro", program.display(), inside::PROGRAM),
                format!("{}:{}", socket_folder.display(), inside::FOLDER),
            ],
        })
    }
}

/// Appends the console to a file until the container ends; a reboot goes on in the same file.
async fn keep_console(container: &Container, file: PathBuf) -> Result<JoinHandle<()>> {
    let mut log = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&file)
        .await
        .with_context(|| format!("write {}", file.display()))?;
    let container = container.clone();
    Ok(tokio::spawn(async move {
        let mut seen = 0;
        loop {
            let mut console = std::pin::pin!(container.console());
            let mut at = 0;
            while let Some(Ok(part)) = console.next().await {
                let bytes = part.into_bytes();
                // The engine tells from the beginning each time it is asked.
                let new = bytes.len().min((at + bytes.len()).saturating_sub(seen));
                at += bytes.len();
                let kept = log.write_all(&bytes[bytes.len() - new..]).await;
                if kept.is_err() || log.flush().await.is_err() {
                    return;
                }
            }
            seen = seen.max(at);
            // Between the halves of a reboot it does not run for a moment.
            let begun = std::time::Instant::now();
            loop {
                match container.runs().await {
                    Ok(true) => break,
                    _ if begun.elapsed() > POWER_OFF => return,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }
    }))
}

impl Instances for ContainerInstances {
    fn launch(&self, order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>> {
        Box::pin(async move {
            let id = order.id.clone();
            self.start(order).await.map_err(|error| LaunchFailed { id, reason: format!("{error:#}") })
        })
    }

    fn terminate<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let found = self.lock().remove(id);
            let Some(running) = found else { return };
            let ended = async {
                running.container.power_off(POWER_OFF).await?;
                running.container.remove().await
            };
            if let Err(error) = ended.await {
                tracing::warn!(id, %error, "an instance did not end well");
            }
        })
    }

    fn tell_target_state(&self, id: &str, state: &'static str) {
        self.notify(id, |n| n.target_state = Some(state));
    }

    fn ended(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.ended_by_themselves())
    }
}
