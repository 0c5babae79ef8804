//! Which stack takes which part of a queue's jobs, where several stacks serve it. Pure.
//!
//! Every stack's scaler computes the whole from the same facts (jobs, groups, tags), and applies only its own part. So
//! nobody has to ask anybody, and nothing is provisioned twice. What is there is counted where it is, whoever's it is:
//! busy and booting instances first, then idle ones, then launches that AWS still owes. Only the jobs that are left then
//! are new capacity: they go to the highest priority that has room, and among equals to the one that has least for its
//! weight. Since all that is desired anywhere is counted before, a scaler that looks a moment after another one sees
//! what that one asked for, and asks for the rest.
//!
//! A stack that does not deliver (AWS owes it launches for long, or its scaler does not ask for its part) gets no more
//! than it has, while another one can take the rest.

use std::cmp::Ordering;

use crate::decide::Capacity;

/// The largest weight: finer parts than a thousandth are not asked for.
pub const HEAVIEST: u32 = 1000;

/// A stack's standing among those on its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// New capacity goes to the highest first.
    pub priority: i64,
    /// Among equals, parts are as these; 1 to [`HEAVIEST`].
    pub weight: u32,
}

impl Default for Standing {
    fn default() -> Self {
        Self { priority: 0, weight: 1 }
    }
}

/// A stack on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name: where all else is equal, the order of names decides.
    pub name: String,
    /// Its standing.
    pub standing: Standing,
    /// Agents on one of its instances; at least 1.
    pub agents: u32,
    /// Instances of all its groups together.
    pub most: u32,
    /// Its groups.
    pub groups: Vec<Capacity>,
}

/// What each stack takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allotment {
    /// Instances, stack by stack as they were given.
    pub instances: Vec<u32>,
    /// Jobs that are beyond all limits.
    pub beyond: u64,
}

/// Divides the agents that `jobs` need among the stacks.
#[must_use]
pub fn allot(jobs: u64, stacks: &[Stack]) -> Allotment {
    let mut order: Vec<usize> = (0..stacks.len()).collect();
    order.sort_by(|a, b| stacks[*a].rank(&stacks[*b]));
    let mut instances = vec![0; stacks.len()];
    let mut left = jobs;
    for reach in [Stack::stays, Stack::lives, Stack::comes] {
        for place in &order {
            let stack = &stacks[*place];
            let more = reach(stack).saturating_sub(instances[*place]).min(stack.for_jobs(left));
            instances[*place] += more;
            left = left.saturating_sub(stack.jobs(more));
        }
    }
    // The last: where nobody else can take it, AWS is asked on.
    for reach in [Stack::room, Stack::limit] {
        left = pour(left, stacks, &order, &mut instances, reach);
    }
    Allotment { instances, beyond: left }
}

/// Gives what is left to the highest priority that has room, and there an instance at a time to the stack that has least
/// for its weight.
fn pour(
    mut left: u64,
    stacks: &[Stack],
    order: &[usize],
    instances: &mut [u32],
    reach: fn(&Stack) -> u32,
) -> u64 {
    for equals in order.chunk_by(|a, b| stacks[*a].standing.priority == stacks[*b].standing.priority) {
        left = raise(left, stacks, equals, instances, reach);
        while left > 0 {
            let has_room = |place: &&usize| instances[**place] < reach(&stacks[**place]);
            let next = equals
                .iter()
                .filter(has_room)
                .min_by(|a, b| fuller(&stacks[**a], instances[**a], &stacks[**b], instances[**b]));
            let Some(place) = next else { break };
            instances[*place] += 1;
            left = left.saturating_sub(stacks[*place].jobs(1));
        }
    }
    left
}

/// The same for many at once: all equals up to the highest common level, in agents for a weight of 1, that what is left
/// suffices for. A count of jobs that is absurd must not take as many steps.
fn raise(
    left: u64,
    stacks: &[Stack],
    equals: &[usize],
    instances: &mut [u32],
    reach: fn(&Stack) -> u32,
) -> u64 {
    let at_level = |place: usize, has: u32, level: u64| {
        let stack = &stacks[place];
        let agents = u128::from(level) * u128::from(stack.weight());
        let instances = u32::try_from(agents / u128::from(stack.jobs(1))).unwrap_or(u32::MAX);
        instances.min(reach(stack)).max(has)
    };
    let costs = |level: u64, instances: &[u32]| {
        equals.iter().fold(0u64, |sum, place| {
            let has = instances[*place];
            sum.saturating_add(stacks[*place].jobs(at_level(*place, has, level) - has))
        })
    };
    let (mut reached, mut beyond) =
        (0, left.saturating_add(stacks_jobs(stacks, instances)).saturating_add(1));
    while reached + 1 < beyond {
        let middle = reached + (beyond - reached) / 2;
        if costs(middle, instances) <= left { reached = middle } else { beyond = middle }
    }
    let cost = costs(reached, instances);
    for place in equals {
        instances[*place] = at_level(*place, instances[*place], reached);
    }
    left - cost
}

fn stacks_jobs(stacks: &[Stack], instances: &[u32]) -> u64 {
    stacks.iter().zip(instances).fold(0u64, |sum, (stack, count)| sum.saturating_add(stack.jobs(*count)))
}

/// Which one would have more for its weight with one instance more?
fn fuller(a: &Stack, has_a: u32, b: &Stack, has_b: u32) -> Ordering {
    let agents = |stack: &Stack, has: u32| u128::from(stack.jobs(has.saturating_add(1)));
    (agents(a, has_a) * u128::from(b.weight())).cmp(&(agents(b, has_b) * u128::from(a.weight())))
}

impl Stack {
    fn rank(&self, other: &Self) -> Ordering {
        let priority = other.standing.priority.cmp(&self.standing.priority);
        priority.then_with(|| self.name.cmp(&other.name))
    }

    /// Does it come first, where all else is equal?
    #[must_use]
    pub fn ranks_before(&self, other: &Self) -> bool {
        self.rank(other) == Ordering::Less
    }

    fn weight(&self) -> u32 {
        self.standing.weight.clamp(1, HEAVIEST)
    }

    /// Jobs that so many instances run at a time.
    #[must_use]
    pub fn jobs(&self, instances: u32) -> u64 {
        u64::from(instances) * u64::from(self.agents.max(1))
    }

    /// Instances for so many jobs.
    fn for_jobs(&self, jobs: u64) -> u32 {
        u32::try_from(jobs.div_ceil(u64::from(self.agents.max(1)))).unwrap_or(u32::MAX)
    }

    /// Phantoms serve no need.
    fn sum(&self, of: impl Fn(&Capacity) -> u32) -> u32 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(of(group).saturating_sub(group.phantom)))
    }

    /// No more than all its groups may have together, but for what stays anyway. A phantom takes a place.
    fn within(&self, instances: u32) -> u32 {
        let phantoms = self.groups.iter().fold(0u32, |sum, group| sum.saturating_add(group.phantom));
        instances.min(self.most.saturating_sub(phantoms).max(self.stays()))
    }

    /// Instances that stay whatever is needed.
    #[must_use]
    pub fn stays(&self) -> u32 {
        self.sum(Capacity::stays)
    }

    fn lives(&self) -> u32 {
        self.within(self.sum(Capacity::lives))
    }

    /// All that is there or comes.
    #[must_use]
    pub fn comes(&self) -> u32 {
        self.within(self.sum(Capacity::comes))
    }

    fn room(&self) -> u32 {
        self.within(self.sum(Capacity::room))
    }

    fn limit(&self) -> u32 {
        self.within(self.sum(Capacity::limit))
    }
}

#[cfg(test)]
mod tests;
