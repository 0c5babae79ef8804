//! The lab's AMI: what the real Packer, by the project's own template and provisioners, makes of a container.
//!
//! A bake takes minutes, nearly all of them for packages, so what was baked stays with the engine under the digest of all
//! that went into it ([`recipe`]). A bake with the same digest is not repeated; one whose packages are the same begins
//! with the image that has them.
//!
//! # Layout
//! - [`packer`]: runs Packer; [`provisioners`]: does without where there is none.
//! - [`proxy`]: what a bake borrows from this machine.
//! - [`recipe`]: what an image is made of.

mod packer;
mod provisioners;
mod proxy;
mod recipe;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bollard::models::ImageSummary;
use bollard::query_parameters::{ListImagesOptionsBuilder, TagImageOptionsBuilder};
use nix::fcntl::FlockArg;

use crate::engine::Engine;
use crate::engine::build_instance::{AMI, BuildInstance};
use proxy::ProxyOfHere;
use recipe::Recipe;

/// Names of what was baked: `tidemark-bake:packer-<digest>` (or `provisioners-…`) of all that went in, and
/// `tidemark-bake:packages-<digest>` of the first bake with those packages.
const BAKE: &str = "tidemark-bake";
const PACKAGES: &str = "packages-";

/// So many images of other programs stay, and so many of other packages: each work tree of a developer has its own.
const KEPT: usize = 4;

/// What jobs of the demo use beside the image's own, as the addition of an owner.
const ADDITIONS: &str = "lab/image-additions.sh";

/// Who makes an AMI's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baker {
    /// Packer, by the project's template.
    Packer,
    /// The template's provisioners alone: there is no Packer here.
    Provisioners,
}

impl Baker {
    /// Packer, where it is on `PATH`.
    fn of_here() -> Self {
        if packer::is_here() { Self::Packer } else { Self::Provisioners }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Packer => "packer-",
            Self::Provisioners => "provisioners-",
        }
    }
}

/// An AMI of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baked {
    /// `ami-…`: its instances boot from the engine's image `tidemark-ami:<id>`.
    pub ami: String,
    /// Who made it.
    pub by: Baker,
    /// How long that took; none where the image was there already.
    pub took: Option<Duration>,
}

impl Baked {
    /// The engine's image.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{AMI}:{}", self.ami)
    }
}

impl std::fmt::Display for Baked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = match self.by {
            Baker::Packer => "baked by Packer",
            Baker::Provisioners => "made by packer/provision alone, since there is no packer on PATH",
        };
        write!(f, "{}, {by}", self.ami)
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
    let by = Baker::of_here();
    let whole = format!("{BAKE}:{}{}", by.prefix(), recipe.whole);
    if let Some(ami) = ami_of(engine, &whole).await? {
        return Ok(Baked { ami, by, took: None });
    }
    let packages = format!("{BAKE}:{PACKAGES}{}", recipe.packages);
    let has_packages = engine.has_image(&packages).await?;
    let from = if has_packages { packages.as_str() } else { base };
    let how = match by {
        Baker::Packer => "with Packer",
        Baker::Provisioners => "by packer/provision alone (no packer on PATH)",
    };
    say(&format!("baking the AMI {how}, from {from}"));
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("bake-").tempdir()?;
    let instance = BuildInstance::start(engine, from, folder.path()).await?;
    let done = async {
        let proxy = ProxyOfHere::put(instance.container()).await?;
        let ami = match by {
            Baker::Packer => packer::build(&project, programs, &instance, folder.path(), say).await?,
            Baker::Provisioners => provisioners::build(&project, programs, &instance, folder.path()).await?,
        };
        proxy.remove(instance.container()).await?;
        keep(engine, &instance, ami, &whole, (!has_packages).then_some(packages.as_str())).await
    };
    let done = done.await;
    instance.stop().await?;
    let ami = done?;
    forget_older(engine, &[&whole, &packages]).await?;
    drop(one_at_a_time);
    Ok(Baked { ami, by, took: Some(begun.elapsed()) })
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
        Some(took) => eprintln!("lab: {baked}, in {:.0} s", took.as_secs_f64()),
        None => eprintln!("lab: {baked}, before, of the same programs and provisioners"),
    }
    Ok(format!("{}\n", baked.image()))
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

/// Lets go of the oldest images of other programs, and of other packages. Those that instances still run stay.
async fn forget_older(engine: &Engine, own: &[&str]) -> Result<()> {
    let filters = HashMap::from([("reference", vec![BAKE])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let images = engine.docker().list_images(Some(options)).await.context("list what was baked")?;
    for name in too_old(images, own) {
        // In use by another lab: a later bake tries again.
        if let Err(error) = engine.remove_image(&name).await {
            tracing::debug!("{error:#}");
        }
    }
    Ok(())
}

/// The names of all images but those of `own` names and the newest [`KEPT`] others, with packages and without.
fn too_old(mut images: Vec<ImageSummary>, own: &[&str]) -> Vec<String> {
    images.retain(|image| !image.repo_tags.iter().any(|name| own.contains(&name.as_str())));
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let packages = format!("{BAKE}:{PACKAGES}");
    let (with_packages, others): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|image| image.repo_tags.iter().any(|name| name.starts_with(&packages)));
    let old = with_packages.into_iter().skip(KEPT).chain(others.into_iter().skip(KEPT));
    old.flat_map(|image| image.repo_tags).collect()
}

/// The folder of the project that the current folder or the running program belongs to.
fn project() -> Result<PathBuf> {
    let template = crate::lab::project_template()?;
    let folder = template.parent().and_then(Path::parent).context("the template lies in no project")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_newest_others_stay_and_those_with_packages_are_counted_apart() {
        let image = |age: i64, names: &[String]| ImageSummary {
            created: 100 - age,
            repo_tags: names.to_vec(),
            ..ImageSummary::default()
        };
        let whole = |n: i64| format!("{BAKE}:packer-{n}");
        let packages = |n: i64| format!("{BAKE}:packages-{n}");
        let mut images: Vec<ImageSummary> =
            (0..7).map(|n| image(n, &[whole(n), format!("{AMI}:ami-{n}")])).collect();
        images.extend((10..16).map(|n| image(n, &[whole(n), packages(n)])));
        images.reverse();
        let (own, under) = (whole(6), packages(15));
        let old: BTreeSet<String> = too_old(images, &[&own, &under]).into_iter().collect();
        let ami = |n: i64| format!("{AMI}:ami-{n}");
        assert_eq!(old, BTreeSet::from([whole(4), ami(4), whole(5), ami(5), whole(14), packages(14)]));
    }
}
