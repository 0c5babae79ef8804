//! The real thing: `scripts/build-ami`, which runs Packer.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::endpoint::Endpoint;
use crate::engine::build_instance::BuildInstance;
use crate::lab::REGION;
use crate::moto::Moto;

/// Packages come from far away.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// The name of the template's source, as Packer says it.
const SOURCE: &str = "amazon-ebs.instance: ";
/// The last lines of a failure: enough for every missing thing with its fix.
const LAST: usize = 40;

/// Is there a Packer on `PATH`?
pub(super) fn is_here() -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join("packer").is_file())
}

/// Runs `scripts/build-ami` as a user does, with the container as the machine to install on, and a cloud of its own: an
/// image is made before there is a lab to use it. The answer is the AMI's id.
pub(super) async fn build(
    project: &Path,
    programs: &Path,
    instance: &BuildInstance,
    folder: &Path,
    say: &(dyn Fn(&str) + Sync),
) -> Result<String> {
    let moto = Moto::start(folder).await?;
    let endpoint = Endpoint::start(moto.url()).await?;
    let mut build = Command::new(crate::moto::venv()?.join("bin/python"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        build.env_remove(name);
    }
    let place = format!("{}@{}:{}", instance.ssh_user(), instance.ssh_host(), instance.ssh_port());
    build
        .arg("scripts/build-ami")
        .current_dir(project)
        .envs(endpoint.admin().environment())
        .env("AWS_ENDPOINT_URL", endpoint.url())
        .env("AWS_REGION", REGION)
        .env("IMAGE_SSH", place)
        .env("IMAGE_SSH_KEY", instance.ssh_key())
        .env("PROGRAMS", programs)
        .env("IMAGE_SCRIPT", project.join(super::ADDITIONS))
        .envs(["IMAGE_ROOT", "IMAGE_OS", "IMAGE_ARCH", "SOURCE_AMI"].map(|name| (name, "")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ami = tokio::time::timeout(PATIENCE, followed(build, say));
    let ami = ami.await.with_context(|| format!("the bake took more than {} s", PATIENCE.as_secs()))??;
    drop(endpoint);
    moto.stop().await?;
    Ok(ami)
}

/// Follows a process to its end; the answer is what it wrote to stdout.
async fn followed(mut command: Command, say: &(dyn Fn(&str) + Sync)) -> Result<String> {
    let mut process = command.spawn().context("start scripts/build-ami")?;
    let stderr = process.stderr.take().context("stderr of scripts/build-ami")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said: Vec<String> = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let line = plain(&line);
        say(line);
        said.push(line.to_owned());
    }
    let ended = process.wait_with_output().await?;
    let last = said[said.len().saturating_sub(LAST)..].join("\n");
    ensure!(ended.status.success(), "scripts/build-ami: {}:\n{last}", ended.status);
    Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

/// A line without what Packer puts before it: the time, and its source's name in one of two forms.
fn plain(line: &str) -> &str {
    let (time, rest) = line.split_once("Z: ").unwrap_or(("", line));
    let text = if time.contains('T') { rest } else { line };
    let text = text.strip_prefix("==>").unwrap_or(text).trim_start();
    text.strip_prefix(SOURCE).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_packers_is_what_it_says() {
        for (line, text) in [
            ("2026-11-21T16:49:10Z: ==> amazon-ebs.instance: Connected to SSH!", "Connected to SSH!"),
            (
                "2026-11-21T16:49:10Z:     amazon-ebs.instance: provision: seal took 0 s",
                "provision: seal took 0 s",
            ),
            (
                "==> Builds finished. The artifacts of successful builds are:",
                "Builds finished. The artifacts of successful builds are:",
            ),
            (
                "build-ami: ami-1 is the image of new instances",
                "build-ami: ami-1 is the image of new instances",
            ),
            ("", ""),
        ] {
            assert_eq!(plain(line), text, "{line}");
        }
    }

    #[tokio::test]
    async fn a_failed_build_tells_its_last_lines_and_a_good_one_its_output() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let heard = std::sync::Mutex::new(Vec::new());
        let hear = |line: &str| heard.lock().unwrap().push(line.to_owned());
        let good = followed(shell("echo one >&2; echo ami-1; echo two >&2"), &hear).await;
        assert_eq!(good.unwrap(), "ami-1");
        assert_eq!(*heard.lock().unwrap(), ["one", "two"]);
        let bad = followed(shell("echo no git-lfs >&2; exit 1"), &|_: &str| {}).await.unwrap_err();
        assert_eq!(bad.to_string(), "scripts/build-ami: exit status: 1:\nno git-lfs");
    }
}
