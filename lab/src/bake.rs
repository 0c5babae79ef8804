//! The lab's AMI: what the real Packer, by the project's own template and provisioners, makes of a container.
//!
//! A bake takes minutes, nearly all of them for packages, so what was baked stays with the engine under the digest of all
//! that went into it ([`recipe`]). A bake with the same digest is not repeated; one whose packages are the same begins
//! with the image that has them.

mod recipe;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{ListImagesOptionsBuilder, TagImageOptionsBuilder};
use nix::fcntl::FlockArg;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::endpoint::Endpoint;
use crate::engine::Engine;
use crate::engine::build_instance::{AMI, BuildInstance};
use crate::engine::container::Container;
use crate::lab::REGION;
use crate::moto::Moto;
use recipe::Recipe;

/// Names of what was baked: `tidemark-bake:whole-<digest>`, and `tidemark-bake:packages-<digest>` of the first bake with
/// those packages.
const BAKE: &str = "tidemark-bake";

/// So many images of other programs stay: each work tree of a developer has its own.
const KEPT: usize = 4;

/// What jobs of the demo use beside the image's own, as the addition of an owner.
const ADDITIONS: &str = "lab/image-additions.sh";

/// Packages come from far away.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// An AMI of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baked {
    /// `ami-…`: its instances boot from the engine's image `tidemark-ami:<id>`.
    pub ami: String,
    /// How long Packer took; none where the image was there already.
    pub took: Option<Duration>,
}

impl Baked {
    /// The engine's image.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{AMI}:{}", self.ami)
    }
}

