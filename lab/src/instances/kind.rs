//! The kinds of instances behind one face.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::containers::ContainerInstances;
use super::processes::ProcessInstances;
use super::{Instances, programs};
use crate::bake::bake;
use crate::engine::{Engine, folder_beside};
use crate::imds::Notices;

/// What kind a lab has.
#[derive(Debug, Clone, Default)]
pub enum InstanceKind {
    /// Processes of this machine: no Docker, no privileges.
    #[default]
    Processes,
    /// Containers of this engine, with systemd and an AMI's files.
    Containers(Engine),
}

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// Containers where there is an engine or one can be started, processes elsewhere
    Auto,
    /// Processes of this machine: no Docker, no privileges
    Processes,
    /// Containers with systemd, on a Docker engine
    Containers,
}

impl Wanted {
    /// The kind that is possible, with an AMI baked on its engine. `say` hears what takes long, and why there are no
    /// containers.
    ///
    /// # Errors
    /// Containers are asked for, and there is no engine, or the AMI cannot be baked.
    pub async fn choose(self, say: impl Fn(&str) + Sync) -> Result<InstanceKind> {
        if self == Self::Processes {
            return Ok(InstanceKind::Processes);
        }
        let programs = programs()?;
        let found = async {
            let engine = Engine::find(&folder_beside(&programs)).await?;
            bake(&engine, &programs, &say).await?;
            anyhow::Ok(engine)
        };
        match found.await {
            Ok(engine) => Ok(InstanceKind::Containers(engine)),
            Err(error) if self == Self::Auto => {
                say(&format!("no container instances: {error:#}"));
                Ok(InstanceKind::Processes)
            }
            Err(error) => Err(error.context("container instances")),
        }
    }
}

impl std::fmt::Display for InstanceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Processes => f.write_str("process instances"),
            Self::Containers(engine) if engine.is_own() => {
                f.write_str("container instances on a Docker engine of the lab's own")
            }
            Self::Containers(engine) => {
                write!(f, "container instances on the Docker engine at {}", engine.socket().display())
            }
        }
    }
}

/// The instances of a lab.
#[derive(Clone)]
pub enum LabInstances {
    /// As processes.
    Processes(Arc<ProcessInstances>),
    /// As containers.
    Containers(Arc<ContainerInstances>),
}

impl LabInstances {
    /// What the groups start and end instances with.
    #[must_use]
    pub fn port(&self) -> Arc<dyn Instances> {
        match self {
            Self::Processes(all) => Arc::clone(all) as Arc<dyn Instances>,
            Self::Containers(all) => Arc::clone(all) as Arc<dyn Instances>,
        }
    }

    /// The containers, where instances are such.
    #[must_use]
    pub fn containers(&self) -> Option<&ContainerInstances> {
        match self {
            Self::Processes(_) => None,
            Self::Containers(all) => Some(all),
        }
    }

    /// An instance's folder on this machine, with `console.log`; for a process also its root.
    #[must_use]
    pub fn folder(&self, id: &str) -> PathBuf {
        match self {
            Self::Processes(all) => all.folder(id),
            Self::Containers(all) => all.folder(id),
        }
    }

    /// What an instance has printed on its console.
    ///
    /// # Errors
    /// There was no such instance.
    pub fn console(&self, id: &str) -> std::io::Result<String> {
        let bytes = std::fs::read(self.folder(id).join("console.log"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The ids of the instances that run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        match self {
            Self::Processes(all) => all.running(),
            Self::Containers(all) => all.running(),
        }
    }

    /// The URL of an instance's metadata service, as this machine reaches it.
    #[must_use]
    pub fn metadata_url(&self, id: &str) -> Option<String> {
        match self {
            Self::Processes(all) => all.metadata_url(id),
            Self::Containers(all) => all.metadata_url(id),
        }
    }

    /// Changes what an instance's metadata service announces (spot notice, rebalance, maintenance). False when there
    /// is no such instance.
    pub fn notify(&self, id: &str, change: impl FnOnce(&mut Notices)) -> bool {
        match self {
            Self::Processes(all) => all.notify(id, change),
            Self::Containers(all) => all.notify(id, change),
        }
    }

    /// Ends all instances.
    pub async fn terminate_all(&self) {
        match self {
            Self::Processes(all) => all.terminate_all().await,
            Self::Containers(all) => all.terminate_all().await,
        }
    }
}
