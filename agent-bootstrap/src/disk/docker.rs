//! The Docker engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{
    PruneBuildOptionsBuilder, PruneContainersOptionsBuilder, PruneImagesOptionsBuilder,
    PruneNetworksOptionsBuilder, PruneVolumesOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::engine::Engine;

/// Pruning many images takes minutes.
const PATIENCE: u64 = 900;

/// The engine behind a socket.
#[derive(Debug)]
pub struct DockerEngine {
    socket: PathBuf,
    docker: OnceCell<Docker>,
}

impl DockerEngine {
    /// The engine behind this socket; it need not answer yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), docker: OnceCell::new() }
    }

    /// A client that speaks the engine's own version.
    async fn docker(&self) -> Result<&Docker, String> {
        let connect = || async {
            let socket = self.socket.to_string_lossy();
            let docker = Docker::connect_with_unix(&socket, PATIENCE, API_DEFAULT_VERSION);
            docker.map_err(failed("connect"))?.negotiate_version().await.map_err(failed("version"))
        };
        self.docker.get_or_try_init(connect).await
    }
}

impl Engine for DockerEngine {
    async fn data_root(&self) -> Result<PathBuf, String> {
        let info = self.docker().await?.info().await.map_err(failed("info"))?;
        info.docker_root_dir.map(PathBuf::from).ok_or_else(|| "Docker: it names no data root".to_owned())
    }

    async fn prune_old(&self, before: Timestamp, cache: bool) -> Result<u64, String> {
        let docker = self.docker().await?;
        let made = filters(&[("until", before.as_second().to_string())]);
        let options = PruneContainersOptionsBuilder::new().filters(&made).build();
        let containers =
            docker.prune_containers(Some(options)).await.map_err(failed("prune of containers"))?;
        let options = PruneNetworksOptionsBuilder::new().filters(&made).build();
        docker.prune_networks(Some(options)).await.map_err(failed("prune of networks"))?;
        if !cache {
            return Ok(sum(&[containers.space_reclaimed]));
        }
        // For build cache the time since its last use, and not a time.
        let unused = Timestamp::now().duration_since(before).as_secs().max(0);
        let unused = filters(&[("until", format!("{unused}s"))]);
        let options = PruneBuildOptionsBuilder::new().all(true).filters(&unused).build();
        let cache = docker.prune_build(Some(options)).await.map_err(failed("prune of build cache"))?;
        Ok(sum(&[containers.space_reclaimed, cache.space_reclaimed]))
    }

    async fn prune_unused(&self, before: Timestamp) -> Result<u64, String> {
        let docker = self.docker().await?;
        // Not only those without a name.
        let made = filters(&[("until", before.as_second().to_string()), ("dangling", "false".to_owned())]);
        let options = PruneImagesOptionsBuilder::new().filters(&made).build();
        let images = docker.prune_images(Some(options)).await.map_err(failed("prune of images"))?;
        let volumes = docker.prune_volumes(None::<PruneVolumesOptions>).await;
        let volumes = volumes.map_err(failed("prune of volumes"))?;
        Ok(sum(&[images.space_reclaimed, volumes.space_reclaimed]))
    }
}

fn filters(pairs: &[(&str, String)]) -> HashMap<String, Vec<String>> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![value.clone()])).collect()
}

fn sum(bytes: &[Option<i64>]) -> u64 {
    bytes.iter().filter_map(|bytes| u64::try_from(bytes.unwrap_or(0)).ok()).sum()
}

fn failed(what: &'static str) -> impl Fn(bollard::errors::Error) -> String {
    move |error| format!("Docker: {what}: {error}")
}
