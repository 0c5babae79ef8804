//! The base image, which stands for Debian's own AMI: made once by debootstrap, then kept by the engine.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bollard::body_try_stream;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;
use nix::fcntl::FlockArg;
use sha2::{Digest as _, Sha256};

use super::{Engine, mounts, own};
use crate::children::{Helper, lab_program};

/// The image's name.
pub const BASE: &str = "tidemark-base:debian13";
const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";
const LABEL: &str = "tidemark.recipe";

/// What Debian's cloud image has and instances, builds and journeys use.
const PACKAGES: [&str; 9] = [
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "kmod",
    "openssh-server",
    "procps",
    "sudo",
    "systemd-sysv",
];

/// Below a mount namespace of its own, so that nothing stays mounted when it is stopped in the middle.
const DEBOOTSTRAP: &str = r#"
set -e
root=$1 suite=$2 mirror=$3 packages=$4
rm -rf --one-file-system "$root"
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror"
chroot "$root" useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' > "$root/etc/sudoers.d/90-admin"
chmod 440 "$root/etc/sudoers.d/90-admin"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
: > "$root/etc/hostname"
umount -R "$root/proc" "$root/sys" 2> /dev/null || true
"#;

impl Engine {
    /// Makes the base image if this engine has none of this recipe: about a minute. `say` hears that it takes long.
    ///
    /// # Errors
    /// debootstrap is missing or fails, with its last line.
    pub async fn base_image(&self, say: impl FnOnce(&str)) -> Result<&'static str> {
        let file = self.folder().join("base.lock");
        let lock = tokio::task::spawn_blocking(move || own::lock(&file, FlockArg::LockExclusive)).await??;
        if !self.has_base().await? {
            say(&format!("making {BASE} by debootstrap, once: about a minute"));
            let root = self.folder().join("base");
            self.debootstrap(&root).await?;
            self.import(&root).await?;
            std::fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
        }
        drop(lock);
        Ok(BASE)
    }

    async fn has_base(&self) -> Result<bool> {
        Ok(self.image_label(BASE, LABEL).await?.as_deref() == Some(&recipe()))
    }

    async fn debootstrap(&self, root: &Path) -> Result<()> {
        let log = self.folder().join("debootstrap.log");
        let _ = std::fs::remove_file(&log);
        let words = [mounts::VERB, "sh", "-c", DEBOOTSTRAP, "debootstrap"];
        let packages = PACKAGES.join(",");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut made = Helper::new(lab_program()?, self.folder(), &log)
            .args(words)
            .args([root.as_os_str()])
            .args([SUITE, &mirror(), &packages])
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("LC_ALL", "C")
            .start()?;
        let status = made.wait().await?;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("no output");
        ensure!(status == 0, "debootstrap ended with {status}: {last} (log: {})", log.display());
        Ok(())
    }

    async fn import(&self, root: &Path) -> Result<()> {
        let mut tar = tokio::process::Command::new("tar")
            .args(["--one-file-system", "--numeric-owner", "-c", "-C"])
            .arg(root)
            .arg(".")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("pack the base image: tar")?;
        let archive = tar.stdout.take().context("pack the base image: tar")?;
        let body = body_try_stream(tokio_util::io::ReaderStream::with_capacity(archive, 1 << 20));
        let (repository, tag) = BASE.split_once(':').unwrap_or((BASE, "latest"));
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .changes(vec![format!("LABEL {LABEL}={}", recipe())])
            .build();
        let mut answers = self.docker().create_image(Some(options), Some(body), None);
        while let Some(answer) = answers.next().await {
            answer.with_context(|| format!("import {BASE}"))?;
        }
        let packed = tar.wait().await?;
        ensure!(packed.success(), "pack the base image: tar: {packed}");
        Ok(())
    }
}

/// Changes with whatever makes another image.
fn recipe() -> String {
    let text = format!("{SUITE} {PACKAGES:?} {DEBOOTSTRAP}");
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// The mirror that this machine itself takes Debian from, or Debian's.
fn mirror() -> String {
    let folder = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let files = folder.map(|entry| entry.path()).chain([PathBuf::from("/etc/apt/sources.list")]);
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    texts.into_iter().find_map(|text| debian_mirror(&text)).unwrap_or_else(|| MIRROR.to_owned())
}

/// The first source of Debian itself in a file of apt's, in either of its forms.
fn debian_mirror(sources: &str) -> Option<String> {
    let words = sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut urls = words.flat_map(str::split_whitespace).filter(|word| word.contains("://"));
    let of_debian = |url: &&str| url.trim_end_matches('/').ends_with("/debian");
    urls.find(of_debian).map(|url| url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_either_form_of_sources() {
        for (sources, mirror) in [
            (
                "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n",
                Some("http://mirror.example/debian"),
            ),
            (
                "# a comment\ndeb [signed-by=/k.gpg] https://mirror.example/debian/ trixie main\n",
                Some("https://mirror.example/debian"),
            ),
            ("deb http://security.example/debian-security trixie main\n", None),
            ("deb http://archive.example/ubuntu noble main\n", None),
            ("", None),
        ] {
            assert_eq!(debian_mirror(sources).as_deref(), mirror, "{sources}");
        }
    }
}
