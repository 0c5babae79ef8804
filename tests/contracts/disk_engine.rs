//! What the disk guard prunes: `FakeEngine`, and `DockerEngine` before a real engine of its own.

use std::path::PathBuf;

use agent_bootstrap::disk::docker::DockerEngine;
use agent_bootstrap::disk::engine::Engine;
use agent_bootstrap::disk::fake_engine::{FakeEngine, Kind, Thing};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions,
};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

/// An engine with an image that a stopped container is made of, and an image that none is.
trait Stage {
    type Engine: Engine;

    fn engine(&self) -> &Self::Engine;

    /// How many containers and images are there.
    async fn count(&self) -> (usize, usize);
}

struct Double(FakeEngine);

impl Double {
    async fn start() -> Option<Self> {
        let thing = |name: &str, kind, in_use| Thing {
            name: name.to_owned(),
            kind,
            in_use,
            made: Timestamp::now(),
            bytes: 1,
        };
        Some(Self(FakeEngine::with(vec![
            thing("container", Kind::Container, false),
            thing("image", Kind::Image, false),
        ])))
    }
}

impl Stage for Double {
    type Engine = FakeEngine;

    fn engine(&self) -> &FakeEngine {
        &self.0
    }

    async fn count(&self) -> (usize, usize) {
        let names = self.0.names();
        let count = |name: &str| names.iter().filter(|n| *n == name).count();
        (count("container"), count("image"))
    }
}

struct Real {
    adapter: DockerEngine,
    docker: Docker,
    _engine: lab::engine::Engine,
    _folder: tempfile::TempDir,
}

impl Real {
    /// Skipped where no engine of its own can be had: nobody else's is pruned for a test.
    async fn start() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("tm").tempdir().unwrap();
        let engine = match lab::engine::Engine::find(folder.path()).await {
            Ok(engine) if engine.is_own() => engine,
            Ok(_) => {
                eprintln!("SKIPPED: an engine answers here, and pruning it would take what is not ours");
                return None;
            }
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                return None;
            }
        };
        let docker = engine.docker().clone();
        // An image of nothing at all: an archive without entries.
        let options = CreateImageOptionsBuilder::new().from_src("-").repo("nothing").tag("1").build();
        let mut import =
            docker.create_image(Some(options), Some(bollard::body_full(vec![0; 1024].into())), None);
        while let Some(progress) = import.next().await {
            progress.unwrap();
        }
        let body = ContainerCreateBody {
            image: Some("nothing:1".to_owned()),
            cmd: Some(vec!["nothing".to_owned()]),
            ..ContainerCreateBody::default()
        };
        docker.create_container(None::<CreateContainerOptions>, body).await.unwrap();
        let adapter = DockerEngine::new(engine.socket());
        Some(Self { adapter, docker, _engine: engine, _folder: folder })
    }
}

impl Stage for Real {
    type Engine = DockerEngine;

    fn engine(&self) -> &DockerEngine {
        &self.adapter
    }

    async fn count(&self) -> (usize, usize) {
        let all = ListContainersOptionsBuilder::new().all(true).build();
        let containers = self.docker.list_containers(Some(all)).await.unwrap().len();
        (containers, self.docker.list_images(None::<ListImagesOptions>).await.unwrap().len())
    }
}

async fn prunes_what_is_unused_and_old(stage: impl Stage) {
    let engine = stage.engine();
    let (hour, soon) = (SignedDuration::from_hours(1), SignedDuration::from_secs(5));
    assert_eq!(stage.count().await, (1, 1));
    engine.prune_old(Timestamp::now() - hour, true).await.unwrap();
    engine.prune_unused(Timestamp::now() - hour).await.unwrap();
    assert_eq!(stage.count().await, (1, 1), "all of it is young");
    engine.prune_old(Timestamp::now() + soon, true).await.unwrap();
    assert_eq!(stage.count().await, (0, 1), "a container that does not run; images are left alone");
    engine.prune_unused(Timestamp::now() + soon).await.unwrap();
    assert_eq!(stage.count().await, (0, 0));
    assert!(engine.data_root().await.unwrap().is_absolute());
}

#[tokio::test]
async fn double() {
    prunes_what_is_unused_and_old(Double::start().await.unwrap()).await;
}

#[tokio::test]
async fn adapter() {
    let Some(stage) = Real::start().await else { return };
    let used = stage.docker.list_images(None::<ListImagesOptions>).await.unwrap();
    assert_eq!(used.len(), 1);
    // An image that a container is made of stays, however old.
    stage.adapter.prune_unused(Timestamp::now() + SignedDuration::from_secs(5)).await.unwrap();
    assert_eq!(stage.count().await, (1, 1));
    prunes_what_is_unused_and_old(stage).await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_a_fault() {
    let engine = DockerEngine::new(&PathBuf::from("/no/such/docker.sock"));
    let failed = engine.prune_old(Timestamp::now(), false).await.unwrap_err();
    assert!(failed.starts_with("Docker: "), "{failed}");
}
