//! A tiny image, made on disk as an OCI layout and pushed with skopeo.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

/// Pushes an image that holds one file to `registry/name:tag`; `name` is for example `team/app`. What it needs on the way
/// lies in `folder`: a lab that is killed meanwhile leaves nothing elsewhere.
///
/// # Errors
/// When skopeo is missing, or the registry refuses user or image.
pub async fn push(
    folder: &Path,
    registry: SocketAddr,
    name: &str,
    tag: &str,
    user: &str,
    password: &str,
) -> Result<()> {
    let dir = tempfile::tempdir_in(folder).context("push an image: a folder")?;
    let layout = dir.path().join("image");
    write_layout(&layout, &[("motd", b"high tide\n")]).context("push an image: its layout")?;
    // Passwords go by file, not on the command line.
    let auth = dir.path().join("auth.json");
    write_auth(&auth, registry, user, password).context("push an image: the login")?;
    let pushed = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--authfile"])
        .arg(&auth)
        .arg(format!("oci:{}:latest", layout.display()))
        .arg(format!("docker://{registry}/{name}:{tag}"))
        .env_remove("REGISTRY_AUTH_FILE")
        .stdin(Stdio::null())
        .output()
        .await
        .context("push an image: skopeo does not start: run `make setup`")?;
    if pushed.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&pushed.stderr);
    bail!("push {registry}/{name}:{tag}: {}", said.trim())
}

fn write_auth(path: &Path, registry: SocketAddr, user: &str, password: &str) -> std::io::Result<()> {
    use base64::Engine;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let auth = json!({ "auths": { registry.to_string(): { "auth": login } } });
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::write(path, auth.to_string())
}

/// Writes an OCI image layout (image-spec, `image-layout.md`) with one layer, tagged `latest`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_layout(dir: &Path, files: &[(&str, &[u8])]) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    let tar = tar(files)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar)?;
    let layer = blob(dir, &gzip.finish()?)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/motd"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] }
    });
    let config = blob(dir, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)]
    });
    let manifest = blob(dir, manifest.to_string().as_bytes())?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

struct Blob {
    digest: String,
    size: usize,
}

fn blob(dir: &Path, content: &[u8]) -> std::io::Result<Blob> {
    let digest = digest(content);
    fs::write(dir.join("blobs").join(digest.replace(':', "/")), content)?;
    Ok(Blob { digest, size: content.len() })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size })
}

/// A tar archive of plain files, dated 1970 so that the same files make the same image (POSIX ustar header: name,
/// mode, owner, size, time, checksum, type, each at its fixed place).
fn tar(files: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        if name.len() > 99 {
            return Err(std::io::Error::other(format!("{name}: a name of at most 99 bytes is meant")));
        }
        field(0, name);
        field(100, "0000644\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{:011o}\0", content.len()));
        field(136, "00000000000\0");
        field(148, "        ");
        field(156, "0");
        field(257, "ustar\u{0}00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    Ok(archive)
}
