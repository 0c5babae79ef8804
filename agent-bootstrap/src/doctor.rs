//! Checks of the whole setup, each with a fix line.

use crate::failure::Failure;
use crate::layout::Layout;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

/// Runs every check and prints one line each.
pub async fn run(_layout: &Layout, _args: DoctorArgs) -> Result<(), Failure> {
    Err(Failure::failed("doctor: not built yet"))
}
