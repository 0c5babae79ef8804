//! No container outlives its lab: a helper process removes them when the lab ends, however it ends; and what a crash of
//! the whole machine left is removed when the next lab starts.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::signal::unix::{SignalKind, signal};

use super::owner::Owner;
use super::{connect, own};
use crate::children::{Child, Helper, lab_program};

/// The hidden verb's name.
const VERB: &str = "guard-containers";
/// The label with the owner.
pub(super) const LABEL: &str = "tidemark.lab";
/// What the guard prints once it listens.
const READY: &str = "ready\n";
const START: Duration = Duration::from_secs(60);

/// Starts the guard of `owner`'s containers: it acts when this process drops it or ends.
pub(super) async fn start(folder: &Path, socket: &Path, owner: &Owner, own_engine: bool) -> Result<Child> {
    let log = tempfile::Builder::new().prefix("guard-").suffix(".log").tempfile_in(folder)?;
    let mut guard = Helper::new(lab_program()?, folder, log.path())
        .args([VERB.as_ref(), socket.as_os_str(), owner.to_string().as_ref()])
        .args(own_engine.then(|| own::users_file(folder)));
    // Other labs may use the engine after this one: nothing of this lab's surroundings belongs there.
    guard.clean_environment = true;
    let mut guard = guard.start()?;
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(log.path()).unwrap_or_default();
        if text.ends_with(READY) {
            return Ok(guard);
        }
        if guard.ended()?.is_some() || begun.elapsed() > START {
            bail!("guard of containers: {}", text.lines().last().unwrap_or("silent"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs as a guard when the command line says so; call it first in `main`.
pub fn guard_when_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    (args.next()?.to_str() == Some(VERB)).then(|| {
        let args: Vec<OsString> = args.collect();
        match run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lab: guard of containers: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}

fn run(args: &[OsString]) -> Result<()> {
    let [socket, owner, users @ ..] = args else { bail!("usage: lab {VERB} SOCKET OWNER [USERS]") };
    let owner = owner.to_str().and_then(Owner::parse).context("OWNER is not from a lab")?;
    // Held until this process ends: the engine stays until the containers are gone.
    let _in_use = users.first().map(|file| own::use_it(&PathBuf::from(file))).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let docker = connect(Path::new(socket)).await?;
        let mut end = signal(SignalKind::terminate())?;
        use std::io::Write as _;
        std::io::stdout().write_all(READY.as_bytes())?;
        std::io::stdout().flush()?;
        end.recv().await;
        remove_all(&docker, &owner).await
    })
}

/// Removes what ended labs have left.
pub(super) async fn sweep(docker: &Docker) -> Result<()> {
    for (_, owner) in containers(docker, LABEL).await? {
        if owner.has_ended() {
            remove_all(docker, &owner).await?;
        }
    }
    Ok(())
}

async fn remove_all(docker: &Docker, owner: &Owner) -> Result<()> {
    // A start that was on its way may still add one: look until there is none.
    loop {
        let left = containers(docker, &format!("{LABEL}={owner}")).await?;
        if left.is_empty() {
            remove_cgroups(&cgroup(owner));
            return Ok(());
        }
        let removals = left.iter().map(|(id, _)| remove(docker, id));
        futures::future::try_join_all(removals).await?;
    }
}

/// Ends a container and removes it with its volumes. Harmless for one that is gone or on its way.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        // 404: it is gone; 409: somebody else is at it.
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove container {id}")),
    }
}

/// Ids and owners of the containers with this label, ended ones too.
async fn containers(docker: &Docker, label: &str) -> Result<Vec<(String, Owner)>> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.context("list of containers")?;
    let of_labs = found.into_iter().filter_map(|container| {
        let owner = Owner::parse(container.labels?.get(LABEL)?)?;
        Some((container.id?, owner))
    });
    Ok(of_labs.collect())
}

/// The cgroup above an owner's containers on an engine of the lab's own, which leaves its parents behind.
pub(super) fn cgroup(owner: &Owner) -> String {
    format!("tidemark-lab-{owner}")
}

/// Removes this cgroup in every hierarchy. Only empty ones can be removed, and nothing waits for it: a failure leaves an
/// empty name.
fn remove_cgroups(name: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for root in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let _ = remove_tree(&root.join(name));
    }
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}
