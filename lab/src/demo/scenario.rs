//! The demo's two pipelines and what they prove: variables of root and pipeline, a clone by SSH key, a clone by
//! git-credentials, a registry pull by docker login, an ECR pull by the credential helper.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::endpoint::ACCOUNT;
use crate::git::GitServers;
use crate::lab::{Lab, REGION};
use crate::registry::{EcrLikeRegistry, OciRegistry, image, moto_token};

const GIT_USER: &str = "ci";
const GIT_PASSWORD: &str = "git-s3cret:with@signs";
/// As it stands in a URL. The file that holds it has no newline at its end, as many users' files.
const GIT_PASSWORD_QUOTED: &str = "git-s3cret%3Awith%40signs";
const REGISTRY_USER: &str = "builder";
const REGISTRY_PASSWORD: &str = "registry pass'word";

/// The services that jobs use, and where they are.
pub struct Services {
    /// git over SSH and HTTP.
    pub git: GitServers,
    /// A registry with a password.
    pub registry: OciRegistry,
    /// A registry that takes ECR's tokens.
    pub ecr: EcrLikeRegistry,
    /// The deploy key that the SSH server lets in.
    key: String,
}

/// A pipeline: its slug, its repository, its jobs' commands.
pub struct Pipeline {
    /// Slug.
    pub slug: &'static str,
    /// Clone URL.
    pub repo: String,
}

impl Services {
    /// Starts them with two repositories and an image in each registry.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let git = GitServers::start(&folder.join("git")).await?;
        git.create_repo("web", &[(".ci/check", CHECK_WEB)])?;
        git.create_repo("api", &[(".ci/check", CHECK_API)])?;
        git.set_password(GIT_USER, GIT_PASSWORD);
        let key = deploy_key(folder, &git).await?;
        let registry = OciRegistry::start(&folder.join("registry"), REGISTRY_USER, REGISTRY_PASSWORD).await?;
        let token = moto_token(ACCOUNT);
        let ecr = EcrLikeRegistry::start(&folder.join("ecr"), ACCOUNT, REGION, &token).await?;
        image::push(folder, registry.addr, "app", "1", REGISTRY_USER, REGISTRY_PASSWORD).await?;
        image::push(folder, ecr.addr, "base", "1", "AWS", &token).await?;
        Ok(Self { git, registry, ecr, key })
    }

    /// Where all of them listen.
    #[must_use]
    pub fn addresses(&self) -> [SocketAddr; 4] {
        let [ssh, http] = self.git.addresses();
        [ssh, http, self.registry.addr, self.ecr.addr]
    }

    /// The two pipelines.
    ///
    /// # Errors
    /// None: both names are good.
    pub fn pipelines(&self) -> Result<[Pipeline; 2]> {
        Ok([
            Pipeline { slug: "web", repo: self.git.ssh_url("web")? },
            Pipeline { slug: "api", repo: self.git.http_url("api")? },
        ])
    }

    /// The secrets bucket's objects by key.
    ///
    /// # Errors
    /// None: the repository's name is good.
    pub fn secrets(&self) -> Result<BTreeMap<&'static str, String>> {
        let root = "# for every pipeline\nTEAM=platform\nexport GREETING=hello from the root\n";
        let web = format!(
            "GREETING='hello from web'\nDOCKER_LOGIN_USER={REGISTRY_USER}\nDOCKER_LOGIN_PASSWORD=\"{REGISTRY_PASSWORD}\"\n\
             DOCKER_LOGIN_SERVER={}\nREGISTRY=$DOCKER_LOGIN_SERVER\n",
            self.registry.addr
        );
        let api = format!("GREETING=\"hello from api\"\nECR={}\n", self.ecr.addr);
        let http = self.git.http_url("api")?;
        let with_login = http.replacen("://", &format!("://{GIT_USER}:{GIT_PASSWORD_QUOTED}@"), 1);
        Ok(BTreeMap::from([
            ("env", root.to_owned()),
            ("private_ssh_key", self.key.clone()),
            ("web/env", web),
            ("api/env", api),
            ("api/git-credentials", with_login),
        ]))
    }

    /// Values that no log may show; a job of `web` prints one of them.
    #[must_use]
    pub fn private_values(&self) -> [&'static str; 2] {
        [GIT_PASSWORD, REGISTRY_PASSWORD]
    }

    /// The template's parameter `Settings`: short periods, and which host stands for ECR.
    #[must_use]
    pub fn settings(&self) -> String {
        format!(
            "idle-period: 3s\npoll-interval: 200ms\nhooks-env:\n  TIDEMARK_ECR_HOSTS: \"{}\"\n",
            self.ecr.mapping()
        )
    }
}

/// Uploads the secrets with the README's own line; returns the lines, for the timeline.
///
/// # Errors
/// The AWS CLI fails, with its words.
pub async fn upload(
    lab: &Lab,
    folder: &Path,
    bucket: &str,
    secrets: &BTreeMap<&str, String>,
) -> Result<Vec<String>> {
    let aws = crate::moto::venv()?.join("bin/aws");
    let mut lines = Vec::new();
    for (key, content) in secrets {
        let file = folder.join("upload");
        write_private(&file, content)?;
        let target = format!("s3://{bucket}/{key}");
        let output = Command::new(&aws)
            .args(["s3", "cp", "--sse", "aws:kms", "--only-show-errors"])
            .args([file.as_os_str(), target.as_ref()])
            .envs(lab.admin_environment())
            .output()
            .await
            .context("aws s3 cp")?;
        std::fs::remove_file(&file)?;
        ensure!(
            output.status.success(),
            "aws s3 cp to {target}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        lines.push(format!("$ aws s3 cp --sse aws:kms {} {target}", key.rsplit('/').next().unwrap_or(key)));
    }
    Ok(lines)
}

async fn deploy_key(folder: &Path, git: &GitServers) -> Result<String> {
    let file = folder.join("deploy-key");
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"])
        .arg(&file)
        .output()
        .await
        .context("ssh-keygen")?;
    ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    git.authorize_key(std::fs::read_to_string(file.with_extension("pub"))?.trim())?;
    let key = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    Ok(key)
}

fn write_private(file: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut open = std::fs::OpenOptions::new();
    let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    Ok(file.write_all(content.as_bytes())?)
}

const CHECK_WEB: &str = r#"#!/usr/bin/env bash
set -euo pipefail
expect() { [ "$2" = "$3" ] || { echo "$1 is '$2', not '$3'"; exit 1; }; echo "$1: $2"; }
expect TEAM "$TEAM" platform
expect GREETING "$GREETING" "hello from web"
skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/app:1"
echo "a careless line: $DOCKER_LOGIN_PASSWORD"
sleep 1
"#;

const CHECK_API: &str = r#"#!/usr/bin/env bash
set -euo pipefail
expect() { [ "$2" = "$3" ] || { echo "$1 is '$2', not '$3'"; exit 1; }; echo "$1: $2"; }
expect TEAM "$TEAM" platform
expect GREETING "$GREETING" "hello from api"
skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$ECR/base:1"
sleep 1
"#;
