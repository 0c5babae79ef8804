//! A container that systemd runs in, as it does on a machine.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bollard::body_try_stream;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, LogsOptionsBuilder,
    RestartContainerOptionsBuilder, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures::{Stream, StreamExt as _};

use super::{Engine, guard};

/// systemd's own word for "power off".
const POWER_OFF: &str = "SIGRTMIN+3";

/// `/etc/default/docker` of Debian's engine inside a container: it may neither forward packets nor make a bridge there.
pub const ENGINE_INSIDE: &str =
    "DOCKER_OPTS=\"--bridge=none --iptables=false --ip6tables=false --ip-forward=false\"\n";

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own, and nothing else.
    None,
    /// The machine's.
    Host,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ContainerOrder {
    /// Name of the container, unique on the engine.
    pub name: String,
    /// Host name inside.
    pub hostname: String,
    /// The image.
    pub image: String,
    /// Its network.
    pub network: Network,
    /// The first program, which becomes systemd.
    pub command: Vec<String>,
    /// Files and folders of this machine: `PATH-HERE:PATH-INSIDE[:ro]`.
    pub binds: Vec<String>,
}

/// A container of this lab. Its end is the lab's, at the latest.
#[derive(Debug, Clone)]
pub struct Container {
    engine: Engine,
    id: String,
}

impl Container {
    /// Makes and starts a container.
    ///
    /// # Errors
    /// The engine refuses, with its words.
    pub async fn start(engine: &Engine, order: ContainerOrder) -> Result<Self> {
        let name = order.name.clone();
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = body(engine, order);
        let made = engine.docker().create_container(Some(options), body).await;
        let id = made.with_context(|| format!("make container {name}"))?.id;
        let container = Self { engine: engine.clone(), id };
        let started = engine.docker().start_container(&container.id, None).await;
        if let Err(error) = started {
            container.remove().await?;
            return Err(error).with_context(|| format!("start container {name}"));
        }
        Ok(container)
    }

    /// The engine's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a command inside: exit status and all output.
    ///
    /// # Errors
    /// The container does not run, or the engine does not answer.
    pub async fn run(&self, command: &[&str]) -> Result<(i64, String)> {
        let docker = self.engine.docker();
        let options = CreateExecOptions {
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let what = || format!("run {} in container {}", command.join(" "), self.id);
        let exec = docker.create_exec(&self.id, options).await.with_context(what)?;
        let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec.id, None).await.with_context(what)?
        else {
            bail!("{}: no output", what());
        };
        let mut text = Vec::new();
        while let Some(part) = output.next().await {
            text.extend_from_slice(&part.with_context(what)?.into_bytes());
        }
        let ended = docker.inspect_exec(&exec.id).await.with_context(what)?;
        Ok((ended.exit_code.unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
    }

    /// The same, for a command that must succeed: its output.
    ///
    /// # Errors
    /// The command fails, with its output.
    pub async fn succeed(&self, command: &[&str]) -> Result<String> {
        let (status, text) = self.run(command).await?;
        ensure!(status == 0, "{} in container {}: exit status {status}: {text}", command.join(" "), self.id);
        Ok(text)
    }

    /// What systemd and its services write to the console, from the beginning and until the container ends.
    pub fn console(&self) -> impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + use<> {
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
        self.engine.docker().clone().logs(&self.id, Some(options))
    }

    /// Waits until systemd has started everything: its own word for how that went, `running` at best.
    ///
    /// # Errors
    /// The container has ended, or it takes longer than `patience`.
    pub async fn booted(&self, patience: Duration) -> Result<String> {
        let begun = Instant::now();
        loop {
            let asked = self.run(&["systemctl", "is-system-running"]).await;
            let state = asked.as_ref().map_or("", |(_, text)| text.trim());
            if matches!(state, "running" | "degraded" | "maintenance") {
                return Ok(state.to_owned());
            }
            ensure!(self.runs().await?, "container {}: it ended while booting", self.id);
            ensure!(begun.elapsed() < patience, "container {}: booting for too long: {state}", self.id);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Does it run?
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn runs(&self) -> Result<bool> {
        match self.engine.docker().inspect_container(&self.id, None).await {
            Ok(found) => Ok(found.state.and_then(|state| state.running).unwrap_or(false)),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("state of container {}", self.id)),
        }
    }

    /// Powers off and on again; what has not ended after `patience` loses its power.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn reboot(&self, patience: Duration) -> Result<()> {
        let options =
            RestartContainerOptionsBuilder::default().t(seconds(patience)).signal(POWER_OFF).build();
        let done = self.engine.docker().restart_container(&self.id, Some(options)).await;
        done.with_context(|| format!("reboot container {}", self.id))
    }

    /// Powers off; what has not ended after `patience` loses its power.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn power_off(&self, patience: Duration) -> Result<()> {
        let options = StopContainerOptionsBuilder::default().t(seconds(patience)).build();
        match self.engine.docker().stop_container(&self.id, Some(options)).await {
            Ok(())
            | Err(bollard::errors::Error::DockerResponseServerError { status_code: 304 | 404, .. }) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("power off container {}", self.id)),
        }
    }

