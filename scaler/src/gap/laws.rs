//! Groups under step policies as AWS documents them, with the datapoints of one publication acted on twice, and whatever
//! may happen in between.

use proptest::prelude::*;

use super::*;
use crate::decide::{Jobs, Policy, decide, needed};
use crate::share::shares;

const POLICY: Policy = Policy::of_need(1);

/// A group as AWS knows it.
#[derive(Debug, Clone, Copy)]
struct World {
    min: u32,
    max: u32,
    desired: u32,
    /// In service for longer than the policies' warm-up.
    warm: u32,
    /// In service, and still warming up.
    fresh: u32,
    booting: u32,
    /// Of those in service, so many are unprotected.
    idle: u32,
    terminating: u32,
}

impl World {
    fn in_service(&self) -> u32 {
        self.warm + self.fresh
    }

    fn held(&self) -> u32 {
        self.in_service() + self.booting - self.idle
    }

    fn capacity(&self) -> Capacity {
        let World { min, max, desired, booting, idle, .. } = *self;
        let in_service = self.in_service();
        let live = in_service + booting;
        Capacity {
            min,
            max,
            desired,
            live,
            in_service,
            held: live - idle,
            releasable: idle,
            ..Capacity::default()
        }
    }

    /// A step policy acts: steps round towards zero. Does AWS count those that terminate? Its documentation says so.
    fn act(&mut self, gap: i64, rounds: fn(u32) -> u32, counts_terminating: bool) {
        let step = rounds(u32::try_from(gap.unsigned_abs()).unwrap());
        if gap > 0 {
            self.desired = self.desired.max((self.warm + step).min(self.max));
        } else if gap < 0 {
            let there = self.in_service() + if counts_terminating { self.terminating } else { 0 };
            self.desired = self.desired.min(there.saturating_sub(step).max(self.min));
        }
    }

    /// AWS takes what is too much, as far as it is unprotected, and launches what lacks.
    fn settle(&mut self) {
        let live = self.in_service() + self.booting;
        let goes = live.saturating_sub(self.desired).min(self.idle);
        self.idle -= goes;
        let fresh = goes.min(self.fresh);
        self.fresh -= fresh;
        self.warm -= goes - fresh;
        self.terminating += goes;
        self.booting += self.desired.saturating_sub(live);
    }

    /// Boots end; what was warming up is warm; what terminated is gone.
    fn later(&mut self, booted: u32) {
        let booted = booted.min(self.booting);
        self.booting -= booted;
        self.fresh += booted;
        self.terminating = 0;
    }
}

prop_compose! {
    fn any_world()(
        min in 0u32..4, span in 0u32..20, desired in 0u32..20, warm in 0u32..9, fresh in 0u32..5, booting in 0u32..5,
        idle in 0u32..14, terminating in 0u32..3,
    ) -> World {
        let max = min + span;
        let idle = idle.min(warm + fresh);
        World { min, max, desired: desired.clamp(min, max), warm, fresh, booting, idle, terminating }
    }
}

fn any_worlds() -> impl Strategy<Value = Vec<World>> {
    proptest::collection::vec(any_world(), 1..4)
}

fn observe(worlds: &[World], jobs: u64, most: u32) -> (Vec<Plan>, Vec<i64>) {
    let groups: Vec<Capacity> = worlds.iter().map(World::capacity).collect();
    let needed = needed(&POLICY, &Jobs { scheduled: jobs, ..Jobs::default() });
    let plans: Vec<Plan> = shares(needed, most, &groups)
        .into_iter()
        .zip(&groups)
        .map(|(share, g)| decide(&POLICY, share, g))
        .collect();
    let some = |plans: &[Plan]| plans.iter().copied().map(Some).collect::<Vec<_>>();
    let groups: Vec<Option<Capacity>> = groups.into_iter().map(Some).collect();
    let gaps = gaps(&some(&plans), &groups, most).into_iter().map(Option::unwrap_or_default).collect();
    (plans, gaps)
}

fn exact(step: u32) -> u32 {
    step
}

