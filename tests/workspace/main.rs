//! Rules of the workspace that no compiler checks.

mod dependencies;
mod repository;
