//! What is known of the other stacks on the queue, and what of the queue's jobs is this stack's part. Pure: `now` is a
//! parameter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::allot::{Allotment, Stack, Standing, allot};
use crate::brake::Seen;
use crate::decide::{Capacity, Jobs, Policy, needed, wanted};
use crate::shortage::{Patience, Shortage};

/// A group that is tagged with the queue, anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedGroup {
    /// Its name.
    pub name: String,
    /// The queue.
    pub queue: String,
    /// The stack that it belongs to; a group without a stack stands for itself.
    pub stack: Option<String>,
    /// The stack's standing.
    pub standing: Standing,
    /// Agents on one of its instances.
    pub agents: u32,
    /// Instances of all groups of its stack together, where that is less than what the groups may have.
    pub most: Option<u32>,
    /// The look at it.
    pub seen: Seen,
}

/// The part of a queue's jobs that is for this account and region: in hundredths, where others, which cannot be seen
/// from here, serve the queue too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FixedShare(u32);

impl FixedShare {
    /// All of them.
    pub const ALL: Self = Self(100);

    /// So many per cent, 1 to 100.
    #[must_use]
    pub fn percent(percent: u32) -> Option<Self> {
        (1..=100).contains(&percent).then_some(Self(percent))
    }

    /// Written as `40%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_suffix('%')?.trim_end().parse().ok().and_then(Self::percent)
    }

    /// Is it all of them?
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }

    /// This part of these jobs, rounded up: the parts of all together are never less than the whole.
    #[must_use]
    pub fn of(self, jobs: Jobs) -> Jobs {
        let part = |count: u64| {
            let part = (u128::from(count) * u128::from(self.0)).div_ceil(100);
            u64::try_from(part).unwrap_or(count)
        };
        let (unfinished, running) = (part(jobs.scheduled.saturating_add(jobs.running)), part(jobs.running));
        Jobs { scheduled: unfinished.saturating_sub(running), running, waiting: part(jobs.waiting) }
    }
}

impl Default for FixedShare {
    fn default() -> Self {
        Self::ALL
    }
}

impl std::fmt::Display for FixedShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Who else serves the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Nobody.
    #[default]
    Alone,
    /// That could not be told.
    Unknown,
    /// These.
    With(Fellows),
}

/// This stack's standing, and the other stacks on its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fellows {
    /// This stack.
    pub stack: String,
    /// Its priority.
    pub priority: i64,
    /// Its weight.
    pub weight: u32,
    /// The others, in order of their names.
    pub others: Vec<Other>,
}

/// Another stack, all its groups together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub stack: String,
    /// Its priority.
    pub priority: i64,
    /// Its weight.
    pub weight: u32,
    /// Agents on one of its instances.
    pub agents: u32,
    /// Its most instances.
    pub most: u32,
    /// Its numbers.
    pub capacity: Capacity,
    /// What was remembered of it before this look.
    #[serde(default)]
    pub before: Remembered,
}

/// What is remembered of another stack from tick to tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its part of the jobs' need, as its own scaler should have found it too.
    pub part: u32,
    /// What was desired there.
    pub desired: u32,
    /// Does it deliver?
    #[serde(default)]
    pub shortage: Shortage,
}

/// What is remembered of all of them.
pub type Memory = BTreeMap<String, Remembered>;

/// This stack's part, in instances before its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// For the jobs, also those that are beyond all limits of all stacks.
    pub by_jobs: u32,
    /// With what the policy adds.
    pub instances: u32,
}

impl Sharing {
    /// Does nobody else?
    #[must_use]
    pub fn is_alone(&self) -> bool {
        *self == Self::Alone
    }

    /// Sorts all groups on the queue by stacks. `own` are the names of this stack's groups.
    #[must_use]
    pub fn of(own: &[String], tagged: &[TaggedGroup], memory: &Memory) -> Self {
        // A stack's standing is that of the first of its groups by name: AWS tells of groups in no order, and all scalers
        // must read the same.
        let mut tagged: Vec<&TaggedGroup> = tagged.iter().collect();
        tagged.sort_by(|a, b| a.name.cmp(&b.name));
        let first = tagged.iter().find(|group| own.contains(&group.name));
        let standing = first.map(|group| group.standing).unwrap_or_default();
        let named = first.and_then(|group| group.stack.clone());
        let Some(stack) = named.or_else(|| own.first().cloned()) else { return Self::Alone };
        let mut others: BTreeMap<String, Other> = BTreeMap::new();
        for group in tagged.into_iter().filter(|group| !own.contains(&group.name)) {
            // A group of this stack that nobody told this scaler of is not this scaler's.
            let name = group.stack.as_ref().filter(|name| **name != stack).unwrap_or(&group.name);
            let other = others.entry(name.clone()).or_insert_with(|| Other::of(name, group, memory));
            other.capacity = together(other.capacity, &group.seen.capacity);
        }
        if others.is_empty() {
            return Self::Alone;
        }
        let Standing { priority, weight } = standing;
        Self::With(Fellows { stack, priority, weight, others: others.into_values().collect() })
    }
}

