//! The disk guard: keeps room for jobs by removing what nobody uses, and tells `watch` when it cannot.
//!
//! # Layout
//! - [`decide`]: what to do about the room that is left. Pure.
//! - [`space`]: how much room is left.
//! - [`engine`]: a port: what can be pruned. [`docker`] is its adapter, [`fake_engine`] its double for tests.
//! - [`guard`]: the task that looks, decides and prunes.

pub mod decide;
pub mod docker;
pub mod engine;
pub mod fake_engine;
pub mod guard;
pub mod space;
