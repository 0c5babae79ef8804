//! The record of a tick: everything that the decision was made from, and what came of it. Pure.
//!
//! A tick decides by [`Inputs::decide`] and by nothing else, so that a record, read back, comes to the same plan. Quiet
//! ticks leave no record: those that change nothing, refuse nothing, and see no instance come or go.

mod moved;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use moved::Moved;
pub(crate) use moved::NAMED;

use crate::brake::Failing;
use crate::decide::{Capacity, Jobs, Plan, Policy, Reason, Step, decide, needed, needed_by_jobs};
use crate::gap::{ScalingMode, gaps};
use crate::phantom::made_up_for;
use crate::price::HourlyPrice;
use crate::reading::Doubt;
use crate::share::{keep_within, shares};
use crate::sharing::{FixedShare, Here, Memory, Part, Sharing};
use crate::shortage::{Patience, Shortage};

/// Version of the form. Another one is not replayed.
pub const VERSION: u64 = 1;

/// The longest text of somebody else (AWS, the CI) that a record holds, in characters; and how many of them.
const TEXT: usize = 400;
const TEXTS: usize = 8;

/// What the stack's owner wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The policy.
    pub policy: Policy,
    /// Instances of all groups together.
    pub most: u32,
    /// How long AWS may owe launches.
    pub patience: Patience,
    /// Who changes desired capacity.
    #[serde(default, skip_serializing_if = "ScalingMode::is_direct")]
    pub mode: ScalingMode,
    /// The period of the schedule that changed the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// The part of the queue's jobs that is for this account and region.
    #[serde(default, skip_serializing_if = "FixedShare::is_all")]
    pub share: FixedShare,
}

/// What is known of a group that was described.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its numbers, as described.
    pub capacity: Capacity,
    /// What was remembered before this look: does AWS deliver there?
    pub shortage: Shortage,
    /// How long its instances may boot; told where some of them boot for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_budget: Option<SignedDuration>,
    /// Those that do, some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phantoms: Vec<String>,
    /// Its boots keep failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots_failing: Option<Failing>,
}

impl Known {
    /// The group as it is decided on, and what is remembered of it from now on.
    #[must_use]
    pub fn weigh(&self, patience: Patience, at: Timestamp) -> (Capacity, Shortage) {
        let mut shortage = self.shortage;
        let short = shortage.note(&self.capacity, patience, at);
        let ceiling = self.boots_failing.as_ref().map(|failing| failing.ceiling(&self.capacity, at));
        (Capacity { short, ceiling, ..self.capacity }, shortage)
    }
}

/// A group as the tick saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSeen {
    /// Its name.
    pub name: String,
    /// Absent when AWS did not describe it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
}

