//! From a bare instance to running agents.

use crate::failure::Failure;
use crate::layout::Layout;

/// Arguments of `boot`.
#[derive(Debug, clap::Args)]
pub struct BootArgs {}

/// Runs all phases.
pub async fn run(_layout: &Layout, _args: BootArgs) -> Result<(), Failure> {
    Err(Failure::failed("boot: not built yet"))
}
