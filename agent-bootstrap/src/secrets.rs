//! A pipeline's secrets: which objects they are, how they are fetched, checked and read.
//!
//! # Layout
//! - [`lookup`]: a pipeline's slug becomes ordered keys. Pure.
//! - [`store`]: the ports; [`s3`] and [`folder`] implement them.
//! - [`fetch`]: one round trip for everything, a second one for secret files.
//! - [`encryption`]: may an object with this encryption be used? Pure.
//! - [`env_file`] and [`shell_program`]: env files, typed or run by a child bash.
//! - [`bundle`]: fetched objects become variables, keys and credentials, or faults.
//! - [`ssh_key`]: SSH keys, checked and repaired. Pure.
//! - [`check`]: the verb `secrets check`.

pub mod bundle;
pub mod check;
pub mod encryption;
pub mod env_file;
pub mod fault;
pub mod fetch;
pub mod folder;
pub mod lookup;
pub mod s3;
pub mod shell_program;
pub mod ssh_key;
pub mod store;

pub use bundle::Bundle;
pub use check::{CheckArgs, check};
pub use store::{KeyDirectory, SecretStore};

use crate::config::{Environment, SecretsConfig};
use crate::failure::Failure;

/// What a pipeline has, and what is wrong with it. With any fault the rest must not be used: half the secrets is
/// none.
pub struct Loaded {
    /// Everything that could be read.
    pub bundle: Bundle,
    /// Everything that could not, in the order of the lookup.
    pub faults: Vec<Failure>,
}

/// Fetches, checks and reads a pipeline's secrets.
pub async fn load(
    store: &impl SecretStore,
    keys: &impl KeyDirectory,
    config: &SecretsConfig,
    environment: &Environment,
) -> Loaded {
    let mut faults = Vec::new();
    let fetched = fetch::fetch(store, &config.pipeline, &config.encryption, &mut faults).await;
    let usable = fetch::check_encryption(store, keys, &config.encryption, fetched, &mut faults).await;
    let bundle = bundle::read(usable, config, environment, &mut faults).await;
    Loaded { bundle, faults }
}

/// A session for the secrets bucket.
///
/// # Errors
/// When no region is known.
pub async fn session(config: &SecretsConfig) -> Result<aws::Session, Failure> {
    Ok(aws::Session::load(config.region.as_deref(), aws::session::Patience::default()).await?)
}
