//! Protection follows busy agents; idle and lifecycle events drain and retire the instance.

pub mod client;

use crate::failure::Failure;
use crate::layout::Layout;

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {}

/// Watches until the instance is retired or the process is told to stop.
pub async fn run(_layout: &Layout, _args: WatchArgs) -> Result<(), Failure> {
    Err(Failure::failed("watch: not built yet"))
}
