//! Two to five stacks on one queue, second by second, by the shipped decision. Their scalers look at different times
//! and see what was up to a tick ago: of the jobs, and of each other.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::decide::Step;
use crate::gap::ScalingMode;
use crate::record::{GroupSeen, Inputs, Known, Wanted};

/// Between two ticks of a scaler, and the oldest that a view can be.
const TICK: usize = 10;
const LAUNCH: u64 = 3;
const BOOT: u64 = 30;
const IDLE: u64 = 20;

#[derive(Debug, Clone, Copy)]
struct Machine {
    serves_at: u64,
    idle_since: u64,
    jobs: u32,
}

#[derive(Debug, Clone)]
struct Group {
    standing: Standing,
    agents: u32,
    max: u32,
    desired: u32,
    /// When AWS launches what is owed; never, where it has no capacity.
    owed: VecDeque<u64>,
    machines: Vec<Machine>,
    delivers: bool,
}

impl Group {
    fn capacity(&self, now: u64) -> Capacity {
        let count = |of: &dyn Fn(&Machine) -> bool| {
            u32::try_from(self.machines.iter().filter(|machine| of(machine)).count()).unwrap()
        };
        let serves = |machine: &Machine| now >= machine.serves_at;
        let goes =
            |machine: &Machine| serves(machine) && machine.jobs == 0 && now >= machine.idle_since + IDLE;
        let live = count(&|_| true);
        let releasable = count(&goes);
        let in_service = count(&serves);
        let (max, desired) = (self.max, self.desired);
        Capacity {
            max,
            desired,
            live,
            in_service,
            held: live - releasable,
            releasable,
            ..Capacity::default()
        }
    }

    fn set(&mut self, desired: u32, now: u64) {
        self.desired = desired;
        while self.machines.len() + self.owed.len() > desired as usize {
            let idle = |machine: &Machine| machine.jobs == 0 && now >= machine.idle_since + IDLE;
            if self.owed.pop_back().is_none() {
                let place = self.machines.iter().position(idle).expect("only what may go is asked to go");
                self.machines.remove(place);
            }
        }
        while self.machines.len() + self.owed.len() < desired as usize {
            self.owed.push_back(now + LAUNCH);
        }
    }

    /// AWS launches, and agents take jobs.
    fn passes(&mut self, scheduled: &mut u64, now: u64) {
        while self.delivers && self.owed.front().is_some_and(|at| *at <= now) {
            self.owed.pop_front();
            let serves_at = now + BOOT;
            self.machines.push(Machine { serves_at, idle_since: serves_at, jobs: 0 });
        }
        for machine in self.machines.iter_mut().filter(|machine| now >= machine.serves_at) {
            let more = u64::from(self.agents - machine.jobs).min(*scheduled);
            machine.jobs += u32::try_from(more).unwrap();
            *scheduled -= more;
        }
    }

    fn finish(&mut self, mut jobs: u64, now: u64) -> u64 {
        for machine in self.machines.iter_mut().filter(|machine| machine.jobs > 0) {
            let done = u64::from(machine.jobs).min(jobs);
            machine.jobs -= u32::try_from(done).unwrap();
            jobs -= done;
            machine.idle_since = now;
        }
        jobs
    }

    fn jobs(&self) -> u64 {
        self.machines.iter().map(|machine| u64::from(machine.jobs)).sum()
    }
}

/// A moment that scalers may still see.
#[derive(Debug, Clone)]
struct Seen {
    jobs: Jobs,
    groups: Vec<Capacity>,
}

struct Queue {
    now: u64,
    scheduled: u64,
    groups: Vec<Group>,
    memories: Vec<Memory>,
    shortages: Vec<Shortage>,
    past: VecDeque<Seen>,
    /// When and by how many agents anybody's capacity was raised.
    raised: Vec<(u64, u64)>,
}

impl Queue {
    fn new(groups: Vec<Group>) -> Self {
        let count = groups.len();
        Self {
            now: 0,
            scheduled: 0,
            groups,
            memories: vec![Memory::new(); count],
            shortages: vec![Shortage::default(); count],
            past: VecDeque::new(),
            raised: Vec::new(),
        }
    }

    fn jobs(&self) -> Jobs {
        let running = self.groups.iter().map(Group::jobs).sum();
        Jobs { scheduled: self.scheduled, running, waiting: 0 }
    }

