//! The `docker-registry` program: configuration, password file, start and end.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The Debian package's program.
const PROGRAM: &str = "docker-registry";

/// Longest wait for the port to open; it takes some 50 ms.
const PATIENCE: Duration = Duration::from_secs(15);

/// Another process may take the free port before the registry does: then another port is tried.
const ATTEMPTS: u32 = 5;

/// A registry did not start, or an image did not get into it.
#[derive(Debug, thiserror::Error)]
#[error("registry: {0}")]
pub struct RegistryError(pub String);

impl RegistryError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |fault| Self(format!("{path}: {fault}"))
    }
}

/// A running registry; ended when dropped.
#[derive(Debug)]
pub struct RegistryProcess {
    addr: SocketAddr,
    // Held for its end: tokio stops the program when this is dropped.
    child: Child,
}

impl RegistryProcess {
    /// Starts a registry whose files lie in `dir`, for one user.
    ///
    /// # Errors
    /// When files cannot be written, the program is missing, or its port does not open.
    pub async fn start(dir: &Path, user: &str, password: &str) -> Result<Self, RegistryError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(RegistryError::at(dir))?;
        write_passwords(dir, user, password)?;
        for attempt in 1.. {
            let addr = free_port().map_err(|e| RegistryError(format!("a free port: {e}")))?;
            match Self::start_at(dir, addr).await {
                Err(fault) if attempt == ATTEMPTS || fault.0.contains("apt-get") => return Err(fault),
                Err(_) => {}
                started => return started,
            }
        }
        Err(RegistryError("no free port".to_owned()))
    }

    async fn start_at(dir: &Path, addr: SocketAddr) -> Result<Self, RegistryError> {
        let config = dir.join("config.yml");
        fs::write(&config, configuration(dir, addr)).map_err(RegistryError::at(&config))?;
        let log_path = dir.join("registry.log");
        let log = File::create(&log_path).map_err(RegistryError::at(&log_path))?;
        let errors = log.try_clone().map_err(RegistryError::at(&log_path))?;
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            // Nothing of ours may change its configuration: it reads REGISTRY_* variables.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|fault| match fault.kind() {
                io::ErrorKind::NotFound => {
                    RegistryError(format!("{PROGRAM} is not installed: apt-get install docker-registry"))
                }
                _ => RegistryError(format!("{PROGRAM}: {fault}")),
            })?;
        let mut registry = Self { addr, child };
        registry.ready(&log_path).await?;
        Ok(registry)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process's id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it and waits until it is gone.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn stop(mut self) -> Result<(), RegistryError> {
        self.child.kill().await.map_err(|fault| RegistryError(format!("{PROGRAM}: {fault}")))
    }

    /// The port answers and the program still runs: else the answer was another program's.
    async fn ready(&mut self, log: &Path) -> Result<(), RegistryError> {
        let opened = tokio::time::timeout(PATIENCE, async {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            loop {
                pause.tick().await;
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(RegistryError(format!("{PROGRAM} ended ({status}): {}", last_line(log))));
                }
                if TcpStream::connect(self.addr).await.is_ok() {
                    return Ok(());
                }
            }
        });
        match opened.await {
            Ok(answer) => answer,
            Err(_) => Err(RegistryError(format!("{PROGRAM} at {}: its port does not open", self.addr))),
        }
    }
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("its log is empty").to_owned()
}

/// JSON is YAML, and needs no care with quoting.
fn configuration(dir: &Path, addr: SocketAddr) -> String {
    json!({
        "version": "0.1",
        "log": { "level": "warn" },
        "storage": {
            "filesystem": { "rootdirectory": dir.join("storage") },
            "delete": { "enabled": true }
        },
        "http": { "addr": addr.to_string(), "relativeurls": true },
        "auth": { "htpasswd": { "realm": "lab", "path": dir.join("htpasswd") } }
    })
    .to_string()
}

/// The registry takes bcrypt only. The lowest cost will do: the password lives as long as the lab, beside the file.
fn write_passwords(dir: &Path, user: &str, password: &str) -> Result<PathBuf, RegistryError> {
    let hash = bcrypt::hash(password, 4).map_err(|fault| RegistryError(format!("password's hash: {fault}")))?;
    let path = dir.join("htpasswd");
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = open.and_then(|mut file| writeln!(file, "{user}:{hash}"));
    written.map_err(RegistryError::at(&path))?;
    Ok(path)
}
