//! A real sshd on loopback, with keys of its own. It runs as this user, root or not.
//!
//! One thing is outside its folder: as root, sshd refuses to start without the folder `/run/sshd`, which the
//! distribution's service makes; it is made here if it is not there.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::children::{Child, Helper};

/// The folder that sshd wants to find when it runs as root.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// A free port may be taken by someone else before sshd binds it: so often another one is tried.
const ATTEMPTS: u32 = 5;

/// Longest wait for the server's greeting.
const START: Duration = Duration::from_secs(60);

/// What visitors may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitors {
    /// Fetch and push, nothing else.
    Git,
    /// Run commands and copy files as this user: what Packer needs of a machine.
    Shell,
}

/// A running sshd.
#[derive(Debug)]
pub struct Sshd {
    folder: PathBuf,
    port: u16,
    user: String,
    child: Child,
}

impl Sshd {
    /// Starts one on a free port of 127.0.0.1, with its files in `folder`.
    ///
    /// # Errors
    /// When sshd is missing or does not start; the message names the log.
    pub async fn start(folder: &Path, visitors: Visitors) -> Result<Self> {
        let program = find("sshd", &["/usr/sbin", "/usr/local/sbin", "/sbin"])?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if Uid::effective().is_root() && !Path::new(PRIVILEGE_SEPARATION).exists() {
            std::fs::DirBuilder::new()
                .mode(0o755)
                .create(PRIVILEGE_SEPARATION)
                .with_context(|| format!("sshd: make {PRIVILEGE_SEPARATION}"))?;
        }
        let user = User::from_uid(Uid::effective())?.context("sshd: this user has no name")?.name;
        make_host_key(folder)?;
        private_file(&folder.join("authorized_keys"))?;
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            std::fs::write(folder.join("sshd_config"), configuration(folder, port, visitors)?)?;
            let config = folder.join("sshd_config");
            let helper = Helper::new(&program, folder, &folder.join("sshd.log"));
            let mut child =
                helper.args(["-D".as_ref(), "-e".as_ref(), "-f".as_ref(), config.as_os_str()]).start()?;
            if tokio::time::timeout(START, greets(port, &mut child)).await.unwrap_or(Ok(false))? {
                return Ok(Self { folder: folder.to_owned(), port, user, child });
            }
        }
        bail!("sshd does not start: see {}", folder.join("sshd.log").display())
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whom visitors log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Process id of its supervisor.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets the owner of a key in.
    ///
    /// # Errors
    /// When it is no public key's line.
    pub fn authorize(&self, public_key: &str) -> Result<()> {
        let key = public_key.trim();
        ensure!(!key.is_empty() && !key.contains(['\n', '\r']), "a public key is one line");
        writeln!(private_file(&self.folder.join("authorized_keys"))?, "restrict {key}")
            .context("authorize a key")
    }
}

fn private_file(path: &Path) -> Result<std::fs::File> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.with_context(|| format!("open {}", path.display()))
}

fn make_host_key(folder: &Path) -> Result<()> {
    let key = folder.join("host_key");
    if key.exists() {
        return Ok(());
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
        .arg(&key)
        .output();
    let made = made.context("run ssh-keygen: is openssh-client installed?")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr).trim());
    Ok(())
}

fn configuration(folder: &Path, port: u16, visitors: Visitors) -> Result<String> {
    let command = match visitors {
        Visitors::Git => {
            let git = find("git", &["/usr/local/bin", "/usr/bin", "/bin"])?;
            format!("ForceCommand {} shell -c \"$SSH_ORIGINAL_COMMAND\"\n", git.display())
        }
        Visitors::Shell => String::new(),
    };
    Ok(format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {folder}/host_key\n\
         AuthorizedKeysFile {folder}/authorized_keys\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         AllowTcpForwarding no\n\
         AllowAgentForwarding no\n\
         PermitTTY no\n\
         PrintMotd no\n\
         {command}",
        folder = folder.display(),
    ))
}

/// Waits for the server's greeting; false if it ended before.
async fn greets(port: u16, child: &mut Child) -> Result<bool> {
    loop {
        if child.ended()?.is_some() {
            return Ok(false);
        }
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let mut greeting = [0; 4];
            if stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"SSH-" {
                return Ok(true);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// sshd wants its own absolute path, and programs of `sbin` are not on everyone's PATH.
fn find(name: &str, more: &[&str]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(more.iter().map(PathBuf::from));
    let mut programs = folders.map(|folder| folder.join(name));
    programs
        .find(|program| program.is_file())
        .with_context(|| format!("{name} is not installed: run `make setup`"))
}
