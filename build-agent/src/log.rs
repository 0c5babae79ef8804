//! The pure parts of a job log.

pub mod redact;
pub mod stamp;