/// All that one tick decides from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// When the tick began.
    pub at: Timestamp,
    /// The queue.
    pub queue: String,
    /// The owner's wishes.
    pub wanted: Wanted,
    /// Absent when the CI did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
    /// Jobs that hints announced and that have not come ([`crate::forecast`]).
    #[serde(default, rename = "announced", skip_serializing_if = "is_none")]
    pub expected: u32,
    /// The CI gives out no jobs of the queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Scheduled jobs that ask for other agents than there are here; not among `jobs`.
    #[serde(default, skip_serializing_if = "is_no_job")]
    pub unmatched: u64,
    /// Why the job counts lower nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// In the order of the configuration: the cheapest first.
    pub groups: Vec<GroupSeen>,
    /// Other stacks on the queue.
    #[serde(default, skip_serializing_if = "Sharing::is_alone")]
    pub sharing: Sharing,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_none(announced: &u32) -> bool {
    *announced == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_no_job(count: &u64) -> bool {
    *count == 0
}

impl Inputs {
    /// The jobs to prepare for: those that are there, and those that were announced; those that run, while the queue is
    /// paused.
    #[must_use]
    fn awaited(&self) -> Option<Jobs> {
        let jobs = self.jobs?;
        if self.paused {
            return Some(Jobs { running: jobs.running, ..Jobs::default() });
        }
        Some(Jobs { scheduled: jobs.scheduled.saturating_add(self.expected.into()), ..jobs })
    }

    /// Jobs that would need agents if the queue were not paused.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        let jobs = self.jobs.filter(|_| self.paused);
        jobs.map_or(0, |jobs| jobs.scheduled.saturating_add(self.expected.into()))
    }

    /// Each group as it is decided on; none where it is not known.
    #[must_use]
    pub fn weighed(&self) -> Vec<Option<Capacity>> {
        let weigh = |known: &Known| known.weigh(self.wanted.patience, self.at).0;
        self.groups.iter().map(|group| group.known.as_ref().map(weigh)).collect()
    }

    /// A plan for each group, or none for any: a group that is not known may hold what the others would be asked for.
    #[must_use]
    pub fn decide(&self) -> Vec<Option<Plan>> {
        let Some((part, known)) = self.part() else { return vec![None; self.groups.len()] };
        let policy = &self.wanted.policy;
        let known = made_up_for(part.instances, known);
        let shares = shares(part.instances, self.wanted.most, &known);
        let coming = |group: &Capacity| group.desired.saturating_sub(group.phantom);
        let desired = known.iter().map(coming).fold(0u32, u32::saturating_add);
        let plan = |share, group| {
            let mut plan = decide(policy, share, group);
            match plan.reason {
                Reason::Need if part.by_jobs <= desired => plan.reason = Reason::Floor,
                Reason::Enough if self.held_back() > 0 => plan.reason = Reason::Paused,
                _ => {}
            }
            if self.doubt.is_some() { plan.in_doubt(group) } else { plan }
        };
        let mut plans: Vec<Plan> =
            shares.into_iter().zip(&known).map(|(share, group)| plan(share, group)).collect();
        keep_within(self.wanted.most, &mut plans, &known);
        plans.into_iter().map(Some).collect()
    }

    /// Does AWS not launch what is desired in this group, for longer than it may take?
    #[must_use]
    pub fn owes(&self, known: &Known) -> bool {
        let (group, _) = known.weigh(self.wanted.patience, self.at);
        group.short && group.owed() > 0
    }

    /// Instances that boot for longer than they may.
    #[must_use]
    pub fn phantoms(&self) -> u64 {
        let known = self.groups.iter().filter_map(|group| group.known.as_ref());
        known.map(|known| u64::from(known.capacity.phantom)).sum()
    }

    /// What all instances that live cost in an hour, at these prices; none without them, or where a group is not known.
    #[must_use]
    pub fn hourly_cost(&self, prices: &[HourlyPrice]) -> Option<f64> {
        let cost = |(group, price): (&GroupSeen, &HourlyPrice)| {
            group.known.as_ref().map(|known| price.of_instances(known.capacity.live))
        };
        let each = self.groups.iter().zip(prices).map(cost);
        (!prices.is_empty()).then(|| each.sum::<Option<f64>>()).flatten()
    }

    /// Is it the plan that idle instances stay which could go?
    #[must_use]
    pub fn keep_idle(&self, plans: &[Option<Plan>]) -> bool {
        self.groups.iter().zip(plans).any(|(group, plan)| {
            let idle = group.known.as_ref().map_or(0, |known| known.capacity.releasable);
            let go = match plan.map(|plan| plan.step) {
                Some(Step::ScaleIn { from, to }) => from - to,
                Some(_) => 0,
                None => return false,
            };
            idle > go
        })
    }

    /// What is published of each group for the alarms, in alarms mode; what `plans` decided comes about by it.
    #[must_use]
    pub fn gaps(&self, plans: &[Option<Plan>]) -> Vec<Option<i64>> {
        if self.wanted.mode.is_direct() {
            return vec![None; plans.len()];
        }
        gaps(plans, &self.weighed(), self.wanted.most)
    }

    /// Instances that are asked of this stack, before its limits, and its groups as they are decided on; none where
    /// something is unknown.
    #[must_use]
    pub fn part(&self) -> Option<(Part, Vec<Capacity>)> {
        let known: Vec<Capacity> = self.weighed().into_iter().collect::<Option<_>>()?;
        let (policy, jobs) = (&self.wanted.policy, self.jobs()?);
        let part = match &self.sharing {
            Sharing::Alone => {
                Part { by_jobs: needed_by_jobs(policy, &jobs), instances: needed(policy, &jobs) }
            }
            Sharing::Unknown => return None,
            Sharing::With(fellows) => fellows.part(&self.here(&jobs, &known)),
        };
        Some((part, known))
    }

    /// What is remembered of other stacks from now on; nothing new where something is unknown.
    #[must_use]
    pub fn remember(&self) -> Option<Memory> {
        let known: Vec<Capacity> = self.weighed().into_iter().collect::<Option<_>>()?;
        match &self.sharing {
            Sharing::Alone => Some(Memory::new()),
            Sharing::Unknown => None,
            Sharing::With(fellows) => Some(fellows.remember(&self.here(&self.jobs()?, &known))),
        }
    }

    /// The queue's jobs to prepare for, as far as they are for here.
    #[must_use]
    pub fn jobs(&self) -> Option<Jobs> {
        self.awaited().map(|jobs| self.wanted.share.of(jobs))
    }

    fn here<'a>(&'a self, jobs: &'a Jobs, groups: &'a [Capacity]) -> Here<'a> {
        let Wanted { policy, most, patience, .. } = &self.wanted;
        Here { policy, jobs, most: *most, groups, patience: *patience, at: self.at }
    }

    /// Instances that jobs need beyond what the groups may have (their maximum, the brake), or can get (AWS does not
    /// deliver). Nothing that is unknown is short, nor what is only announced.
    #[must_use]
    pub fn capacity_short(&self) -> u64 {
        let Some((part, known)) = (Self { expected: 0, ..self.clone() }).part() else { return 0 };
        let reach = |group: &Capacity| {
            let reach = if group.short { group.live } else { group.limit() };
            u64::from(reach.saturating_sub(group.phantom))
        };
        let reach: u64 = known.iter().map(reach).sum();
        u64::from(part.instances).saturating_sub(reach.min(self.wanted.most.into()))
    }
}

