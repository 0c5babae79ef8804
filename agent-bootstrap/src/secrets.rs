//! A pipeline's secrets: lookup, parsing, checks.

use crate::failure::Failure;
use crate::layout::Layout;

/// Arguments of `secrets check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {}

/// Lints and lists what a job would get.
pub async fn check(_layout: &Layout, _args: CheckArgs) -> Result<(), Failure> {
    Err(Failure::failed("secrets check: not built yet"))
}
