//! Contracts: one suite for each port, run on its double and on its adapter before the lab's endpoint. A double that
//! answers otherwise than the adapter fails here, and so does a lab that refuses otherwise than either expects.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests: a panic is their way to fail")]

mod disk_engine;
mod job_counts;
mod ledger;
mod past_jobs;
mod quiet_group;
mod scaler_group;
mod secret_store;
mod watch_group;
