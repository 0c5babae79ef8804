//! The job hooks. Stdout carries only shell-quoted exports and unsets; everything for people goes to stderr.

use crate::cli::Phase;
use crate::failure::Failure;
use crate::layout::Layout;

/// Runs one hook.
pub async fn run(_layout: &Layout, _phase: Phase) -> Result<(), Failure> {
    Err(Failure::failed("hook: not built yet"))
}
