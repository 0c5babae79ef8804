//! Instance storage: the instance type's own NVMe disks as one volume for Docker and builds. What is to be done is
//! decided from what is seen, so a boot that is run again, or was cut off, goes on where things stand.

pub mod decide;
pub mod devices;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::docker;
use super::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;
use decide::{Device, Filesystem, Step};

/// Where the volume is mounted, from the instance's root.
pub const MOUNT_POINT: &str = "mnt/instance-storage";

/// Makes and mounts the volume; its mount point, or `None` where the instance type has no such disks. The builds
/// folder lies on it from then on. Nothing is moved under running agents: beside them a
/// volume that is not mounted counts as none.
///
/// # Errors
/// A disk holds something that is no filesystem to be mounted; a tool is missing or fails.
pub async fn prepare(
    layout: &Layout,
    filesystem: Filesystem,
    agents_run: bool,
) -> Result<Option<PathBuf>, Failure> {
    let mount_point = layout.root().join(MOUNT_POINT);
    let disks = devices::instance_disks().await?;
    if disks.is_empty() {
        eprintln!(
            "boot: storage: this instance type has no instance storage; everything lies on the root volume"
        );
        return Ok(None);
    }
    if agents_run {
        if decide::is_mounted(&disks, &mount_point) {
            return Ok(Some(mount_point));
        }
        // Docker's data must not go to a folder that the volume hides after the next reboot.
        eprintln!("boot: storage: it counts from the next reboot: agents run here");
        return Ok(None);
    }
    if mount_volume(disks, &mount_point, filesystem).await? {
        docker::owe_restart(layout)?;
    }
    let builds = mount_point.join("builds");
    files::folder(&builds, 0o755, Owner::of_agents())?;
    files::folder(&layout.builds(), 0o755, Owner::of_agents())?;
    if !devices::is_same_folder(&builds, &layout.builds())? {
        tool("mount", &["--bind", &text(&builds), &text(&layout.builds())]).await?;
    }
    Ok(Some(mount_point))
}

/// Does what is to be done until the disks are one mounted volume; did it do anything?
async fn mount_volume(
    mut disks: Vec<Device>,
    mount_point: &Path,
    filesystem: Filesystem,
) -> Result<bool, Failure> {
    let paths: Vec<String> = disks.iter().map(|d| d.path.clone()).collect();
    let mut did = false;
    loop {
        let steps = decide::decide(&disks, mount_point, filesystem).map_err(Failure::config)?;
        files::folder(mount_point, 0o755, Owner::own())?;
        for step in &steps {
            carry_out(step, mount_point).await?;
        }
        did |= !steps.is_empty();
        // What lies on an array is seen only once it is put together.
        if !matches!(steps.as_slice(), [Step::Assemble(_)]) {
            return Ok(did);
        }
        disks = futures::future::try_join_all(paths.iter().map(|path| devices::look(path))).await?;
    }
}

/// One step of the plan.
async fn carry_out(step: &Step, mount_point: &Path) -> Result<(), Failure> {
    eprintln!("boot: storage: {step}");
    match step {
        Step::Stripe(disks) => {
            let count = disks.len().to_string();
            let mut arguments =
                vec!["--create", decide::ARRAY, "--run", "--level=0", "--raid-devices", &count];
            arguments.extend(disks.iter().map(String::as_str));
            tool("mdadm", &arguments).await
        }
        Step::Assemble(disks) => {
            let mut arguments = vec!["--assemble", decide::ARRAY];
            arguments.extend(disks.iter().map(String::as_str));
            tool("mdadm", &arguments).await
        }
        Step::Format(device, filesystem) => format(device, *filesystem).await,
        Step::Mount(device) => tool("mount", &["-o", "noatime", device, &text(mount_point)]).await,
    }
}

/// mkfs asks nobody where it has no terminal, so the device is looked at once more.
async fn format(device: &str, filesystem: Filesystem) -> Result<(), Failure> {
    let seen = devices::look(device).await?;
    if seen.content.is_some() || !seen.parts.is_empty() {
        return Err(Failure::config(decide::foreign(&seen, seen.content.as_deref().unwrap_or("partitions"))));
    }
    match filesystem {
        Filesystem::Ext4 => tool("mkfs.ext4", &["-q", "-E", "nodiscard", "-L", decide::LABEL, device]).await,
        Filesystem::Xfs => tool("mkfs.xfs", &["-q", "-K", "-L", decide::LABEL, device]).await,
    }
}

async fn tool(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| Failure::failed(format!("{program}: {e}; the image lacks it")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(Failure::failed(format!("{program} {}: {said}", arguments.join(" "))))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
