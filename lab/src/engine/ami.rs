//! The lab's own AMI: what `packer/provision` makes of the base image, with the programs of this build. The packages
//! are kept as an image of their own, so that another build of the programs takes seconds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use bollard::body_try_stream;
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use nix::fcntl::FlockArg;
use sha2::{Digest as _, Sha256};

use super::container::{Container, ContainerOrder, Network};
use super::{Engine, own};

/// Base image and packages.
const PACKAGES: &str = "tidemark-packages";
/// Packages and programs: the lab's AMI.
const LOCAL: &str = "tidemark-local";
/// Where the parts lie inside while they are installed, as Packer puts them.
const STAGED: &str = "/root/tidemark";
/// The programs that instances run.
const PROGRAMS: [&str; 2] = ["agent-bootstrap", "build-agent"];
/// What only the demo's jobs use.
const JOBS_TOOLS: &str = "skopeo";

/// The steps of `packer/provision/provision.sh`, in two halves.
const INSTALL_PACKAGES: &str = r#"
set -e
cd "$1/provision"
bash packages.sh
apt-get install -qq -y --no-install-recommends "$2" > /dev/null
. ./distribution.sh
forget_packages
rm -rf "$1"
"#;
const INSTALL_TIDEMARK: &str = r#"
set -e
cd "$1/provision"
bash tidemark.sh
bash seal.sh
/usr/local/bin/agent-bootstrap doctor --image
rm -rf "$1"
"#;

/// Where the parts of an image lie.
struct Parts {
    /// `packer/` of the project.
    packer: PathBuf,
    /// `agent-bootstrap/units` of the project.
    units: PathBuf,
    programs: PathBuf,
}

impl Engine {
    /// Makes the lab's AMI of the programs in `programs` if this engine has none of them. `say` hears what takes long.
    ///
    /// # Errors
    /// A step of the provisioning fails, with its words.
    pub async fn local_ami(&self, programs: &Path, say: impl Fn(&str)) -> Result<String> {
        let project = project()?;
        let parts = Parts {
            packer: project.join("packer"),
            units: project.join("agent-bootstrap/units"),
            programs: programs.to_owned(),
        };
        let base = self.base_image(&say).await?;
        let file = self.folder().join("ami.lock");
        let lock = tokio::task::spawn_blocking(move || own::lock(&file, FlockArg::LockExclusive)).await??;
        let packages = self.packages(base, &parts, &say).await?;
        let tag = digest_of(&[packages.clone(), parts.contents()?, INSTALL_TIDEMARK.to_owned()]);
        let image = format!("{LOCAL}:{tag}");
        if !self.has_image(&image).await? {
            say("making the lab's AMI: packer/provision with the programs of this build");
            let staged = self.stage(&parts)?;
            self.provision(&packages, Network::None, &staged, &[INSTALL_TIDEMARK, STAGED], (LOCAL, &tag))
                .await?;
            self.remove_others(LOCAL, &image).await?;
        }
        drop(lock);
        Ok(image)
    }

    async fn packages(&self, base: &str, parts: &Parts, say: impl Fn(&str)) -> Result<String> {
        let recipe = [base.to_owned(), parts.packages()?, JOBS_TOOLS.to_owned(), INSTALL_PACKAGES.to_owned()];
        let tag = digest_of(&recipe);
        let image = format!("{PACKAGES}:{tag}");
        if !self.has_image(&image).await? {
            say("installing the AMI's packages, once: a minute or two");
            let staged = self.stage(parts)?;
            let script = [INSTALL_PACKAGES, STAGED, JOBS_TOOLS];
            self.provision(base, Network::Host, &staged, &script, (PACKAGES, &tag)).await?;
            self.remove_others(PACKAGES, &image).await?;
        }
        Ok(image)
    }

