//! The stack's own script: runs as root before any agent, once on an instance.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::files::{self, Owner};
use super::identity::Identity;
use super::reference::Reference;
use crate::failure::Failure;
use crate::layout::Layout;

/// Larger ones are archives: let the script fetch them.
pub const MOST_BYTES: usize = 1024 * 1024;

/// Was it run?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// To its good end.
    Now,
    /// By an earlier boot of this instance.
    Before,
}

/// Runs the script, unless this instance ran the very same one to its end before: a reboot does not run it again, and
/// one that was cut off does.
///
/// # Errors
/// It is no script, or it did not end well.
pub async fn run(
    layout: &Layout,
    identity: &Identity,
    from: &Reference,
    script: &[u8],
) -> Result<Ran, Failure> {
    if !script.starts_with(b"#!") {
        return Err(Failure::config(format!(
            "{from} is no script: begin it with a line such as #!/bin/bash"
        )));
    }
    let mark = format!("{} {}\n", identity.instance_id, hex::encode(Sha256::digest(script)));
    let marker = layout.state().join("bootstrap-script.done");
    if std::fs::read_to_string(&marker).is_ok_and(|text| text == mark) {
        return Ok(Ran::Before);
    }
    let program = layout.state().join("bootstrap-script");
    files::file(&program, script, 0o700, Owner::own())?;
    execute(layout, identity, from, program).await?;
    files::file(&marker, mark.as_bytes(), 0o644, Owner::own())?;
    Ok(Ran::Now)
}

async fn execute(
    layout: &Layout,
    identity: &Identity,
    from: &Reference,
    program: PathBuf,
) -> Result<(), Failure> {
    let mut child = Command::new(program)
        .current_dir(layout.root())
        .env("AWS_REGION", &identity.region)
        .env("AWS_DEFAULT_REGION", &identity.region)
        .stdin(Stdio::null())
        // stdout is for the machine; people read what the script says where they read about the boot.
        .stdout(std::io::stderr())
        .process_group(0)
        .spawn()
        .map_err(|e| Failure::failed(format!("start of {from}: {e}")))?;
    let mut group = ProcessGroup(child.id());
    let status = child.wait().await.map_err(|e| Failure::failed(format!("{from}: {e}")))?;
    match (status.code(), status.signal()) {
        (Some(0), _) => {
            group.0 = None;
            Ok(())
        }
        (Some(code), _) => {
            Err(Failure::failed(format!("{from} ended with exit status {code}; its output is above")))
        }
        (None, signal) => Err(Failure::failed(format!(
            "{from} was ended by signal {}; its output is above",
            signal.unwrap_or_default()
        ))),
    }
}

/// A script that is given up takes all it started with it; one that ended well may leave services behind.
struct ProcessGroup(Option<u32>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
