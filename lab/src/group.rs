//! The Auto Scaling group as AWS runs it. moto keeps a group's definition, this keeps its life: instances with
//! lifecycle states, scale-in protection, lifecycle hooks with heartbeats, scaling activities.
//!
//! # Layout
//! - [`model`]: what a group and its members are.
//! - [`decide`]: pure: from a group and a time to the steps that AWS would take.
//! - [`apply`]: pure: what a step changes in the group.
//! - [`launch`]: what a launch template says, and the order for an instance that follows from it.
//! - [`requests`]: pure: the API's mutations and AWS's refusals of them.
//! - [`wire`]: the Query protocol's parameters in, XML out.
//! - [`service`]: the edge: keeps all groups, takes the steps, starts and ends instances.

pub mod apply;
pub mod decide;
pub mod launch;
pub mod model;
pub mod requests;
pub mod service;
pub mod wire;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod laws;