    /// Runs a script in a container from `from`, and keeps the container as an image.
    async fn provision(
        &self,
        from: &str,
        network: Network,
        staged: &tempfile::TempDir,
        script: &[&str],
        (repository, tag): (&str, &str),
    ) -> Result<()> {
        let name = format!("tidemark-provision-{}", uuid::Uuid::new_v4().simple());
        let order = ContainerOrder {
            hostname: name.clone(),
            name,
            image: from.to_owned(),
            network,
            command: vec!["sleep".to_owned(), "infinity".to_owned()],
            binds: Vec::new(),
        };
        let container = Container::start(self, order).await?;
        let done = async {
            container.succeed(&["mkdir", "-p", STAGED]).await?;
            container.receive(staged.path(), STAGED).await?;
            let mut command = vec!["bash", "-c", script[0], "provision"];
            command.extend(&script[1..]);
            container.succeed(&command).await.context("provisioning of the lab's AMI")?;
            container.commit(repository, tag).await
        };
        let done = done.await;
        container.remove().await?;
        done
    }

    /// The folder that Packer would upload.
    fn stage(&self, parts: &Parts) -> Result<tempfile::TempDir> {
        let staged = tempfile::Builder::new().prefix("staged-").tempdir_in(self.folder())?;
        for (from, to) in [
            (parts.packer.join("provision"), "provision"),
            (parts.packer.join("rootfs"), "rootfs"),
            (parts.units.clone(), "units"),
        ] {
            copy_tree(&from, &staged.path().join(to))?;
        }
        let programs = staged.path().join("programs");
        std::fs::create_dir(&programs)?;
        for name in PROGRAMS {
            let from = parts.programs.join(name);
            std::fs::copy(&from, programs.join(name)).with_context(|| format!("copy {}", from.display()))?;
        }
        Ok(staged)
    }
}

impl Container {
    /// Copies what lies in a folder of this machine into one of the container.
    ///
    /// # Errors
    /// The engine refuses.
    pub(super) async fn receive(&self, from: &Path, to: &str) -> Result<()> {
        let what = || format!("copy {} into container {}", from.display(), self.id());
        let mut tar = tokio::process::Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-c", "-C"]).arg(from).arg(".");
        let mut tar = tar.stdout(Stdio::piped()).kill_on_drop(true).spawn().with_context(what)?;
        let archive = tar.stdout.take().with_context(what)?;
        let body = body_try_stream(tokio_util::io::ReaderStream::with_capacity(archive, 1 << 20));
        let options = UploadToContainerOptionsBuilder::default().path(to).build();
        let docker = self.engine().docker();
        docker.upload_to_container(self.id(), Some(options), body).await.with_context(what)?;
        let packed = tar.wait().await.with_context(what)?;
        ensure!(packed.success(), "{}: tar: {packed}", what());
        Ok(())
    }
}

impl Parts {
    /// Everything that decides which packages there are.
    fn packages(&self) -> Result<String> {
        let read = |name: &str| {
            let file = self.packer.join("provision").join(name);
            std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
        };
        Ok(read("packages.sh")? + &read("distribution.sh")? + &read("apt.sh")?)
    }

    /// Everything else: files by their bytes, the large programs by size and time.
    fn contents(&self) -> Result<String> {
        let mut text = String::new();
        for folder in [self.packer.join("provision"), self.packer.join("rootfs"), self.units.clone()] {
            for file in files_below(&folder)? {
                let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
                text += &format!("{} {}\n", file.display(), hex::encode(Sha256::digest(bytes)));
            }
        }
        for name in PROGRAMS {
            let file = self.programs.join(name);
            let found = std::fs::metadata(&file).with_context(|| format!("look at {}", file.display()))?;
            let changed = found.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
            text += &format!("{name} {} {changed}\n", found.len());
        }
        Ok(text)
    }
}

fn digest_of(texts: &[String]) -> String {
    hex::encode(&Sha256::digest(texts.join("\0").as_bytes())[..8])
}

/// The project that the current folder or the running program belongs to.
fn project() -> Result<PathBuf> {
    let starts = [std::env::current_dir()?, std::env::current_exe()?];
    let above = starts.iter().flat_map(|start| start.ancestors());
    let found = above.into_iter().find(|folder| folder.join("packer/provision").is_dir());
    found.map(Path::to_owned).context("no packer/provision above this folder: run the lab in the project")
}

/// All files below a folder, in order.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::copy(&file, &target).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}
