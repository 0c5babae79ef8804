//! Git servers of the lab: a real sshd and git over HTTP with a password, both for the same bare repositories.
//!
//! Everything lies below one folder: `repositories/`, and `ssh/` with the host key, the authorized keys and the log.

mod http;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, bail, ensure};

use crate::sshd::{Sshd, Visitors};

/// Passwords by user name.
type Passwords = Arc<RwLock<BTreeMap<String, String>>>;

/// Both servers. Dropping it ends them.
#[derive(Debug)]
pub struct GitServers {
    folder: PathBuf,
    sshd: Sshd,
    http: http::GitHttp,
    passwords: Passwords,
}

impl GitServers {
    /// Starts both on free ports of 127.0.0.1, with their files in `folder`.
    ///
    /// # Errors
    /// When git or sshd is missing, or does not start; the message names the log.
    pub async fn start(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        std::fs::create_dir_all(folder.join("repositories"))
            .with_context(|| format!("git servers: make {}", folder.display()))?;
        let passwords = Passwords::default();
        let http = http::GitHttp::start(folder.join("repositories"), Arc::clone(&passwords)).await?;
        let sshd = Sshd::start(&folder.join("ssh"), Visitors::Git).await?;
        Ok(Self { folder, sshd, http, passwords })
    }

    /// A bare repository `name` with one commit of `files` (path, text) on `main`; or one more commit, if there is
    /// such a repository. The answer is the commit's id.
    ///
    /// # Errors
    /// When the name is no single folder name, or git fails.
    pub fn create_repo(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let bare = self.repository(name)?;
        if !bare.exists() {
            git(&self.folder, &["init", "-q", "--bare", "-b", "main", &bare.display().to_string()])?;
        }
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(&self.folder)?;
        git(work.path(), &["clone", "-q", &bare.display().to_string(), "."])?;
        for (path, text) in files {
            let file = work.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(work.path()))?;
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        git(work.path(), &["add", "-A"])?;
        git(work.path(), &["commit", "-q", "--allow-empty", "-m", "Files of the lab"])?;
        git(work.path(), &["push", "-q", "origin", "HEAD:main"])?;
        git(work.path(), &["rev-parse", "HEAD"])
    }

    /// Lets the holder of this key (one line, as in `id_ed25519.pub`) in over SSH.
    ///
    /// # Errors
    /// When the key is more than a line, or the file cannot be written.
    pub fn authorize_key(&self, public_key: &str) -> Result<()> {
        self.sshd.authorize(public_key)
    }

    /// Lets `user` in over HTTP with this password; an earlier one is void.
    pub fn set_password(&self, user: &str, password: &str) {
        let mut passwords = self.passwords.write().unwrap_or_else(PoisonError::into_inner);
        passwords.insert(user.to_owned(), password.to_owned());
    }

    /// `ssh://user@127.0.0.1:PORT/…/name.git`.
    ///
    /// # Errors
    /// When the name is no single folder name.
    pub fn ssh_url(&self, name: &str) -> Result<String> {
        let path = self.repository(name)?;
        Ok(format!("ssh://{}@127.0.0.1:{}{}", self.sshd.user(), self.sshd.port(), path.display()))
    }

    /// `http://127.0.0.1:PORT/name.git`.
    ///
    /// # Errors
    /// When the name is no single folder name.
    pub fn http_url(&self, name: &str) -> Result<String> {
        self.repository(name)?;
        Ok(format!("http://127.0.0.1:{}/{name}.git", self.http.port()))
    }

    /// Where the two listen: SSH, HTTP.
    #[must_use]
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.sshd.port(), self.http.port()].map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Process id of the SSH server's supervisor.
    #[must_use]
    pub fn sshd_pid(&self) -> Option<u32> {
        self.sshd.pid()
    }

    fn repository(&self, name: &str) -> Result<PathBuf> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        ensure!(
            !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(is_plain),
            "repository name {name:?}: use letters, digits, `-`, `_`, `.`"
        );
        Ok(self.folder.join("repositories").join(format!("{name}.git")))
    }
}

/// Runs git without the settings of this machine's user; the answer is its output.
fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    for (name, value) in [("NAME", "Lab"), ("EMAIL", "lab@example.com")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = command.args(args).current_dir(folder).output().context("run git: is it installed?")?;
    if !output.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
