//! One tick: observe jobs and group, decide, apply, publish, and say why.

pub mod fake_group;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::brake::{Brake, Failing, Seen};
use crate::decide::{Capacity, Jobs, Plan, Policy, Step};
use crate::gap::ScalingMode;
use crate::phantom::BootWatch;
use crate::ports::{Agents, Group, JobCounts, Metrics, Problem, QueueGroups, Troubles};
use crate::record::{GroupSeen, Inputs, Known, Moved, Record, Wanted};
use crate::sharing::{FixedShare, Memory, Sharing};
use crate::shortage::{Patience, Shortage};

/// Other stacks on the queue: where they are found, and what is remembered of them from tick to tick.
#[derive(Debug)]
pub struct Others<Q> {
    /// Where they are found.
    pub groups: Q,
    /// What is remembered of them.
    pub memory: Memory,
}

impl<Q: QueueGroups> Others<Q> {
    /// Nothing is known of them yet.
    pub fn new(groups: Q) -> Self {
        Self { groups, memory: Memory::new() }
    }
}

/// What one tick is asked to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The queue whose jobs count.
    pub queue: String,
    /// The owner's wishes.
    pub policy: Policy,
    /// Instances of all groups together, beyond each group's own maximum.
    pub most: u32,
    /// The period of the schedule that both are of.
    pub period: Option<String>,
    /// How long AWS may owe launches.
    pub patience: Patience,
    /// After three failed boots, the pause before another one is tried.
    pub probe_after: SignedDuration,
    /// Who changes desired capacity.
    pub mode: ScalingMode,
    /// The part of the queue's jobs that is for this account and region.
    pub share: FixedShare,
    /// Decide and say, but change and publish nothing.
    pub dry_run: bool,
    /// Publish metrics in this tick.
    pub publish: bool,
}

impl Order {
    fn wanted(&self) -> Wanted {
        Wanted {
            policy: self.policy,
            most: self.most,
            patience: self.patience,
            mode: self.mode,
            period: self.period.clone(),
            share: self.share,
        }
    }
}

/// A group, its name for the record, and what is remembered of it from tick to tick.
#[derive(Debug)]
pub struct Kept<G> {
    /// Its name.
    pub name: String,
    /// Its adapter.
    pub group: G,
    /// Does AWS deliver there?
    pub shortage: Shortage,
    /// Do its instances boot?
    pub brake: Brake,
    /// For how long do they?
    pub boots: BootWatch,
    /// The last look at it.
    pub seen: Option<Seen>,
}

impl<G> Kept<G> {
    /// A group of which nothing is known yet.
    pub fn new(name: impl Into<String>, group: G) -> Self {
        Self {
            name: name.into(),
            group,
            shortage: Shortage::default(),
            brake: Brake::default(),
            boots: BootWatch::default(),
            seen: None,
        }
    }
}

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
    /// The period of the schedule that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// Jobs, when the CI answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
    /// Jobs that were announced and have not come.
    #[serde(skip_serializing_if = "crate::record::is_none")]
    pub announced: u32,
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
    /// Were metrics published?
    pub published: bool,
    /// Everything that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Outcome of a tick: what goes on record, what failed, and what the CI asked for.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// For the decision log: one for each group.
    pub decisions: Vec<Decision>,
    /// The whole tick, to be told and replayed; none where it was quiet.
    pub record: Option<Record>,
    /// Were metrics published?
    pub published: bool,
    /// Empty when all went well.
    pub problems: Vec<Problem>,
    /// How long the CI asks us to wait.
    pub poll_after: Option<Duration>,
    /// Idle instances stay that could go: it was decided so.
    pub keeps_idle: bool,
}

