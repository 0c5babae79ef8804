//! What an image is made of, as digests: the same digest is the same image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

/// The programs that an image holds.
pub(super) const PROGRAMS: [&str; 2] = ["agent-bootstrap", "build-agent"];

/// Digests of what goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Of everything.
    pub whole: String,
    /// Of all that a change of programs, units and files leaves as it is: the base, the provisioners, and the names of
    /// what they install, since nothing removes a file that has lost its name.
    pub packages: String,
}

impl Recipe {
    /// Of the project's files, the programs in `programs`, and the engine's image `base`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn of(project: &Path, programs: &Path, base: &str) -> Result<Self> {
        let mut provision = files(&project.join("packer/provision"))?;
        provision.push(project.join(super::ADDITIONS));
        let mut others = files(&project.join("packer"))?;
        others.retain(|file| !provision.contains(file));
        others.extend(files(&project.join("agent-bootstrap/units"))?);
        others.push(project.join("scripts/build-ami"));
        others.extend(PROGRAMS.map(|name| programs.join(name)));
        provision.sort();
        others.sort();
        let named: Vec<String> = others
            .iter()
            .filter_map(|file| file.strip_prefix(project).ok())
            .map(|name| name.display().to_string())
            .collect();
        let packages = digest(&[base.to_owned(), content(&provision).await?, named.join("\n")]);
        let whole = digest(&[packages.clone(), content(&others).await?]);
        Ok(Self { whole, packages })
    }
}

/// All files below a folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// Digests and modes of files. Programs are large, and sha256sum is faster than an unoptimised build of ours.
async fn content(files: &[PathBuf]) -> Result<String> {
    let summed = Command::new("sha256sum").arg("--").args(files).output().await.context("run sha256sum")?;
    ensure!(summed.status.success(), "{}", String::from_utf8_lossy(&summed.stderr).trim());
    let sums = String::from_utf8(summed.stdout).context("sha256sum")?;
    let mut text = String::new();
    for (file, line) in files.iter().zip(sums.lines()) {
        let sum = line.split_whitespace().next().unwrap_or_default();
        let executable = fs::metadata(file)?.permissions().mode() & 0o111 != 0;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        text += &format!("{name} {executable} {sum}\n");
    }
    Ok(text)
}

fn digest(parts: &[String]) -> String {
    hex::encode(&Sha256::digest(parts.join("\0").as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[tokio::test]
    async fn what_changes_the_image_changes_its_digest_and_programs_leave_the_packages() {
        let folder = tempfile::tempdir().unwrap();
        let (project, programs) = (folder.path().join("project"), folder.path().join("programs"));
        put(&project, "packer/ci-image.pkr.hcl", "template");
        put(&project, "packer/provision/packages.sh", "install");
        put(&project, super::super::ADDITIONS, "install more");
        put(&project, "packer/rootfs/etc/a.conf", "a");
        put(&project, "agent-bootstrap/units/boot.service", "unit");
        put(&project, "scripts/build-ami", "script");
        for name in PROGRAMS {
            put(&programs, name, name);
        }
        let of = async |base: &str| Recipe::of(&project, &programs, base).await.unwrap();
        let first = of("base").await;
        assert_eq!(of("base").await, first);

        for (root, path, leaves_packages) in [
            (&project, "packer/ci-image.pkr.hcl", true),
            (&project, "packer/rootfs/etc/a.conf", true),
            (&project, "agent-bootstrap/units/boot.service", true),
            (&project, "scripts/build-ami", true),
            (&programs, "build-agent", true),
            (&project, "packer/provision/packages.sh", false),
            (&project, super::super::ADDITIONS, false),
            (&project, "packer/rootfs/etc/new.conf", false),
            (&project, "agent-bootstrap/units/new.service", false),
        ] {
            let before = of("base").await;
            put(root, path, "another");
            let after = of("base").await;
            assert_ne!(before.whole, after.whole, "{path}");
            assert_eq!(before.packages == after.packages, leaves_packages, "{path}");
        }
        let (before, script) = (of("base").await, project.join("packer/rootfs/etc/a.conf"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(of("base").await.whole, before.whole, "the mode goes into the image");
        assert_ne!(of("other base").await.packages, before.packages);
        fs::remove_file(programs.join("build-agent")).unwrap();
        let missing = Recipe::of(&project, &programs, "base").await.unwrap_err();
        assert!(missing.to_string().contains("build-agent"), "{missing}");
    }
}
