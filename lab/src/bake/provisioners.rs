//! Where there is no Packer: the same provisioners on the same container, uploaded and run by the lab itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::recipe::{PROGRAMS, files};
use crate::engine::build_instance::BuildInstance;

/// Where the parts lie while they are installed; Packer's folder in `/tmp` is a file system of memory in a container.
const STAGED: &str = "/root/tidemark";

/// Runs `packer/provision` on a build instance. The answer is an AMI's id, which no account knows.
pub(super) async fn build(
    project: &Path,
    programs: &Path,
    instance: &BuildInstance,
    folder: &Path,
) -> Result<String> {
    let staged = folder.join("staged");
    stage(project, programs, &staged)?;
    let container = instance.container();
    container.succeed(&["mkdir", "-p", STAGED]).await?;
    container.receive(&staged, STAGED).await?;
    let provision = format!("{STAGED}/provision/provision.sh");
    container.succeed(&["bash", &provision]).await.context("provisioning of the lab's AMI")?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    Ok(format!("ami-{}", &id[..17]))
}

/// Collects what goes into the image, as `scripts/build-ami` does.
fn stage(project: &Path, programs: &Path, staged: &Path) -> Result<()> {
    for (from, to) in
        [("packer/provision", "provision"), ("packer/rootfs", "rootfs"), ("agent-bootstrap/units", "units")]
    {
        let from = project.join(from);
        for file in files(&from)? {
            copy(&file, &staged.join(to).join(file.strip_prefix(&from)?))?;
        }
    }
    for name in PROGRAMS {
        copy(&programs.join(name), &staged.join("programs").join(name))?;
    }
    copy(&project.join(super::ADDITIONS), &staged.join("owner-script"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(|| format!("make {}", to.display()))?;
    fs::copy(from, to).map(drop).with_context(|| format!("copy {}", from.display()))
}
