//! Programs on this machine: which are there, and does Docker answer?

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The first executable file of that name in the folders of `path`.
#[must_use]
pub fn find(name: &str, path: &str) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

/// What `docker version` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerAnswer {
    /// The engine's version.
    Version(String),
    /// No client.
    NoProgram,
    /// The client's words, or ours.
    Failed(String),
}

/// An engine that hangs is as good as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the engine for its version.
pub async fn docker(path: &str) -> DockerAnswer {
    let Some(program) = find("docker", path) else { return DockerAnswer::NoProgram };
    let asked = Command::new(program)
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => DockerAnswer::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(fault)) => DockerAnswer::Failed(fault.to_string()),
        Ok(Ok(answer)) if answer.status.success() => {
            DockerAnswer::Version(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
        }
        Ok(Ok(answer)) => {
            let said = String::from_utf8_lossy(&answer.stderr);
            DockerAnswer::Failed(said.lines().next().unwrap_or("docker version failed").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_right() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tool"), "").unwrap();
        let path = format!("/absent:{}", dir.path().display());
        assert_eq!(find("tool", &path), None, "not executable");
        let rights = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("tool"), rights).unwrap();
        assert_eq!(find("tool", &path), Some(dir.path().join("tool")));
    }

    #[tokio::test]
    async fn docker_is_asked_and_its_absence_told_from_its_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(docker(path).await, DockerAnswer::NoProgram);
        for (script, expected) in [
            ("#!/bin/sh\necho 26.1", DockerAnswer::Version("26.1".into())),
            ("#!/bin/sh\necho Cannot connect >&2\nexit 1", DockerAnswer::Failed("Cannot connect".into())),
        ] {
            // Renamed into place: a file still open for writing cannot be started.
            std::fs::write(dir.path().join("new"), script).unwrap();
            let rights = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(dir.path().join("new"), rights).unwrap();
            std::fs::rename(dir.path().join("new"), dir.path().join("docker")).unwrap();
            assert_eq!(docker(path).await, expected);
        }
    }
}
