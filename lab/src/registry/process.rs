//! The `docker-registry` program: configuration, password file, start.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::children::{Child, Helper};

/// The Debian package's program.
const PROGRAM: &str = "docker-registry";

/// How long it may take until it listens; some 50 ms are usual.
const START: Duration = Duration::from_secs(60);

/// A supervisor's exit status for a program that does not exist.
const NO_SUCH_PROGRAM: i32 = 127;

/// Starts a registry for one user, its files in `dir`, on a free port of 127.0.0.1, and waits until it listens.
///
/// # Errors
/// When its files cannot be written, the program is missing (the message names the package), or it ends or stays
/// silent; its last line is told.
pub async fn start(dir: &Path, user: &str, password: &str) -> Result<(SocketAddr, Child)> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("start {PROGRAM}: folder {}", dir.display()))?;
    write_passwords(&dir.join("htpasswd"), user, password)?;
    let config = dir.join("config.yml");
    std::fs::write(&config, configuration(dir))
        .with_context(|| format!("start {PROGRAM}: write {}", config.display()))?;
    let log = dir.join("registry.log");
    let begin = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut helper = Helper::new(PROGRAM, dir, &log).args(["serve"]).args([&config]);
    // It takes REGISTRY_* variables for configuration; none of ours may be one.
    helper.clean_environment = true;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut child = helper.env("PATH", path).start()?;
    let deadline = tokio::time::Instant::now() + START;
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        pause.tick().await;
        let text = read_from(&log, begin);
        if let Some(addr) = announced(&text) {
            return Ok((addr, child));
        }
        match child.ended()? {
            Some(NO_SUCH_PROGRAM) => bail!("start {PROGRAM}: not installed: run `make setup`"),
            Some(code) => {
                let last = text.lines().last().unwrap_or("no output");
                bail!("start {PROGRAM}: it ended with {code}: {last} (log: {})", log.display())
            }
            None if tokio::time::Instant::now() > deadline => {
                bail!("start {PROGRAM}: silent for {} s (log: {})", START.as_secs(), log.display())
            }
            None => {}
        }
    }
}

fn read_from(log: &Path, begin: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let begin = usize::try_from(begin).unwrap_or(0).min(bytes.len());
    String::from_utf8_lossy(&bytes[begin..]).into_owned()
}

/// The address in its log, written once the socket listens.
fn announced(log: &str) -> Option<SocketAddr> {
    let (_, after) = log.split_once("listening on ")?;
    after.split_once(['"', ',', ' ', '\n'])?.0.parse().ok()
}

/// JSON is YAML, and needs no care with quoting. Port 0: the system chooses, and nobody can take it in between.
fn configuration(dir: &Path) -> String {
    json!({
        "version": "0.1",
        "log": { "level": "info", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": dir.join("storage") },
            "delete": { "enabled": true }
        },
        "http": { "addr": "127.0.0.1:0", "relativeurls": true },
        "auth": { "htpasswd": { "realm": "lab", "path": dir.join("htpasswd") } }
    })
    .to_string()
}

/// The registry takes bcrypt only. The lowest cost will do: the password is the lab's own, and does not outlive it.
fn write_passwords(path: &Path, user: &str, password: &str) -> Result<()> {
    let hash = bcrypt::hash(password, 4).context("start docker-registry: hash of the password")?;
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| writeln!(file, "{user}:{hash}"))
        .with_context(|| format!("start {PROGRAM}: write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_whole_word() {
        let line = r#"time="t" level=info msg="listening on 127.0.0.1:37665" go.version=go1.19.8"#;
        assert_eq!(announced(line), Some("127.0.0.1:37665".parse().unwrap()));
        assert_eq!(announced(r#"msg="listening on 127.0.0.1:376"#), None);
    }

    #[test]
    fn passwords_are_hashed_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        write_passwords(&path, "robot", "pa:ss").unwrap();
        let line = std::fs::read_to_string(&path).unwrap();
        assert!(line.starts_with("robot:$2") && !line.contains("pa:ss"), "{line}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