impl Other {
    fn of(name: &str, group: &TaggedGroup, memory: &Memory) -> Self {
        Self {
            stack: name.to_owned(),
            priority: group.standing.priority,
            weight: group.standing.weight,
            agents: group.agents,
            most: group.most.unwrap_or(u32::MAX),
            capacity: Capacity::default(),
            before: memory.get(name).copied().unwrap_or_default(),
        }
    }

    /// What is remembered of it from now on, but for its part; and does it deliver? It does not where AWS owes it
    /// launches for long, nor where it does not ask for its part and comes no nearer to it: its scaler is down, or may
    /// not, or its boots fail.
    fn weigh(&self, patience: Patience, at: Timestamp) -> (Shortage, bool) {
        let mut shortage = self.before.shortage;
        let desired = self.capacity.desired;
        let unclaimed = self.before.part > desired && desired <= self.before.desired;
        let short = shortage.note_lack(self.capacity.owed() > 0 || unclaimed, patience, at);
        (shortage, short)
    }

    fn as_stack(&self, patience: Patience, at: Timestamp) -> Stack {
        let short = self.weigh(patience, at).1;
        Stack {
            name: self.stack.clone(),
            standing: Standing { priority: self.priority, weight: self.weight },
            agents: self.agents,
            most: self.most,
            groups: vec![Capacity { short, ..self.capacity }],
        }
    }
}

impl Fellows {
    /// All stacks, this one first, and what each takes of the jobs' need.
    fn allot(&self, here: &Here<'_>) -> (Vec<Stack>, Allotment) {
        let own = Stack {
            name: self.stack.clone(),
            standing: Standing { priority: self.priority, weight: self.weight },
            agents: here.policy.agents_per_instance,
            most: here.most,
            groups: here.groups.to_vec(),
        };
        let others = self.others.iter().map(|other| other.as_stack(here.patience, here.at));
        let stacks: Vec<Stack> = std::iter::once(own).chain(others).collect();
        let allotment = allot(wanted(here.policy, here.jobs), &stacks);
        (stacks, allotment)
    }

    /// This stack's part. What the policy adds to the jobs' need (a buffer, a floor) counts over all stacks, and nobody
    /// adds what another one has anyway: of stacks that rank before this one all counts, of those that rank behind it
    /// what stays. So of two that would keep the same idle instance, one does.
    #[must_use]
    pub fn part(&self, here: &Here<'_>) -> Part {
        let (stacks, Allotment { instances, beyond }) = self.allot(here);
        let agents = u64::from(here.policy.agents_per_instance.max(1));
        let with_extra = u64::from(needed(here.policy, here.jobs));
        let extra = with_extra.saturating_sub(wanted(here.policy, here.jobs).div_ceil(agents));
        let elsewhere = stacks.iter().zip(&instances).skip(1).map(|(stack, part)| {
            let counts = if stack.ranks_before(&stacks[0]) { stack.comes() } else { stack.stays() };
            stack.jobs(counts.max(*part))
        });
        let missing = (with_extra * agents).saturating_sub(elsewhere.sum()).div_ceil(agents);
        let by_jobs = u64::from(instances[0]);
        let own =
            by_jobs.max(missing.min(by_jobs.saturating_add(extra))).max(u64::from(here.policy.min_instances));
        let beyond = beyond.div_ceil(agents);
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Part {
            by_jobs: number(by_jobs.saturating_add(beyond)),
            instances: number(own.saturating_add(beyond)),
        }
    }

    /// What is remembered of the others from now on.
    #[must_use]
    pub fn remember(&self, here: &Here<'_>) -> Memory {
        let (_, allotment) = self.allot(here);
        let parts = allotment.instances.into_iter().skip(1);
        let remembered = self.others.iter().zip(parts).map(|(other, part)| {
            let shortage = other.weigh(here.patience, here.at).0;
            (other.stack.clone(), Remembered { part, desired: other.capacity.desired, shortage })
        });
        remembered.collect()
    }

    /// The stacks that do not deliver.
    pub fn silent(&self, patience: Patience, at: Timestamp) -> impl Iterator<Item = &Other> {
        self.others.iter().filter(move |other| other.weigh(patience, at).1)
    }
}

/// This stack as it sees itself, and the queue's jobs.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// The jobs of the queue.
    pub jobs: &'a Jobs,
    /// Its most instances.
    pub most: u32,
    /// Its groups.
    pub groups: &'a [Capacity],
    /// How long launches may be owed.
    pub patience: Patience,
    /// When the tick began.
    pub at: Timestamp,
}

fn together(a: Capacity, b: &Capacity) -> Capacity {
    Capacity {
        min: a.min.saturating_add(b.min),
        max: a.max.saturating_add(b.max),
        desired: a.desired.saturating_add(b.desired),
        live: a.live.saturating_add(b.live),
        in_service: a.in_service.saturating_add(b.in_service),
        held: a.held.saturating_add(b.held),
        releasable: a.releasable.saturating_add(b.releasable),
        short: false,
        phantom: a.phantom.saturating_add(b.phantom),
        ceiling: None,
    }
}

#[cfg(test)]
mod tests;