/// The coarsest steps: never less than half.
fn halves(step: u32) -> u32 {
    if step == 0 { 0 } else { 1 << step.ilog2() }
}

fn any_rounding() -> impl Strategy<Value = fn(u32) -> u32> {
    prop_oneof![Just(exact as fn(u32) -> u32), Just(halves as fn(u32) -> u32)]
}

proptest! {
    #[test]
    fn desired_never_falls_beneath_what_is_protected(
        worlds in any_worlds(), jobs in 0u64..40, most in 0u32..40, rounds in any_rounding(), terminating: bool,
        booted in 0u32..5, warmed: bool,
    ) {
        for (world, gap) in worlds.iter().zip(observe(&worlds, jobs, most).1) {
            let mut after = *world;
            for _ in 0..2 {
                after.act(gap, rounds, terminating);
                after.settle();
                after.later(booted);
                if warmed {
                    after.warm += world.fresh.min(after.fresh);
                    after.fresh -= world.fresh.min(after.fresh);
                }
            }
            prop_assert!(after.desired >= world.desired.min(world.held()), "{world:?} {gap} {after:?}");
            prop_assert!(after.desired >= world.min && after.desired <= world.max.max(world.desired));
        }
    }

    #[test]
    fn growth_never_passes_what_was_decided(
        worlds in any_worlds(), jobs in 0u64..40, most in 0u32..40, rounds in any_rounding(), booted in 0u32..5,
    ) {
        let (plans, gaps) = observe(&worlds, jobs, most);
        let (mut all, mut before) = (0, 0);
        for ((world, gap), plan) in worlds.iter().zip(gaps).zip(plans) {
            let mut after = *world;
            for _ in 0..2 {
                after.act(gap, rounds, true);
                after.settle();
                // What was warming up is warm by now; what has booted since is not, for longer than a datapoint is valid.
                let warmed = world.fresh.min(after.fresh);
                after.warm += warmed;
                after.fresh -= warmed;
                after.later(booted);
            }
            let to = plan.target().unwrap_or(world.desired).max(world.desired).max(world.in_service() + 1);
            prop_assert!(after.desired <= to, "{world:?} {gap} {after:?}");
            all += after.desired;
            before += world.desired.max(plan.target().unwrap_or(0)).max(world.in_service());
        }
        prop_assert!(all <= most.max(before), "{all} of {most}, before {before}");
    }

    #[test]
    fn a_group_reaches_what_its_jobs_need_and_zero_when_there_are_none(
        start in any_world(), jobs in 0u64..20, rounds in any_rounding(),
    ) {
        let mut world = World { idle: 0, ..start };
        let round = |world: &mut World, jobs| {
            let gap = observe(std::slice::from_ref(world), jobs, u32::MAX).1[0];
            world.act(gap, rounds, true);
            world.settle();
            world.later(20);
            world.warm += world.fresh;
            world.fresh = 0;
        };
        for _ in 0..30 {
            round(&mut world, jobs);
        }
        let wanted = u32::try_from(jobs).unwrap().clamp(world.min, world.max);
        prop_assert!(world.desired >= wanted, "{world:?}");
        prop_assert!(world.in_service() >= wanted);
        world.idle = world.in_service();
        for _ in 0..30 {
            round(&mut world, 0);
        }
        prop_assert_eq!((world.desired, world.in_service()), (world.min, world.min));
    }

    #[test]
    fn beside_busy_ones_no_more_than_one_idle_one_stays(busy in 1u32..9, idle in 0u32..30, rounds in any_rounding()) {
        let mut world = World {
            min: 0, max: 40, desired: busy + idle, warm: busy + idle, fresh: 0, booting: 0, idle, terminating: 0,
        };
        for _ in 0..40 {
            let gap = observe(&[world], busy.into(), u32::MAX).1[0];
            world.act(gap, rounds, true);
            world.settle();
            world.later(0);
        }
        prop_assert!(world.desired - busy <= 1, "{world:?}");
        prop_assert_eq!(world.held(), busy);
    }
}
