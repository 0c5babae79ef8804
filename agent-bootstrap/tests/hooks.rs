//! The hooks as an agent calls them: the real binary under the installed bash text, against S3 on a loopback port.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests: a panic is their way to fail")]

#[path = "hooks/fake_s3.rs"]
mod fake_s3;
#[path = "hooks/instance.rs"]
mod instance;

#[path = "hooks/check.rs"]
mod check;
#[path = "hooks/credentials.rs"]
mod credentials;
#[path = "hooks/faults.rs"]
mod faults;
#[path = "hooks/secrets.rs"]
mod secrets;
