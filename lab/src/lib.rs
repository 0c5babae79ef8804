//! The local cloud: moto behind an endpoint that decides, counts and fails as AWS does.

pub mod children;
pub mod endpoint;
pub mod moto;
