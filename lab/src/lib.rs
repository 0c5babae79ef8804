//! The local cloud: moto behind an endpoint that decides, counts and fails as AWS does.

pub mod children;
pub mod endpoint;
pub mod group;
pub mod iam;
pub mod imds;
pub mod instances;
pub mod moto;
pub mod registry;
