//! What can be pruned: a port. Its adapter is `docker.rs`, its double `fake_engine.rs`; `tests/contracts` holds both to
//! one suite.

use std::path::PathBuf;

use jiff::Timestamp;

/// An engine that keeps images, containers, networks, volumes and build cache.
pub trait Engine {
    /// Where it keeps them.
    ///
    /// # Errors
    /// It does not answer.
    fn data_root(&self) -> impl Future<Output = Result<PathBuf, String>> + Send;

    /// Removes containers that do not run and networks without containers, made before `before`, and if `cache` is set
    /// build cache that was not used since. The bytes that came free.
    ///
    /// # Errors
    /// What failed, and what the engine said.
    fn prune_old(&self, before: Timestamp, cache: bool) -> impl Future<Output = Result<u64, String>> + Send;

    /// Removes images made before `before` that no container uses, and anonymous volumes that none uses. The bytes that
    /// came free.
    ///
    /// # Errors
    /// What failed, and what the engine said.
    fn prune_unused(&self, before: Timestamp) -> impl Future<Output = Result<u64, String>> + Send;
}