/// The AMI of this project's state and the programs in `programs`, baked if need be. `say` hears what takes long,
/// Packer's output with it.
///
/// # Errors
/// Packer or a provisioner fails; the message holds the last lines that were said.
pub async fn bake(engine: &Engine, programs: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<Baked> {
    let project = project()?;
    let base = engine.base_image(say).await?;
    let found = engine.docker().inspect_image(base).await.with_context(|| format!("look at image {base}"))?;
    let recipe = Recipe::of(&project, programs, &found.id.unwrap_or_default()).await?;
    let file = engine.folder().join("bake.lock");
    let one_at_a_time = move || crate::engine::own::lock(&file, FlockArg::LockExclusive);
    let one_at_a_time = tokio::task::spawn_blocking(one_at_a_time).await??;
    let whole = format!("{BAKE}:whole-{}", recipe.whole);
    if let Some(ami) = ami_of(engine, &whole).await? {
        return Ok(Baked { ami, took: None });
    }
    let packages = format!("{BAKE}:packages-{}", recipe.packages);
    let has_packages = engine.has_image(&packages).await?;
    let from = if has_packages { packages.as_str() } else { base };
    say(&format!("baking the AMI with Packer, from {from}"));
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("bake-").tempdir()?;
    let instance = BuildInstance::start(engine, from, folder.path()).await?;
    let built = on_instance(&project, programs, &instance, folder.path(), say).await;
    let kept = match built {
        Ok(ami) => keep(engine, &instance, ami, &whole, (!has_packages).then_some(packages.as_str())).await,
        Err(error) => Err(error),
    };
    instance.stop().await?;
    let ami = kept?;
    forget_older(engine, &whole).await?;
    drop(one_at_a_time);
    Ok(Baked { ami, took: Some(begun.elapsed()) })
}

/// For `lab bake`: the answer is the engine's image.
///
/// # Errors
/// No engine, or the bake fails.
pub async fn once() -> Result<String> {
    let programs = crate::instances::programs()?;
    let engine = Engine::find(&crate::engine::folder_beside(&programs)).await?;
    let baked = bake(&engine, &programs, &|line| eprintln!("{line}")).await?;
    match baked.took {
        Some(took) => eprintln!("lab: baked in {:.0} s", took.as_secs_f64()),
        None => eprintln!("lab: baked before, with the same programs and provisioners"),
    }
    Ok(format!("{}\n", baked.image()))
}

/// Runs `scripts/build-ami` as a user does, with the container as the machine to install on, and a cloud of its own: an
/// image is made before there is a lab to use it.
async fn on_instance(
    project: &Path,
    programs: &Path,
    instance: &BuildInstance,
    folder: &Path,
    say: &(dyn Fn(&str) + Sync),
) -> Result<String> {
    let moto = Moto::start(folder).await?;
    let endpoint = Endpoint::start(moto.url()).await?;
    let proxy = ProxyOfHere::put(instance.container()).await?;
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
        .env("IMAGE_SCRIPT", project.join(ADDITIONS))
        .envs(["IMAGE_ROOT", "IMAGE_OS", "IMAGE_ARCH", "SOURCE_AMI"].map(|name| (name, "")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ami = tokio::time::timeout(PATIENCE, followed(build, say));
    let ami = ami.await.with_context(|| format!("the bake took more than {} s", PATIENCE.as_secs()))??;
    proxy.remove(instance.container()).await?;
    drop(endpoint);
    moto.stop().await?;
    Ok(ami)
}

/// The last lines of a failure: enough for every missing thing with its fix.
const LAST: usize = 40;

/// Follows a process to its end; the answer is what it wrote to stdout.
async fn followed(mut command: Command, say: &(dyn Fn(&str) + Sync)) -> Result<String> {
    let mut process = command.spawn().context("start scripts/build-ami")?;
    let stderr = process.stderr.take().context("stderr of scripts/build-ami")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said: Vec<String> = Vec::new();
    while let Some(line) = lines.next_line().await? {
        say(&line);
        said.push(line);
    }
    let ended = process.wait_with_output().await?;
    let last = said[said.len().saturating_sub(LAST)..].join("\n");
    ensure!(ended.status.success(), "scripts/build-ami: {}:\n{last}", ended.status);
    Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

/// Makes the container's files the image of the AMI, and finds it again by what went into it.
async fn keep(
    engine: &Engine,
    instance: &BuildInstance,
    ami: String,
    whole: &str,
    packages: Option<&str>,
) -> Result<String> {
    instance.become_ami(&ami).await?;
    for name in std::iter::once(whole).chain(packages) {
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let tagged = engine.docker().tag_image(&format!("{AMI}:{ami}"), Some(options)).await;
        tagged.with_context(|| format!("name the image {name}"))?;
    }
    Ok(ami)
}

/// The AMI whose image has this name too.
async fn ami_of(engine: &Engine, image: &str) -> Result<Option<String>> {
    if !engine.has_image(image).await? {
        return Ok(None);
    }
    let found =
        engine.docker().inspect_image(image).await.with_context(|| format!("look at image {image}"))?;
    let prefix = format!("{AMI}:");
    Ok(found
        .repo_tags
        .unwrap_or_default()
        .iter()
        .find_map(|name| name.strip_prefix(&prefix))
        .map(str::to_owned))
}

/// Lets go of the oldest images of other programs. Those that instances still run stay.
async fn forget_older(engine: &Engine, own: &str) -> Result<()> {
    let filters = HashMap::from([("reference", vec![BAKE])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let mut images = engine.docker().list_images(Some(options)).await.context("list what was baked")?;
    let whole = format!("{BAKE}:whole-");
    let packages = format!("{BAKE}:packages-");
    images.retain(|image| {
        let has = |prefix: &str| image.repo_tags.iter().any(|name| name.starts_with(prefix));
        has(&whole) && !has(&packages) && !image.repo_tags.iter().any(|name| name == own)
    });
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    for name in images.into_iter().skip(KEPT).flat_map(|image| image.repo_tags) {
        // In use by another lab: a later bake tries again.
        if let Err(error) = engine.remove_image(&name).await {
            tracing::debug!("{error:#}");
        }
    }
    Ok(())
}

/// apt's proxies of this machine, for as long as the bake lasts: they are no part of an image.
struct ProxyOfHere(bool);

impl ProxyOfHere {
    const FILE: &str = "/etc/apt/apt.conf.d/99-lab-proxy";

    async fn put(container: &Container) -> Result<Self> {
        let asked =
            Command::new("apt-config").args(["dump", "--format", "%f \"%v\";%n", "Acquire"]).output().await;
        // No Debian, no proxies of apt's.
        let dump =
            asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let proxies = proxies(&dump);
        if proxies.is_empty() {
            return Ok(Self(false));
        }
        let write = format!("cat > {} <<'END'\n{proxies}END\n", Self::FILE);
        container.succeed(&["sh", "-c", &write]).await?;
        Ok(Self(true))
    }

    async fn remove(self, container: &Container) -> Result<()> {
        if self.0 {
            container.succeed(&["rm", Self::FILE]).await?;
        }
        Ok(())
    }
}

/// The lines of apt's configuration that name a proxy.
fn proxies(dump: &str) -> String {
    let named =
        dump.lines().filter(|line| line.split(' ').next().is_some_and(|name| name.contains("::Proxy")));
    named.filter(|line| !line.ends_with("\"\";")).map(|line| format!("{line}\n")).collect()
}

/// The folder of the project that the current folder or the running program belongs to.
fn project() -> Result<PathBuf> {
    let template = crate::lab::project_template()?;
    let folder = template.parent().and_then(Path::parent).context("the template lies in no project")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_are_taken_over() {
        let dump = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://127.0.0.1:3142\";\n\
                    Acquire::https::Proxy \"\";\nAcquire::Retries \"3\";\nAcquire::http::Proxy::mirror \"DIRECT\";\n";
        assert_eq!(
            proxies(dump),
            "Acquire::http::Proxy \"http://127.0.0.1:3142\";\nAcquire::http::Proxy::mirror \"DIRECT\";\n"
        );
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
