//! The endpoint in front of moto: one URL for all services, deciding permissions as AWS does.

pub mod answer;
pub mod autoscaling;
pub mod caller;

/// The account that everything in the lab belongs to (moto's own default).
pub const ACCOUNT: &str = "123456789012";
