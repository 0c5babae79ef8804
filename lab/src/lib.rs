//! The local cloud: moto behind an endpoint that decides, counts and fails as AWS does.

pub mod alarms;
pub mod bake;
pub mod build_server;
pub mod children;
pub mod cli;
pub mod demo;
pub mod endpoint;
pub mod engine;
pub mod function_url;
pub mod git;
pub mod group;
pub mod iam;
pub mod imds;
pub mod instances;
pub mod lab;
pub mod moto;
pub mod readback;
pub mod registry;
pub mod schedule;
pub mod sshd;
pub mod stack;
pub mod state;
