//! The groups on a queue, found by their tags.

use std::collections::BTreeMap;

use aws::autoscaling::types::{AutoScalingGroup, Filter, TagDescription};
use aws::{CallError, Session, autoscaling};
use futures::future::join_all;

use crate::allot::Standing;
use crate::brake::Seen;
use crate::group::seen;
use crate::ports::{Groups, Problem};
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

const DESCRIBE: &str = "autoscaling:DescribeAutoScalingGroups";

/// Groups in one answer when they are asked for by names, and when all are listed: the most that AWS allows.
const NAMES: usize = 50;
const PAGE: i32 = 100;

/// Queues that are asked for by their names; of more, all tagged groups are listed.
const QUEUES: usize = 10;

/// All groups of the session's account and region.
#[derive(Debug, Clone)]
pub struct AutoScalingGroups {
    client: autoscaling::Client,
    region: String,
}

impl AutoScalingGroups {
    /// Looks in the session's account and region.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self { client: session.autoscaling(), region: session.region().to_owned() }
    }

    async fn batch(&self, names: &[String]) -> Result<BTreeMap<String, Seen>, CallError> {
        let call =
            self.client.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(names.to_vec()));
        let answer = call.max_records(PAGE).send().await;
        let answer = answer.map_err(|e| CallError::new(&e, DESCRIBE, names.join(", ")))?;
        let told = answer.auto_scaling_groups().iter();
        Ok(told
            .filter_map(|group| Some((group.auto_scaling_group_name()?.to_owned(), seen(group))))
            .collect())
    }

    fn absent(&self, name: &str) -> Problem {
        let Self { region, .. } = self;
        Problem::new(
            78,
            format!(
                "group {name} does not exist in {region}: name groups of this account and region in ASG_NAME"
            ),
        )
    }
}

impl Groups for AutoScalingGroups {
    async fn tagged(&self, queues: &[String]) -> Result<Vec<TaggedGroup>, Problem> {
        let (filter, object) = if queues.len() > QUEUES {
            let any = Filter::builder().name("tag-key").values(QUEUE);
            (any, format!("groups tagged {QUEUE}"))
        } else {
            let of_queues = Filter::builder().name(format!("tag:{QUEUE}")).set_values(Some(queues.to_vec()));
            (of_queues, format!("groups tagged {QUEUE}={}", queues.join(", ")))
        };
        let call = self.client.describe_auto_scaling_groups().filters(filter.build()).max_records(PAGE);
        let mut pages = call.into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(group) = pages.next().await {
            let group = group.map_err(|e| CallError::new(&e, DESCRIBE, object.clone()))?;
            // A group that is being deleted has a status, and takes no part any more.
            if group.status().is_none() {
                groups.extend(tagged(&group).filter(|group| queues.contains(&group.queue)));
            }
        }
        Ok(groups)
    }

    async fn named(&self, names: &[String]) -> Vec<Result<Seen, Problem>> {
        let answers = join_all(names.chunks(NAMES).map(|names| self.batch(names))).await;
        let mut each = Vec::with_capacity(names.len());
        for (names, answer) in names.chunks(NAMES).zip(answers) {
            let answer = answer.map_err(Problem::from);
            each.extend(names.iter().map(|name| {
                let told = answer.as_ref().map_err(Clone::clone)?;
                told.get(name).cloned().ok_or_else(|| self.absent(name))
            }));
        }
        each
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
        queue: tag(QUEUE)?,
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
