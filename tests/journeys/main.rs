//! Journeys: the real programs on the lab, one file a story. Each starts what it needs in a temporary folder.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's failure is its message")]

mod alarms;
mod always_on;
mod bake;
mod boot;
mod build_ami;
mod busy;
mod clock;
mod containers;
mod counts;
mod daemon;
mod demo;
mod doctor;
mod explain;
mod faults;
mod five_hours;
mod floor;
mod given_and_default;
mod hints;
mod idle;
mod images;
mod instance_parameters;
mod jobs;
mod lab_cli;
mod lease;
mod leftovers;
mod logs;
mod lone_cloud;
mod many_queues;
mod notices;
mod parameters;
mod paused_queue;
mod phantom;
mod public_ecr;
mod restart;
mod rolls;
mod scene;
mod secrets_policy;
mod secrets_stay;
mod shared_queue;
mod spot;
mod stack_verbs;
mod storm;
mod template_effects;
mod warm_pool;
