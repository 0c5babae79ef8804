//! `scaler`: reads job counts from the CI's API, publishes them as CloudWatch metrics and resizes the group.
//!
//! # Layout
//! - [`decide`]: pure. Policy and what was observed become a [`decide::Plan`] with its reason.
//! - [`brake`]: pure. Boots that fail are not repeated for ever.
//! - [`phantom`]: pure. Instances that boot for too long count no more as capacity to come.
//! - [`share`]: pure. Which group takes which part of the need; [`shortage`] remembers where AWS does not deliver.
//! - [`gap`]: pure. Alarms mode: what is published so that CloudWatch alarms resize the groups.
//! - [`allot`]: pure. Which stack takes which part of a queue that several serve; [`sharing`] is what is known of them,
//!   [`tagged`] the adapter that finds them.
//! - [`tick`]: one observe-decide-apply over the three ports [`ports::JobCounts`], [`ports::Group`], [`ports::Metrics`].
//! - [`record`]: pure. All that a tick decided from, and what came of it; [`explain`] tells it in plain words.
//! - [`reading`]: pure. How fresh and how complete job counts are, and what of it keeps capacity from falling.
//! - [`job_counts`], [`group`], [`metrics`], [`keeps`]: the adapters (agent API, Auto Scaling, CloudWatch, SSM).
//! - [`lease`]: pure. Which of several scalers lowers; [`ledger`]: the table that it lies on.
//! - [`state`]: pure. What was learned, in a form that outlives the process; its `store` keeps it on the ledger.
//! - [`pace`]: pure. When the next tick and the next publication are due.
//! - [`forecast`]: pure. Jobs that were announced and are not there yet; [`fan_out`]: how many a build brings.
//! - [`hint`]: webhooks of the CI that make the next look come at once.
//! - [`check`]: the settings that hold, for people.
//! - [`settings`]: pure. The settings document; [`schedule`]: pure. What is wanted when.
//! - [`simulate`]: policies on a virtual clock, over a trace of jobs.
//! - [`lambda`], [`daemon`], [`cli`]: the three callers of a tick: `lambda`, `run`, `once`.

pub mod allot;
pub mod brake;
pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod explain;
pub mod fan_out;
pub mod forecast;
pub mod gap;
pub mod group;
pub mod groups;
pub mod hint;
pub mod job_counts;
pub mod keeps;
pub mod lambda;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod pace;
pub mod phantom;
pub mod ports;
pub mod price;
pub mod reading;
pub mod record;
pub mod scaler;
pub mod schedule;
pub mod settings;
pub mod share;
pub mod sharing;
pub mod shortage;
pub mod simulate;
pub mod state;

pub mod tick;
