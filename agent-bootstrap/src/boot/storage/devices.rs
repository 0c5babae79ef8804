//! The instance's disks, as `lsblk` and `blkid` see them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::decide::Device;
use crate::failure::Failure;

/// What disks of instance storage call themselves.
const MODEL: &str = "Amazon EC2 NVMe Instance Storage";

/// The disks of instance storage, by path.
///
/// # Errors
/// When they cannot be looked at.
pub async fn instance_disks() -> Result<Vec<Device>, Failure> {
    let listed = lsblk(&[]).await?;
    let mut disks = Vec::new();
    for disk in listed.iter().filter(|d| d["model"].as_str().map(str::trim) == Some(MODEL)) {
        disks.push(device(disk).await?);
    }
    disks.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(disks)
}

/// One device by its path, whatever it calls itself.
///
/// # Errors
/// When it cannot be looked at.
pub async fn look(path: &str) -> Result<Device, Failure> {
    match lsblk(&[path]).await?.first() {
        Some(found) => device(found).await,
        None => Err(Failure::failed(format!("lsblk: no device {path}"))),
    }
}

async fn lsblk(devices: &[&str]) -> Result<Vec<Value>, Failure> {
    let mut arguments = vec!["--json", "--output", "PATH,TYPE,MODEL,MOUNTPOINTS"];
    arguments.extend(devices);
    let (_, text) = output("lsblk", &arguments).await?;
    let mut listed: Value =
        serde_json::from_str(&text).map_err(|e| Failure::failed(format!("lsblk: {e}; it said {text:?}")))?;
    match listed["blockdevices"].take() {
        Value::Array(devices) => Ok(devices),
        _ => Err(Failure::failed(format!("lsblk lists no devices: {text:?}"))),
    }
}

/// The content comes from the device itself: what udev knows may be older.
async fn device(listed: &Value) -> Result<Device, Failure> {
    let path = listed["path"].as_str().unwrap_or_default().to_owned();
    let mounted = listed["mountpoints"].as_array().into_iter().flatten();
    let mounted = mounted.filter_map(Value::as_str).map(Into::into).collect();
    let is_array = listed["type"].as_str().is_some_and(|t| t.starts_with("raid"));
    let content = content(&path).await?;
    let mut parts = Vec::new();
    for part in listed["children"].as_array().into_iter().flatten() {
        parts.push(Box::pin(device(part)).await?);
    }
    Ok(Device { path, content, mounted, parts, is_array })
}

/// Every signature counts, a partition table's too; two of them at once are not blank either.
async fn content(path: &str) -> Result<Option<String>, Failure> {
    let (status, text) = output("blkid", &["--probe", "--output", "export", path]).await?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    match status {
        0 => Ok(Some(
            value("TYPE=").or_else(|| value("PTTYPE=")).unwrap_or_else(|| "something unknown".to_owned()),
        )),
        2 => Ok(None),
        8 => Ok(Some("several things at once".to_owned())),
        other => Err(Failure::failed(format!("blkid of {path} ended with exit status {other}"))),
    }
}

async fn output(program: &str, arguments: &[&str]) -> Result<(i32, String), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| Failure::failed(format!("{program}: {e}; the image lacks it")))?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Is one folder mounted over the other?
///
/// # Errors
/// When one of them cannot be looked at.
pub fn is_same_folder(one: &Path, other: &Path) -> Result<bool, Failure> {
    let identity = |path: &Path| {
        let found = path.metadata().map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        Ok::<_, Failure>((found.dev(), found.ino()))
    };
    Ok(identity(one)? == identity(other)?)
}
