//! The line of the decision log.

use jiff::Timestamp;
use serde::Serialize;

use super::Order;
use crate::brake::Failing;
use crate::decide::{Capacity, Jobs, Plan, Step};
use crate::ports::{Agents, Counts};
use crate::reading::Doubt;
use crate::record::Inputs;

/// A line of the decision log, of one group in one tick: what was seen, what was decided and why, what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// When the tick began.
    pub at: Timestamp,
    /// The queue.
    pub queue: String,
    /// The group.
    pub group: String,
    /// Nothing was changed because nothing was to be changed.
    pub dry_run: bool,
    /// The groups were not looked at: nothing was under way at the last look, and the jobs ask for nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_rest: bool,
    /// The period of the schedule that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// Jobs, when the CI answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
    /// Jobs that were announced and have not come.
    #[serde(skip_serializing_if = "crate::record::is_none")]
    pub announced: u32,
    /// The CI gives out no jobs of the queue.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Scheduled jobs that ask for other agents than there are here.
    #[serde(skip_serializing_if = "crate::record::is_no_job")]
    pub unmatched: u64,
    /// Why the job counts lower nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// For how long the oldest job has waited that could run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_wait_s: Option<i64>,
    /// Agents, when the CI answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Agents>,
    /// The group, when AWS answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// Boots that keep failing: the brake is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boots_failing: Option<Failing>,
    /// Instances that jobs and buffer ask for, before the group's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<u32>,
    /// What was decided; absent when something was unknown, which changes nothing.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// In alarms mode: what is published, so that the group's alarms bring the step about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<i64>,
    /// Why, for people.
    pub reason: String,
    /// The scaler that lowers instead of this one: it has the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_to: Option<String>,
    /// Were metrics published?
    pub published: bool,
    /// Everything that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a tick came to.
pub(super) struct Came<'a> {
    pub order: &'a Order,
    pub counts: Option<&'a Counts>,
    pub inputs: &'a Inputs,
    pub plans: &'a [Option<Plan>],
    pub gaps: &'a [Option<i64>],
    pub looked: bool,
    pub left_to: Option<&'a str>,
    pub published: bool,
    pub problems: &'a [String],
}

impl Came<'_> {
    /// A line for each group.
    pub(super) fn decisions(&self) -> Vec<Decision> {
        let Self { order, inputs, plans, gaps, .. } = self;
        let oldest_wait = self.counts.and_then(|counts| counts.oldest_wait(inputs.at));
        let each = inputs.groups.iter().zip(inputs.weighed()).zip(plans.iter().zip(*gaps));
        let each = each.map(|((group, capacity), (plan, gap))| Decision {
            at: inputs.at,
            queue: order.queue.clone(),
            group: group.name.clone(),
            dry_run: order.dry_run,
            at_rest: !self.looked,
            period: order.period.clone(),
            jobs: inputs.jobs,
            announced: inputs.expected,
            paused: inputs.paused,
            unmatched: inputs.unmatched,
            doubt: inputs.doubt,
            oldest_wait_s: oldest_wait.map(|wait| wait.as_secs()),
            agents: self.counts.map(|counts| counts.agents),
            capacity,
            boots_failing: group.known.as_ref().and_then(|known| known.boots_failing.clone()),
            needed: plan.map(|plan| plan.needed),
            step: plan.map(|plan| plan.step),
            gap: *gap,
            reason: reason(plan.as_ref()),
            left_to: self
                .left_to
                .filter(|_| plan.is_some_and(|plan| matches!(plan.step, Step::ScaleIn { .. })))
                .map(str::to_owned),
            published: self.published,
            problems: self.problems.to_vec(),
        });
        each.collect()
    }
}

fn reason(plan: Option<&Plan>) -> String {
    plan.map_or_else(|| "unknown is not zero: nothing is changed".to_owned(), |plan| plan.reason.to_string())
}
