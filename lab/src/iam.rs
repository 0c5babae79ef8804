//! IAM's decisions, pure: policy documents, conditions, and what allows and denies add up to.
//!
//! Written here rather than taken from a crate: `iam-rs` 0.8 compares `ArnEquals` without wildcards, takes condition
//! keys by their exact case and refuses a wildcard in an ARN's service, all against IAM's documentation.

pub mod conditions;
pub mod context;
pub mod decision;
pub mod pattern;
pub mod policy;