    /// Keeps the container's files as an image.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn commit(&self, repository: &str, tag: &str) -> Result<()> {
        let options = CommitContainerOptionsBuilder::default()
            .container(&self.id)
            .repo(repository)
            .tag(tag)
            .pause(true)
            .build();
        let config = bollard::models::ContainerConfig::default();
        let made = self.engine.docker().commit_container(options, config).await;
        made.map(drop).with_context(|| format!("image {repository}:{tag} of container {}", self.id))
    }

    /// Copies what lies in a folder of this machine into one of the container.
    ///
    /// # Errors
    /// The engine refuses.
    pub(crate) async fn receive(&self, from: &Path, to: &str) -> Result<()> {
        let what = || format!("copy {} into container {}", from.display(), self.id);
        let mut tar = tokio::process::Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-c", "-C"]).arg(from).arg(".");
        let mut tar = tar.stdout(Stdio::piped()).kill_on_drop(true).spawn().with_context(what)?;
        let archive = tar.stdout.take().with_context(what)?;
        let body = body_try_stream(tokio_util::io::ReaderStream::with_capacity(archive, 1 << 20));
        let options = UploadToContainerOptionsBuilder::default().path(to).build();
        let docker = self.engine.docker();
        docker.upload_to_container(&self.id, Some(options), body).await.with_context(what)?;
        let packed = tar.wait().await.with_context(what)?;
        ensure!(packed.success(), "{}: tar: {packed}", what());
        Ok(())
    }

    /// Ends it at once and removes it. Harmless for one that is gone.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn remove(&self) -> Result<()> {
        guard::remove(self.engine.docker(), &self.id).await
    }
}

fn seconds(patience: Duration) -> i32 {
    i32::try_from(patience.as_secs()).unwrap_or(i32::MAX)
}

/// What systemd needs as the first process, see docs/lab-fidelity.md.
fn body(engine: &Engine, order: ContainerOrder) -> ContainerCreateBody {
    let tmpfs = |options: &str| options.to_owned();
    let (network, capabilities) = match order.network {
        Network::None => ("none", vec!["SYS_ADMIN".to_owned(), "NET_ADMIN".to_owned()]),
        // Nothing inside may change the machine's network.
        Network::Host => ("host", vec!["SYS_ADMIN".to_owned()]),
    };
    let mut binds = order.binds;
    binds.push("/sys/fs/cgroup:/sys/fs/cgroup:rw".to_owned());
    ContainerCreateBody {
        image: Some(order.image),
        hostname: (order.network == Network::None).then_some(order.hostname),
        entrypoint: Some(Vec::new()),
        cmd: Some(order.command),
        env: Some(vec!["container=docker".to_owned()]),
        tty: Some(true),
        stop_signal: Some(POWER_OFF.to_owned()),
        labels: Some(HashMap::from([(guard::LABEL.to_owned(), engine.owner().to_string())])),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            cap_add: Some(capabilities),
            security_opt: Some(vec!["seccomp=unconfined".to_owned(), "apparmor=unconfined".to_owned()]),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::HOST),
            cgroup_parent: engine.is_own().then(|| format!("/{}", guard::cgroup(engine.owner()))),
            binds: Some(binds),
            tmpfs: Some(HashMap::from([
                ("/run".to_owned(), tmpfs("exec,mode=755")),
                ("/run/lock".to_owned(), tmpfs("mode=1777")),
                ("/tmp".to_owned(), tmpfs("exec,mode=1777")),
            ])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