/// Runs one tick. An unknown (jobs or any of the groups) means no step at all; a failed publication does not stop the
/// steps.
pub async fn tick<J: JobCounts, G: Group, Q: QueueGroups, M: Metrics>(
    order: &Order,
    jobs: &J,
    groups: &mut [Kept<G>],
    others: &mut Others<Q>,
    metrics: &M,
    at: Timestamp,
) -> Outcome {
    let (counts, tagged) = tokio::join!(jobs.read(&order.queue), others.groups.tagged(&order.queue));
    // A stack's own groups are tagged, too: one call tells of all.
    let told = |name: &str| tagged.as_ref().ok().and_then(|all| all.iter().find(|group| group.name == name));
    let described = groups.iter().map(|kept| async {
        match told(&kept.name) {
            Some(group) => Ok(group.seen.clone()),
            None => kept.group.describe().await,
        }
    });
    let described = futures::future::join_all(described).await;
    let mut problems = Vec::new();
    let counts = counts.map_err(|p| problems.push(p)).ok();
    let mut seen = Vec::with_capacity(groups.len());
    let mut moved = Vec::with_capacity(groups.len());
    for (kept, described) in groups.iter_mut().zip(described) {
        let (known, came) = match described {
            Ok(seen) => note(kept, seen, order, at, &mut problems).await,
            Err(problem) => {
                problems.push(problem);
                (None, Moved::default())
            }
        };
        seen.push(GroupSeen { name: kept.name.clone(), known });
        moved.push(came);
    }
    let names: Vec<String> = groups.iter().map(|kept| kept.name.clone()).collect();
    let sharing = match tagged {
        Ok(tagged) => Sharing::of(&names, &tagged, &others.memory),
        Err(problem) => {
            problems.push(problem);
            Sharing::Unknown
        }
    };
    let inputs = Inputs {
        at,
        queue: order.queue.clone(),
        wanted: order.wanted(),
        jobs: counts.as_ref().map(|counts| counts.jobs),
        expected: counts.as_ref().map_or(0, |counts| counts.expected),
        groups: seen,
        sharing,
    };
    let plans = inputs.decide();
    others.memory = inputs.remember().unwrap_or_else(|| std::mem::take(&mut others.memory));
    let gaps = inputs.gaps(&plans);
    if !order.dry_run && order.mode.is_direct() {
        apply(groups, &plans, &mut problems).await;
    }
    let mut published = false;
    if let Some(counts) = counts.as_ref().filter(|_| order.publish && !order.dry_run) {
        let failed = groups.iter().map(|kept| kept.brake.in_a_row()).max().unwrap_or(0);
        let troubles = Troubles {
            boots_failing: failed as u64,
            capacity_short: inputs.capacity_short(),
            phantom_instances: inputs.phantoms(),
        };
        let named = groups.iter().zip(&gaps).filter_map(|(kept, gap)| Some((kept.name.clone(), (*gap)?)));
        let named: Vec<(String, i64)> = named.collect();
        match metrics.publish(&order.queue, counts, troubles, &named, at).await {
            Ok(()) => published = true,
            Err(problem) => problems.push(problem),
        }
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let decisions = inputs.groups.iter().zip(inputs.weighed()).zip(plans.iter().zip(gaps)).map(
        |((group, capacity), (plan, gap))| {
            let boots_failing = group.known.as_ref().and_then(|known| known.boots_failing.clone());
            Decision {
                at,
                queue: order.queue.clone(),
                group: group.name.clone(),
                dry_run: order.dry_run,
                period: order.period.clone(),
                jobs: inputs.jobs,
                announced: inputs.expected,
                agents: counts.as_ref().map(|c| c.agents),
                capacity,
                boots_failing,
                needed: plan.map(|p| p.needed),
                step: plan.map(|p| p.step),
                gap,
                reason: reason(plan.as_ref()),
                published,
                problems: told.clone(),
            }
        },
    );
    let decisions = decisions.collect();
    let record = Record::new(&inputs, &plans, moved, &told, order.dry_run);
    let record = (!record.is_quiet()).then_some(record);
    let keeps_idle = inputs.keep_idle(&plans);
    let poll_after = counts.and_then(|counts| counts.poll_after);
    Outcome { decisions, record, published, problems, poll_after, keeps_idle }
}

/// What was seen, with what is remembered of it, and which instances came or went. Boots that cannot be asked about
/// leave the brake as it was: what is unknown neither stops a group nor sets a failing one free.
async fn note<G: Group>(
    kept: &mut Kept<G>,
    seen: Seen,
    order: &Order,
    at: Timestamp,
    problems: &mut Vec<Problem>,
) -> (Option<Known>, Moved) {
    if kept.brake.look(&seen, at) {
        match kept.group.boots().await {
            Ok(boots) => {
                kept.boots.learn(&boots);
                kept.brake.learn(boots, at);
            }
            Err(problem) => problems.push(problem),
        }
    }
    kept.boots.look(&seen.booting, at);
    let booting = seen.capacity.live.saturating_sub(seen.capacity.in_service);
    let phantom = kept.boots.phantoms(at).min(booting);
    let known = Known {
        capacity: Capacity { phantom, ..seen.capacity },
        boot_budget: (phantom > 0).then(|| kept.boots.budget()),
        shortage: kept.shortage,
        boots_failing: kept.brake.failing(order.probe_after),
    };
    kept.shortage = known.weigh(order.patience, at).1;
    // After a start of the program nobody knows what came meanwhile.
    let moved = kept.seen.as_ref().map(|before| Moved::between(before, &seen)).unwrap_or_default();
    kept.seen = Some(seen);
    (Some(known), moved)
}

/// Growth comes first: what one group cannot launch, another one has then been asked for.
async fn apply<G: Group>(groups: &[Kept<G>], plans: &[Option<Plan>], problems: &mut Vec<Problem>) {
    for growth in [true, false] {
        for (kept, plan) in groups.iter().zip(plans) {
            let Some(plan) = plan.filter(|plan| matches!(plan.step, Step::ScaleOut { .. }) == growth) else {
                continue;
            };
            if let Some(target) = plan.target()
                && let Err(problem) = kept.group.set_desired(target).await
            {
                problems.push(problem);
            }
        }
    }
}

fn reason(plan: Option<&Plan>) -> String {
    plan.map_or_else(|| "unknown is not zero: nothing is changed".to_owned(), |plan| plan.reason.to_string())
}

#[cfg(test)]
mod phantoms;
#[cfg(test)]
mod records;
#[cfg(test)]
mod tests;
