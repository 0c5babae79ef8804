//! One ssh-agent a job: started with the job's keys, stopped in pre-exit if, and only if, this job started it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::exports::Change;
use super::job_folder::JobFolder;
use crate::failure::Failure;
use crate::secrets::bundle::SshKey;

const RECORD: &str = "ssh-agent.json";
const PATIENCE: Duration = Duration::from_secs(10);
/// A unix socket's path has at most 107 bytes and a NUL; ssh-agent binds a name with a suffix first.
const LONGEST_SOCKET: usize = 90;

/// What the job folder remembers of the ssh-agent that was started for it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    socket: PathBuf,
    /// A folder of its own for the socket, where the job folder's path is too long for one.
    folder: Option<PathBuf>,
}

/// Starts an ssh-agent and adds all keys, in order.
///
/// # Errors
/// When it does not start, or does not take a key: with the key's object.
pub async fn start(job: &JobFolder, keys: &[SshKey]) -> Result<Vec<Change>, Failure> {
    let (socket, folder) = socket_path(job.path())?;
    let started = command("ssh-agent", &socket).arg("-s").arg("-a").arg(&socket).output();
    let output = within(started).await.map_err(|error| failed(&format!("ssh-agent: {error}")))?;
    let pid = pid_of(&String::from_utf8_lossy(&output.stdout));
    let Some(pid) = pid.filter(|_| output.status.success()) else {
        let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        return Err(failed(&format!("ssh-agent did not start: {words}")));
    };
    let record = serde_json::to_vec(&Record { pid, socket: socket.clone(), folder })
        .map_err(|error| failed(&format!("ssh-agent's record: {error}")))?;
    job.write(RECORD, &record)?;
    for key in keys {
        add(&socket, key).await?;
    }
    Ok(vec![
        Change::set("SSH_AUTH_SOCK", socket.to_string_lossy()),
        Change::set("SSH_AGENT_PID", pid.to_string()),
    ])
}

/// Stops the ssh-agent that this job's folder records. Nothing recorded, or already gone: nothing to do.
///
/// # Errors
/// When it is there and cannot be stopped.
pub fn stop(job: &JobFolder) -> Result<(), Failure> {
    let Some(record) = job.read(RECORD) else { return Ok(()) };
    let record: Record = serde_json::from_slice(&record)
        .map_err(|error| failed(&format!("{}: {error}", job.path().join(RECORD).display())))?;
    if is_that_agent(&record) {
        kill(Pid::from_raw(record.pid), Signal::SIGTERM)
            .map_err(|error| failed(&format!("stopping ssh-agent {}: {error}", record.pid)))?;
    }
    if let Some(folder) = record.folder {
        let _ = std::fs::remove_file(&record.socket);
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

/// Process ids are used again: only a process with this very socket on its command line is ours.
fn is_that_agent(record: &Record) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{}/cmdline", record.pid)) else { return false };
    let mut arguments = line.split(|b| *b == 0);
    let is_ssh_agent = arguments.next().is_some_and(|program| program.ends_with(b"ssh-agent"));
    let socket = record.socket.as_os_str().as_encoded_bytes();
    is_ssh_agent && record.pid > 1 && arguments.any(|argument| argument == socket)
}

async fn add(socket: &Path, key: &SshKey) -> Result<(), Failure> {
    let mut child = command("ssh-add", socket)
        .arg("-q")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&format!("ssh-add: {error}")))?;
    let stdin = child.stdin.take();
    let added = async {
        if let Some(mut stdin) = stdin {
            // An ssh-add that ends early says why by its exit.
            let _ = stdin.write_all(key.text.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = within(added).await.map_err(|error| failed(&format!("ssh-add for {}: {error}", key.uri)))?;
    if output.status.success() { Ok(()) } else { Err(damaged(key)) }
}

/// Does ssh-keygen read this key? Used by `secrets check`, which starts no agent.
///
/// # Errors
/// With the key's object.
pub async fn try_key(key: &SshKey) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| failed(&format!("a folder for a key: {error}")))?;
    let job = JobFolder::in_private_folder(folder.path());
    let path = job.write("key", key.text.as_bytes())?;
    let tried = command("ssh-keygen", Path::new("")).args(["-y", "-P", "", "-f"]).arg(path).output();
    let output = within(tried).await.map_err(|error| failed(&format!("ssh-keygen: {error}")))?;
    if output.status.success() { Ok(()) } else { Err(damaged(key)) }
}

fn damaged(key: &SshKey) -> Failure {
    Failure::config(format!(
        "secrets: SSH key {}: OpenSSH does not take it: it is damaged, or of a kind this OpenSSH does not know; \
         test it with ssh-keygen -y -f FILE and upload it again",
        key.uri
    ))
}

/// With an askpass program that fails, ssh-add never waits at a terminal.
fn command(program: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("SSH_AUTH_SOCK", socket)
        .env("SSH_ASKPASS", "/bin/false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env_remove("SSH_AGENT_PID")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn socket_path(job: &Path) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let socket = job.join("ssh-agent.sock");
    if socket.as_os_str().len() <= LONGEST_SOCKET {
        // Left over from a hook that ran before in the same job.
        let _ = std::fs::remove_file(&socket);
        return Ok((socket, None));
    }
    let folder = tempfile::Builder::new()
        .prefix("tidemark-ssh-")
        .tempdir_in("/tmp")
        .map_err(|error| failed(&format!("a folder for ssh-agent's socket in /tmp: {error}")))?
        .keep();
    Ok((folder.join("ssh-agent.sock"), Some(folder)))
}

fn pid_of(output: &str) -> Option<i32> {
    let (_, rest) = output.split_once("SSH_AGENT_PID=")?;
    rest.split(';').next()?.trim().parse().ok()
}

fn failed(what: &str) -> Failure {
    Failure::failed(format!("secrets: {what}; is openssh-client installed?"))
}

#[cfg(test)]
mod tests;
