//! AMIs from a queue.
//!
//! # Layout
//! - [`cli`], [`config`], [`init`], [`check`], [`signals`]: the command line and its settings.
//! - [`job`]: what is asked for; text becomes types that cannot leave the repository or be taken for options.
//! - [`worker`]: messages in, images and audits out. [`builder`] does one build with [`repository`] (git) and [`packer`],
//!   both run by [`process`]; [`leftovers`] takes away what a killed Packer left; [`publish`] tells of images.
//! - [`queue`] (SQS), [`ledger`] (DynamoDB), [`audit_bucket`] (S3), [`log`] (files and CloudWatch Logs): the adapters.
//! - [`audit`]: the record of a build's end, in kiln's format.

pub mod audit;
pub mod audit_bucket;
pub mod builder;
pub mod check;
pub mod cli;
pub mod config;
pub mod init;
pub mod job;
pub mod ledger;
pub mod leftovers;
pub mod log;
pub mod packer;
pub mod problem;
pub mod process;
pub mod publish;
pub mod queue;
pub mod repository;
pub mod signals;
pub mod worker;