/// One tick, as it is written down: one JSON line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub v: u64,
    /// The version of the program that wrote it.
    pub scaler: String,
    /// Nothing was changed because nothing was to be changed.
    pub dry_run: bool,
    /// What it decided from.
    pub inputs: Inputs,
    /// What it decided, group by group; null where something was unknown.
    pub plan: Vec<Option<Plan>>,
    /// Instances that came or went since the tick before, group by group.
    pub moved: Vec<Moved>,
    /// The scaler that lowers instead of this one: it has the lease ([`crate::lease`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<String>,
    /// What failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A line that begins like a record and cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another program wrote it.
    #[error("a record of version {0}, which this program does not know")]
    Version(u64),
    /// It is cut off, or no record.
    #[error("a line that begins like a record and is none")]
    Garbled,
}

impl Record {
    /// The record of a tick that decided `plan`.
    #[must_use]
    pub fn new(
        inputs: &Inputs,
        plan: &[Option<Plan>],
        moved: Vec<Moved>,
        problems: &[String],
        dry_run: bool,
    ) -> Self {
        let mut inputs = inputs.clone();
        for known in inputs.groups.iter_mut().filter_map(|group| group.known.as_mut()) {
            if let Some(failure) =
                known.boots_failing.as_mut().and_then(|failing| failing.last.failure.as_mut())
            {
                *failure = short(failure);
            }
        }
        Self {
            v: VERSION,
            scaler: env!("CARGO_PKG_VERSION").to_owned(),
            dry_run,
            inputs,
            plan: plan.to_vec(),
            moved,
            left_to: None,
            problems: problems.iter().take(TEXTS).map(|problem| short(problem)).collect(),
        }
    }

    /// Did nothing happen that anybody would ask about?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let quiet = |plan: &Option<Plan>| {
            plan.is_some_and(|plan| plan.reason == Reason::Enough && plan.target().is_none())
        };
        let owes = |group: &GroupSeen| group.known.as_ref().is_some_and(|known| self.inputs.owes(known));
        self.problems.is_empty()
            && !self.inputs.groups.iter().any(owes)
            && self.plan.iter().all(quiet)
            && self.moved.iter().all(|moved| *moved == Moved::default())
    }

    /// A record, if the line is one. Other lines of the log are none.
    #[must_use]
    pub fn read(line: &str) -> Option<Result<Self, Unreadable>> {
        #[derive(Deserialize)]
        struct Form {
            v: u64,
        }
        let line = line.trim();
        if !line.starts_with(r#"{"v":"#) {
            return None;
        }
        Some(match serde_json::from_str(line) {
            Ok(Form { v: VERSION }) => serde_json::from_str(line).map_err(|_| Unreadable::Garbled),
            Ok(Form { v }) => Err(Unreadable::Version(v)),
            Err(_) => Err(Unreadable::Garbled),
        })
    }

    /// The plan that its inputs come to now, where it is not the one on record, byte for byte.
    ///
    /// # Errors
    /// The other plan.
    pub fn replay(&self) -> Result<(), Vec<Option<Plan>>> {
        let plan = self.inputs.decide();
        let text = |plan| serde_json::to_string(plan).ok();
        if text(&plan) == text(&self.plan) { Ok(()) } else { Err(plan) }
    }
}

fn short(text: &str) -> String {
    let mut kept: String = text.chars().take(TEXT).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests;
