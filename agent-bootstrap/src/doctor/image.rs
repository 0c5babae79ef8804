//! `doctor --image`: is everything in a fresh image? A bake asks this last, and fails with all that is missing.
//!
//! # Layout
//! - [`contents`]: what an image must hold; a table. [`access`]: who may change it.
//! - [`observe`]: looks below the root; decides nothing.
//! - [`judge`]: what was seen becomes checks with fix lines; pure.
//!
//! Below a root other than `/` lies a folder on someone's machine: only Tidemark's own files are asked for then.

pub mod access;
pub mod contents;
pub mod judge;
pub mod observe;

use super::report::Report;
use crate::layout::Layout;

/// Everything that is missing, at once.
#[must_use]
pub fn report(layout: &Layout) -> Report {
    Report { checks: judge::checks(&observe::image(layout.root())) }
}
