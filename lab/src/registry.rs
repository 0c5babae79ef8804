//! Registries of the lab: the real `docker-registry` on a loopback port, behind a password ([`OciRegistry`]) or
//! behind ECR's kind of token ([`EcrLikeRegistry`]).
//!
//! # Layout
//! - [`process`]: the registry program, its configuration and its password file.
//! - [`image`]: a tiny image made on disk, pushed with skopeo; nothing is ever pulled from the internet.

pub mod image;
pub mod process;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use crate::children::Child;

/// An OCI registry that one user may use with a password. Ends when dropped.
#[derive(Debug)]
pub struct OciRegistry {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The program, under its supervisor.
    pub child: Child,
}

impl OciRegistry {
    /// Starts it with its files in `dir`, on a free port.
    ///
    /// # Errors
    /// When the program is not installed or does not come up.
    pub async fn start(dir: &Path, user: &str, password: &str) -> Result<Self> {
        let (addr, child) = process::start(dir, user, password).await?;
        Ok(Self { addr, child })
    }
}

/// A registry that takes a token as ECR does: user `AWS`, password the token of `ecr:GetAuthorizationToken`.
#[derive(Debug)]
pub struct EcrLikeRegistry {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The program, under its supervisor.
    pub child: Child,
    account: String,
    region: String,
}

/// The user of every ECR token.
pub const ECR_USER: &str = "AWS";

impl EcrLikeRegistry {
    /// Starts the registry of `account` in `region`; it takes `token` and nothing else.
    ///
    /// # Errors
    /// As [`OciRegistry::start`].
    pub async fn start(dir: &Path, account: &str, region: &str, token: &str) -> Result<Self> {
        let (addr, child) = process::start(dir, ECR_USER, token).await?;
        Ok(Self { addr, child, account: account.to_owned(), region: region.to_owned() })
    }

    /// The item of `TIDEMARK_ECR_HOSTS` that tells the credential helper which registry this host stands for.
    #[must_use]
    pub fn mapping(&self) -> String {
        format!("{}={}.{}", self.addr, self.account, self.region)
    }
}

/// What moto hands out as an account's token, decoded; AWS's own are long and change.
#[must_use]
pub fn moto_token(account: &str) -> String {
    format!("{account}-auth-token")
}