    fn agents(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.desired) * u64::from(group.agents)).sum()
    }

    /// A second passes. `late` seconds ago is what each scaler sees of the others.
    fn second(&mut self, late: &[usize]) {
        self.now += 1;
        for group in &mut self.groups {
            group.passes(&mut self.scheduled, self.now);
        }
        let groups = self.groups.iter().map(|group| group.capacity(self.now)).collect();
        self.past.push_front(Seen { jobs: self.jobs(), groups });
        self.past.truncate(TICK + 1);
        for own in 0..self.groups.len() {
            // Each looks at a second of its own.
            if (self.now as usize + own * 7).is_multiple_of(TICK) {
                self.tick(own, late[own % late.len()]);
            }
        }
    }

    fn tick(&mut self, own: usize, late: usize) {
        let seen = self.past[late.min(self.past.len() - 1)].clone();
        let now = at(i64::try_from(self.now).unwrap());
        let name = |place: usize| format!("stack-{place}");
        let tagged: Vec<TaggedGroup> = self
            .groups
            .iter()
            .enumerate()
            .map(|(place, group)| TaggedGroup {
                standing: group.standing,
                agents: group.agents,
                ..tagged(&name(place), None, seen.groups[place])
            })
            .collect();
        let capacity = self.groups[own].capacity(self.now);
        let known = Known { capacity, shortage: self.shortages[own], ..Known::default() };
        self.shortages[own] = known.weigh(PATIENCE, now).1;
        let inputs = Inputs {
            at: now,
            queue: "default".into(),
            wanted: Wanted {
                policy: Policy::of_need(self.groups[own].agents),
                most: u32::MAX,
                patience: PATIENCE,
                mode: ScalingMode::Direct,
                period: None,
                share: FixedShare::ALL,
            },
            jobs: Some(seen.jobs),
            expected: 0,
            paused: false,
            unmatched: 0,
            doubt: None,
            groups: vec![GroupSeen { name: name(own), known: Some(known) }],
            sharing: Sharing::of(&[name(own)], &tagged, &self.memories[own]),
        };
        let plan = inputs.decide()[0].expect("all is known");
        self.memories[own] = inputs.remember().expect("all is known");
        if let Some(target) = plan.target() {
            let before = self.groups[own].desired;
            self.groups[own].set(target, self.now);
            if let Step::ScaleOut { .. } = plan.step {
                let agents = u64::from(self.groups[own].agents);
                self.raised.push((self.now, u64::from(target - before) * agents));
                self.holds(u64::from(target - before) * agents);
            }
        }
    }

    /// The law: whoever raises, all together have no more than the jobs needed within the last tick, and what others
    /// raised within it. A last instance of several agents may not be full.
    fn holds(&self, raise: u64) {
        let needed = self.past.iter().map(|seen| seen.jobs.scheduled + seen.jobs.running).max().unwrap_or(0);
        let begin = self.now.saturating_sub(TICK as u64);
        let lately: u64 = self.raised.iter().filter(|(when, _)| *when >= begin).map(|(_, more)| more).sum();
        let left_over: u64 = self.groups.iter().map(|group| u64::from(group.agents) - 1).sum();
        let undelivered: u64 = self
            .groups
            .iter()
            .filter(|group| !group.delivers)
            .map(|group| group.owed.len() as u64 * u64::from(group.agents))
            .sum();
        let most = needed + (lately - raise) + left_over + undelivered;
        assert!(
            self.agents() <= most,
            "{} agents at {} where {needed} jobs need them",
            self.agents(),
            self.now
        );
    }

    fn pass(&mut self, seconds: u64, late: &[usize]) {
        for _ in 0..seconds {
            self.second(late);
        }
    }

    fn finish(&mut self, jobs: u64) {
        let now = self.now;
        self.groups.iter_mut().fold(jobs, |left, group| group.finish(left, now));
    }
}

fn any_groups() -> impl Strategy<Value = Vec<Group>> {
    let one = (-1i64..2, 1u32..4, 1u32..4, 3u32..40).prop_map(|(priority, weight, agents, max)| Group {
        standing: Standing { priority, weight },
        agents,
        max,
        desired: 0,
        owed: VecDeque::new(),
        machines: Vec::new(),
        delivers: true,
    });
    proptest::collection::vec(one, 2..6)
}

proptest! {
    #[test]
    fn together_they_settle_at_the_need_and_never_exceed_it_by_more_than_a_tick(
        groups in any_groups(),
        late in proptest::collection::vec(0usize..=TICK, 5),
        waves in proptest::collection::vec((0u64..60, 0u64..60, 1u64..90), 1..12),
    ) {
        let mut queue = Queue::new(groups);
        for (come, end, seconds) in waves {
            queue.scheduled += come;
            queue.finish(end);
            queue.pass(seconds, &late);
        }
        // Nothing changes any more: all the need is met, and what is beyond it goes once it is idle.
        queue.pass(200, &late);
        let jobs = queue.jobs();
        let need = jobs.scheduled + jobs.running;
        let limit: u64 = queue.groups.iter().map(|g| u64::from(g.max) * u64::from(g.agents)).sum();
        let left_over: u64 = queue.groups.iter().map(|group| u64::from(group.agents) - 1).sum();
        prop_assert!(queue.agents() >= need.min(limit), "{} agents for {need} jobs", queue.agents());
        // Jobs do not move: one of several agents may stay for a single job.
        let scattered: u64 = queue.groups.iter().map(|group| {
            let busy = group.machines.iter().filter(|machine| machine.jobs > 0).count() as u64;
            (busy * u64::from(group.agents)).saturating_sub(group.jobs())
        }).sum();
        prop_assert!(queue.agents() <= need + left_over + scattered, "{} agents for {need}", queue.agents());
        queue.scheduled = 0;
        queue.finish(u64::MAX);
        queue.pass(200, &late);
        prop_assert_eq!(queue.agents(), 0);
    }

    #[test]
    fn what_aws_does_not_deliver_to_one_the_others_take(
        groups in any_groups(), late in proptest::collection::vec(0usize..=TICK, 5), jobs in 1u64..30
    ) {
        let mut queue = Queue::new(groups);
        queue.groups[0].delivers = false;
        queue.scheduled = jobs;
        queue.pass(200, &late);
        let limit: u64 = queue.groups[1..].iter().map(|g| u64::from(g.max) * u64::from(g.agents)).sum();
        prop_assert!(queue.jobs().running >= jobs.min(limit), "{:?} of {jobs}", queue.jobs());
    }
}
