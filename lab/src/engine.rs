//! The Docker engine of container instances: one that answers on the usual socket, else one of the lab's own.
//!
//! # Layout
//! - [`own`]: starts dockerd without touching the machine's network; labs share it, the last one to leave ends it.
//! - [`mounts`]: mounts of a program's own, in a chroot too.
//! - [`base`]: the image that AMIs are baked from.
//! - [`images`]: what the engine keeps.
//! - [`container`]: a container that systemd runs in.
//! - [`build_instance`]: what Packer builds an AMI on, and the AMI it becomes.
//! - [`owner`], [`guard`]: whose a container is, and that none outlives its lab.

pub mod base;
pub mod build_instance;
pub mod container;
mod guard;
mod images;
mod mounts;
pub(crate) mod own;
mod owner;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::{API_DEFAULT_VERSION, Docker};
use nix::fcntl::Flock;

use crate::children::Child;
pub use guard::guard_when_asked;
pub use mounts::own_mounts_when_asked;
use owner::Owner;

/// Where an engine answers when nobody says otherwise.
const USUAL: &str = "/var/run/docker.sock";
/// An engine answers within milliseconds, but not on a machine that is all load. Building an image from a stream may
/// take as long as a request.
const REQUEST: u64 = 600;
const ANSWER: Duration = Duration::from_secs(15);

/// A Docker engine that this lab may use. Cheap to clone; the last clone lets go of an engine of the lab's own, and what
/// this lab started on the engine is removed.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    folder: PathBuf,
    owner: Owner,
    // Fields drop in this order: the guard removes this lab's containers, and holds the engine until it has done so.
    _guard: Child,
    in_use: Option<Flock<std::fs::File>>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[error("no Docker engine: {0}")]
pub struct NoEngine(String);

impl Engine {
    /// The engine on the usual socket (`DOCKER_HOST`, else `/var/run/docker.sock`), else one of the lab's own, whose data
    /// lies in `folder`.
    ///
    /// # Errors
    /// Neither is possible here; the reason says what is missing.
    pub async fn find(folder: &Path) -> Result<Self, NoEngine> {
        let found = async {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            let folder = folder.canonicalize()?;
            let usual = usual_socket();
            if let Ok(docker) = connect(&usual).await {
                return Self::of(docker, usual, folder, None).await;
            }
            let (socket, in_use) = own::start(&folder, &usual).await?;
            let docker = connect(&socket).await?;
            Self::of(docker, socket, folder, Some(in_use)).await
        };
        found.await.map_err(|error: anyhow::Error| NoEngine(format!("{error:#}")))
    }

    async fn of(
        docker: Docker,
        socket: PathBuf,
        folder: PathBuf,
        in_use: Option<Flock<std::fs::File>>,
    ) -> Result<Self> {
        let owner = Owner::this_process()?;
        guard::sweep(&docker).await?;
        let guard = guard::start(&folder, &socket, &owner, in_use.is_some()).await?;
        let shared = Shared { socket, folder, owner, _guard: guard, in_use };
        Ok(Self { docker, shared: Arc::new(shared) })
    }

    /// The client.
    #[must_use]
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where it answers: `docker -H unix://SOCKET …`.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// Was it started by a lab?
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.shared.in_use.is_some()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.shared.folder
    }

    fn owner(&self) -> &Owner {
        &self.shared.owner
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("socket", &self.shared.socket).finish_non_exhaustive()
    }
}

/// The folder of an own engine beside these programs: `target/lab/engine`. It stays between runs, as a cache.
#[must_use]
pub fn folder_beside(programs: &Path) -> PathBuf {
    programs.parent().unwrap_or(programs).join("lab/engine")
}

/// Waits, after the last [`Engine`] of this process was dropped, until an own engine that only it used has ended.
pub fn until_ended(folder: &Path) {
    if folder.is_dir() {
        own::until_ended(folder);
    }
}

fn usual_socket() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").ok();
    named.as_deref().and_then(|host| host.strip_prefix("unix://")).unwrap_or(USUAL).into()
}

/// A client of an engine that answers, with words that this engine understands.
async fn connect(socket: &Path) -> Result<Docker> {
    let name = socket.to_str().context("the engine's socket has a name that is not UTF-8")?;
    let docker = Docker::connect_with_unix(name, REQUEST, API_DEFAULT_VERSION)?;
    let asked = tokio::time::timeout(ANSWER, docker.negotiate_version()).await;
    let docker = asked.with_context(|| format!("{name} does not answer"))?;
    docker.with_context(|| format!("engine at {name}"))
}
