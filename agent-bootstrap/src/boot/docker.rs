//! Docker's daemon: its `daemon.json`, a restart where that changed, and that it answers before agents start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::files::{self, AGENT_USER, Owner};
use super::settings::DockerSettings;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::units::Machine;

const SERVICE: &str = "docker.service";

/// Ids that containers' users other than root get outside of them.
const SUBORDINATE: &str = "100000:65536";

/// Longest wait for one answer of the daemon, in seconds.
const PATIENCE: u64 = 5;

/// Does this instance have a Docker daemon of its own?
#[must_use]
pub fn is_installed(layout: &Layout) -> bool {
    ["usr/bin/dockerd", "usr/sbin/dockerd"].iter().any(|path| layout.root().join(path).exists())
}

/// The daemon has to be restarted: its files changed, or its folder lies elsewhere now. The next boot makes up for a
/// restart that was cut off.
///
/// # Errors
/// When that cannot be kept in mind.
pub fn owe_restart(layout: &Layout) -> Result<(), Failure> {
    files::folder(&layout.run(), 0o755, Owner::own())?;
    files::file(&owed(layout), b"", 0o644, Owner::own())
}

fn owed(layout: &Layout) -> PathBuf {
    layout.run().join("docker-restart")
}

/// Writes what the settings say into `daemon.json`, and restarts the daemon if it has to. Not beside running agents:
/// their jobs may have containers.
///
/// # Errors
/// The file is no JSON object, something cannot be written, or the restart fails.
pub async fn configure(
    layout: &Layout,
    machine: &dyn Machine,
    settings: &DockerSettings,
    storage: Option<&Path>,
    agents_run: bool,
) -> Result<(), Failure> {
    if !is_installed(layout) {
        if settings.is_empty() {
            return Ok(());
        }
        return Err(Failure::config(
            "the docker-… settings: this image has no Docker; remove them, or install it",
        ));
    }
    let path = layout.root().join("etc/docker/daemon.json");
    let before = read(&path)?;
    let mut after = before.clone();
    after.extend(wanted(settings, storage));
    if after != before {
        if settings.userns_remap == Some(true) {
            map_users(layout)?;
        }
        owe_restart(layout)?;
        files::folder(path.parent().unwrap_or(layout.root()), 0o755, Owner::own())?;
        let text = serde_json::to_string_pretty(&after).map_err(|e| Failure::failed(e.to_string()))?;
        files::file(&path, format!("{text}\n").as_bytes(), 0o644, Owner::own())?;
    }
    let owed = owed(layout);
    if owed.exists() && agents_run {
        eprintln!("boot: docker: what changed counts from the next reboot: agents run here");
    } else if owed.exists() {
        machine.restart(SERVICE).await?;
        std::fs::remove_file(&owed).map_err(|e| Failure::failed(format!("{}: {e}", owed.display())))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
    };
    serde_json::from_str(&text)
        .map_err(|e| Failure::config(format!("{}: {e}; correct it in the image", path.display())))
}

/// The daemon's keys that the settings decide.
fn wanted(settings: &DockerSettings, storage: Option<&Path>) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut set = |name: &str, value: Value| keys.insert(name.to_owned(), value);
    if let Some(remap) = settings.userns_remap {
        set("userns-remap", json!(if remap { AGENT_USER } else { "" }));
    }
    if !settings.address_pools.is_empty() {
        let pools = settings.address_pools.iter().map(|p| json!({ "base": p.base, "size": p.size }));
        set("default-address-pools", pools.collect());
    }
    let on_storage = || storage.map(|at| at.join("docker").to_string_lossy().into_owned());
    if let Some(root) = settings.data_root.clone().or_else(on_storage) {
        set("data-root", json!(root));
    }
    if let Some(experimental) = settings.experimental {
        set("experimental", json!(experimental));
    }
    keys
}

/// Root in a container is the agents' user outside, so that jobs can remove what containers left; all others are
/// users that nobody else has.
fn map_users(layout: &Layout) -> Result<(), Failure> {
    let passwd = layout.root().join("etc/passwd");
    let text = std::fs::read_to_string(&passwd)
        .map_err(|e| Failure::failed(format!("{}: {e}", passwd.display())))?;
    let ids = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == AGENT_USER).then_some(())?;
        Some((fields.nth(1)?.to_owned(), fields.next()?.to_owned()))
    });
    let (user, group) = ids.ok_or_else(|| {
        Failure::config(format!("docker-userns-remap: there is no user {AGENT_USER}; add it to the image"))
    })?;
    for (name, id) in [("subuid", user), ("subgid", group)] {
        let path = layout.root().join("etc").join(name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let others = before.lines().filter(|line| !line.starts_with(&format!("{AGENT_USER}:")));
        let mut lines = vec![format!("{AGENT_USER}:{id}:1"), format!("{AGENT_USER}:{SUBORDINATE}")];
        lines.extend(others.map(str::to_owned));
        files::file(&path, format!("{}\n", lines.join("\n")).as_bytes(), 0o644, Owner::own())?;
    }
    Ok(())
}

/// The daemon's version, as soon as it answers; `None` where there is no daemon.
///
/// # Errors
/// It does not answer: it may still come.
pub async fn version(layout: &Layout) -> Result<Option<String>, Failure> {
    if !is_installed(layout) {
        return Ok(None);
    }
    let socket = layout.docker_socket();
    let dead = |e: &dyn std::fmt::Display| {
        Failure::unavailable(format!(
            "Docker does not answer on {}: {e}; see `journalctl -u docker`",
            socket.display()
        ))
    };
    let engine =
        bollard::Docker::connect_with_unix(&socket.to_string_lossy(), PATIENCE, bollard::API_DEFAULT_VERSION)
            .map_err(|e| dead(&e))?;
    let answer = tokio::time::timeout(Duration::from_secs(PATIENCE), engine.version()).await;
    let answer = answer.map_err(|e| dead(&e))?.map_err(|e| dead(&e))?;
    Ok(answer.version)
}
