//! What Packer builds an AMI on: a container from the base image that is reached by SSH, and that becomes an image.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::Engine;
use super::container::{Container, ContainerOrder, Network};

/// The images that AMIs are in the lab: `tidemark-ami:<ami-id>`.
pub const AMI: &str = "tidemark-ami";
/// The account of Debian's own AMI.
const USER: &str = "admin";
/// A container boots in a second; on a busy machine in some more.
const START: Duration = Duration::from_secs(60);

/// An sshd of the lab's own beside systemd. It and its key are in `/run`, which no image keeps; the image's own sshd, on
/// the machine's network here, and the services that packages would start there are held back. `$1` is the port, `$2`
/// the key that may come in.
const BEGIN: &str = r#"
set -e
mkdir -p /run/sshd /run/lab /run/systemd/system/multi-user.target.wants
printf '%s\n' "$2" > /run/lab/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /run/lab/host_key
cat > /run/systemd/system/lab-sshd.service <<UNIT
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /dev/null -p $1 -o ListenAddress=127.0.0.1 -o HostKey=/run/lab/host_key -o AuthorizedKeysFile=/run/lab/authorized_keys -o StrictModes=no -o UsePAM=yes -o PidFile=none -o Subsystem="sftp internal-sftp"
UNIT
ln -s ../lab-sshd.service /run/systemd/system/multi-user.target.wants/
mkdir /run/systemd/system/ssh.service.d
printf '[Unit]\nConditionPathExists=!/run/lab\n' > /run/systemd/system/ssh.service.d/lab.conf
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
exec /sbin/init
"#;

/// Free ports may be taken by someone else before sshd binds them: so often another one is tried.
const ATTEMPTS: u32 = 5;

/// A running build instance. It ends with [`BuildInstance::stop`], or with the lab.
#[derive(Debug)]
pub struct BuildInstance {
    container: Container,
    port: u16,
    key: PathBuf,
}

impl BuildInstance {
    /// Starts one from `image` (the base image, or an AMI's), with a new key in `folder`.
    ///
    /// # Errors
    /// It does not start, or its sshd does not answer.
    pub async fn start(engine: &Engine, image: &str, folder: &Path) -> Result<Self> {
        let key = folder.join("build-key");
        let public = make_key(&key).await?;
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let name = format!("tidemark-build-{}", uuid::Uuid::new_v4().simple());
            let words = ["/bin/sh", "-c", BEGIN, "begin", &port.to_string(), &public];
            let order = ContainerOrder {
                hostname: name.clone(),
                name,
                image: image.to_owned(),
                network: Network::Host,
                command: words.iter().map(|word| (*word).to_owned()).collect(),
                binds: Vec::new(),
            };
            let container = Container::start(engine, order).await?;
            match greets(&container, port).await {
                Ok(true) => return Ok(Self { container, port, key }),
                Ok(false) => container.remove().await?,
                Err(error) => {
                    container.remove().await?;
                    return Err(error);
                }
            }
        }
        bail!("build instance: no free port in {ATTEMPTS} attempts")
    }

    /// Packer's `ssh_username`; may use sudo.
    #[must_use]
    pub fn ssh_user(&self) -> &'static str {
        USER
    }

    /// Packer's `ssh_host`.
    #[must_use]
    pub fn ssh_host(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    /// Packer's `ssh_port`.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.port
    }

    /// Packer's `ssh_private_key_file`.
    #[must_use]
    pub fn ssh_key(&self) -> &Path {
        &self.key
    }

    /// The container itself.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Keeps what has been built as the image of this AMI: instances of it boot from now on.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn become_ami(&self, ami: &str) -> Result<()> {
        // What held services back here is not the image's.
        self.container.succeed(&["rm", "-f", "/usr/sbin/policy-rc.d"]).await?;
        self.container.commit(AMI, ami).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn stop(self) -> Result<()> {
        self.container.remove().await
    }
}

/// A new key without passphrase; the answer is its public half.
async fn make_key(key: &Path) -> Result<String> {
    for file in [key.to_owned(), key.with_extension("pub")] {
        let _ = std::fs::remove_file(file);
    }
    let mut made = Command::new("ssh-keygen");
    let made = made.args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(key).output().await;
    let made = made.context("run ssh-keygen: is openssh-client installed?")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr).trim());
    let public = key.with_extension("pub");
    let text = std::fs::read_to_string(&public).with_context(|| format!("read {}", public.display()))?;
    Ok(text.trim().to_owned())
}

/// Waits for sshd's greeting; false if its port was taken.
async fn greets(container: &Container, port: u16) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if let Ok(mut stream) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let mut greeting = [0; 4];
            if stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"SSH-" {
                // A stranger's sshd on that port would greet as well.
                let (status, _) = container.run(&["systemctl", "is-active", "--quiet", "lab-sshd"]).await?;
                return Ok(status == 0);
            }
        }
        ensure!(container.runs().await?, "build instance: it ended while booting");
        let (_, state) = container.run(&["systemctl", "is-failed", "lab-sshd"]).await?;
        if state.trim() == "failed" {
            return Ok(false);
        }
        if begun.elapsed() > START {
            bail!("build instance: no SSH after {} s", START.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
