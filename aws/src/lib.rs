//! How Tidemark talks to AWS: the only crate that builds SDK clients.
//!
//! # Layout
//! - [`session`]: one HTTP client, one credential chain, one region; clients by service feature.
//! - [`fault`]: every SDK error becomes a [`fault::CallError`] that says what was called, on what, and which
//!   [`fault::Fault`] it was. *Absent*, *denied*, *denied by key*, *throttled* and *unreachable* stay apart.
//! - [`imds`]: the instance metadata service, version 2 only.
//! - `dynamodb`, `ec2`: few actions of large services, without the SDK's clients (`signed`).
//! - `stored_token`: the CI's agent token in Secrets Manager or SSM.
//! - [`arn`]: identifiers parsed once, partition-aware.
//!
//! `AWS_ENDPOINT_URL` and `AWS_EC2_METADATA_SERVICE_ENDPOINT` are honoured everywhere, so the lab needs no switch.

pub mod arn;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod fault;
pub mod imds;
pub mod session;
#[cfg(feature = "signed")]
mod signed;
#[cfg(all(feature = "secretsmanager", feature = "ssm"))]
pub mod stored_token;

pub use arn::Arn;
pub use fault::{CallError, Fault};
pub use imds::Imds;
pub use session::Session;
#[cfg(all(feature = "secretsmanager", feature = "ssm"))]
pub use stored_token::{StoredToken, StoredTokenError};

// The SDK crates, so that adapters name one dependency.
#[cfg(feature = "autoscaling")]
pub use aws_sdk_autoscaling as autoscaling;
#[cfg(feature = "cloudformation")]
pub use aws_sdk_cloudformation as cloudformation;
#[cfg(feature = "cloudwatch")]
pub use aws_sdk_cloudwatch as cloudwatch;
#[cfg(feature = "cloudwatchlogs")]
pub use aws_sdk_cloudwatchlogs as cloudwatchlogs;
#[cfg(feature = "ecr")]
pub use aws_sdk_ecr as ecr;
#[cfg(feature = "ecrpublic")]
pub use aws_sdk_ecrpublic as ecrpublic;
#[cfg(feature = "kms")]
pub use aws_sdk_kms as kms;
#[cfg(feature = "s3")]
pub use aws_sdk_s3 as s3;
#[cfg(feature = "secretsmanager")]
pub use aws_sdk_secretsmanager as secretsmanager;
#[cfg(feature = "sqs")]
pub use aws_sdk_sqs as sqs;
#[cfg(feature = "ssm")]
pub use aws_sdk_ssm as ssm;
#[cfg(feature = "sts")]
pub use aws_sdk_sts as sts;
