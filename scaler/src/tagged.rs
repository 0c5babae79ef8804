//! The groups on a queue, found by their tags.

use aws::autoscaling::types::{AutoScalingGroup, Filter, TagDescription};
use aws::{CallError, Session, autoscaling};

use crate::allot::Standing;
use crate::group::seen;
use crate::ports::{Problem, QueueGroups};
use crate::sharing::TaggedGroup;

/// The queue that a group serves.
pub const QUEUE: &str = "tidemark:queue";
/// The stack that a group belongs to.
pub const STACK: &str = "tidemark:stack";
/// New capacity goes to the highest priority first: a whole number, 0 where it is absent.
pub const PRIORITY: &str = "tidemark:priority";
/// Among equals, parts are as weights: a whole number from 1, which it is where it is absent, to
/// [`HEAVIEST`](crate::allot::HEAVIEST).
pub const WEIGHT: &str = "tidemark:weight";
/// Agents on one instance: at least 1, which it is where it is absent.
pub const AGENTS: &str = "tidemark:agents-per-instance";
/// Instances of all groups of the stack together.
pub const MOST: &str = "tidemark:max-instances";

/// All groups of the session's account and region.
#[derive(Debug, Clone)]
pub struct TaggedGroups {
    client: autoscaling::Client,
}

impl TaggedGroups {
    /// Looks in the session's account and region.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self { client: session.autoscaling() }
    }
}

impl QueueGroups for TaggedGroups {
    async fn tagged(&self, queue: &str) -> Result<Vec<TaggedGroup>, Problem> {
        let of_queue = Filter::builder().name(format!("tag:{QUEUE}")).values(queue).build();
        let mut pages =
            self.client.describe_auto_scaling_groups().filters(of_queue).into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(group) = pages.next().await {
            let object = || format!("groups tagged {QUEUE}={queue}");
            let group =
                group.map_err(|e| CallError::new(&e, "autoscaling:DescribeAutoScalingGroups", object()))?;
            // A group that is being deleted has a status, and takes no part any more.
            if group.status().is_none() {
                groups.extend(tagged(&group));
            }
        }
        Ok(groups)
    }
}

fn tagged(group: &AutoScalingGroup) -> Option<TaggedGroup> {
    let tags = group.tags();
    let tag = |key: &str| {
        let value = |tag: &TagDescription| tag.value().map(|value| value.trim().to_owned());
        tags.iter().find(|tag| tag.key() == Some(key)).and_then(value).filter(|value| !value.is_empty())
    };
    // All scalers read the same tag, so all of them take what is no number for the default.
    let at_least_one = |key| tag(key).and_then(|text| text.parse().ok()).filter(|number| *number >= 1);
    Some(TaggedGroup {
        name: group.auto_scaling_group_name()?.to_owned(),
        stack: tag(STACK),
        standing: Standing {
            priority: tag(PRIORITY).and_then(|text| text.parse().ok()).unwrap_or(0),
            weight: at_least_one(WEIGHT).unwrap_or(1),
        },
        agents: at_least_one(AGENTS).unwrap_or(1),
        most: at_least_one(MOST),
        seen: seen(group),
    })
}
