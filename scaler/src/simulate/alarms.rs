//! The shipped planner in alarms mode: it publishes its gap once a minute, and a model of CloudWatch's alarms and of the
//! template's step policies resizes the group (docs/alarms.md).

use std::collections::VecDeque;

use super::policies::Planner;
use super::trace::Millis;
use super::world::{Scaling, View, WhenIdle};
use crate::decide::Capacity;
use crate::gap::gaps;

const SECOND: Millis = 1000;
/// From one publication to the next, and from one evaluation to the next.
const MINUTE: Millis = 60 * SECOND;
/// From a publication to the next evaluation: the average of two clocks that know nothing of each other.
const APART: Millis = 30 * SECOND;
/// The policies' `EstimatedInstanceWarmup`.
const WARM_UP: Millis = 180 * SECOND;
/// What the template's step policies add and take.
const GROW: [u32; 11] = [1, 2, 3, 4, 6, 10, 20, 40, 80, 160, 320];
const SHRINK: [u32; 5] = [1, 2, 5, 20, 80];

/// The planner, and the alarms between it and the group.
#[derive(Debug)]
pub struct ByAlarms {
    planner: Planner,
    published: Option<(Millis, i64)>,
    next_evaluation: Millis,
    in_service: u32,
    /// When each instance that may still be warming up came into service.
    came: VecDeque<Millis>,
}

impl ByAlarms {
    /// As the planner decides.
    #[must_use]
    pub fn new(planner: Planner) -> Self {
        Self { planner, published: None, next_evaluation: APART, in_service: 0, came: VecDeque::new() }
    }

    /// Notes who came into service; of those that go, the ones that are warm go first.
    fn note(&mut self, now: Millis, in_service: u32) {
        for _ in self.in_service..in_service {
            self.came.push_back(now);
        }
        self.in_service = in_service;
        while self.came.front().is_some_and(|came| now - came >= WARM_UP)
            || self.came.len() > in_service as usize
        {
            self.came.pop_front();
        }
    }

    /// Desired capacity, after the policies acted on what was published last.
    fn act(&self, gap: i64, group: &Capacity) -> u32 {
        let fresh = u32::try_from(self.came.len()).unwrap_or(u32::MAX);
        let warm = group.in_service.saturating_sub(fresh);
        let size = u32::try_from(gap.unsigned_abs()).unwrap_or(u32::MAX);
        if gap > 0 {
            warm.saturating_add(step(&GROW, size)).min(group.max).max(group.desired)
        } else if gap < 0 && fresh == 0 && group.live == group.in_service {
            warm.saturating_sub(step(&SHRINK, size)).max(group.min).min(group.desired)
        } else {
            group.desired
        }
    }
}

/// The largest step that is not too large.
fn step(steps: &[u32], size: u32) -> u32 {
    steps.iter().copied().filter(|step| *step <= size).max().unwrap_or(0)
}

impl Scaling for ByAlarms {
    fn period(&self) -> Millis {
        self.planner.period()
    }

    fn is_woken(&self) -> bool {
        true
    }

    fn kept(&self) -> u32 {
        self.planner.kept()
    }

    fn when_idle(&self) -> WhenIdle {
        // Nobody lets the last idle one beside busy ones go, but itself (`fail-safe-after`).
        match self.planner.when_idle() {
            WhenIdle::Release { after, .. } => WhenIdle::Release { after, retires: true },
            other => other,
        }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let plan = self.planner.plan(view);
        let group = view.capacity;
        self.note(view.now, group.in_service);
        if self.published.is_none_or(|(at, _)| view.now - at >= MINUTE) {
            let gap = gaps(&[Some(plan)], &[Some(group)], u32::MAX)[0].unwrap_or(0);
            self.published = Some((view.now, gap));
        }
        if view.now < self.next_evaluation {
            return group.desired;
        }
        while self.next_evaluation <= view.now {
            self.next_evaluation += MINUTE;
        }
        self.published.map_or(group.desired, |(_, gap)| self.act(gap, &group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::policies::Choice;
    use crate::simulate::trace::{Job, Trace};
    use crate::simulate::world::{Course, Machines, run};

    /// Jobs (runnable, duration) under a policy, with boots of ten seconds.
    fn course(jobs: &[(Millis, Millis)], policy: &str) -> Course {
        let job = |(at, lasts): &(Millis, Millis)| Job { runnable_at: at * SECOND, duration: lasts * SECOND };
        let trace = Trace::new(jobs.iter().map(job).collect(), Vec::new());
        let machines = Machines { boot_variance: 0.0, ..Machines::booting_in(10 * SECOND) };
        let choice: Choice = policy.parse().unwrap();
        run(&trace, machines, choice.start(&machines, None).as_mut(), 1, true)
    }

    #[test]
    fn the_steps_are_those_of_the_template() {
        let template = include_str!("../../../cloudformation/ci-stack.yml");
        let of = |policy: &str| -> Vec<i64> {
            let text = template.split(&format!("\n  {policy}:\n")).nth(1).unwrap();
            let text = text.split("]").next().unwrap();
            let steps = text.split("ScalingAdjustment: ").skip(1);
            steps.map(|step| step.split(' ').next().unwrap().parse().unwrap()).collect()
        };
        for group in ["Group", "SpotGroup"] {
            assert_eq!(of(&format!("{group}Grow")), GROW.map(i64::from));
            assert_eq!(of(&format!("{group}Shrink")), SHRINK.map(|step| -i64::from(step)));
        }
        assert_eq!(template.matches("EstimatedInstanceWarmup: 180").count(), 4);
    }

    #[test]
    fn a_job_waits_for_a_publication_an_evaluation_and_a_boot() {
        // Runnable at 70 s, published at 120 s, acted on at 150 s, in service at 160 s.
        let one = course(&[(70, 600)], "tidemark:alarms,blind");
        assert_eq!(one.waits, [90 * SECOND]);
        // Done at 760 s, unprotected 10 s later, published at 780 s, gone at 810 s.
        assert_eq!((one.boots, one.paid), (1, (810 - 150) * SECOND));
    }

    #[test]
    fn a_burst_comes_in_the_policies_steps() {
        let jobs: Vec<_> = (0..17).map(|_| (70, 3600)).collect();
        let burst = course(&jobs, "tidemark:alarms,blind");
        let order =
            |from: Millis| burst.line.iter().rev().find(|point| point.at <= from * SECOND).unwrap().instances;
        // Ten at once; and the rest when these are warm, 180 s after 160 s: published at 360 s, 390 s.
        assert_eq!([order(149), order(155), order(380), order(395)], [0, 10, 10, 16]);
        assert_eq!(burst.boots, 17);
    }

    #[test]
    fn one_idle_instance_beside_a_busy_one_retires_by_itself() {
        let two = course(&[(70, 4000), (70, 100)], "tidemark:alarms,blind,idle=60s");
        // Idle from 260 s on; its fail-safe is thirteen minutes.
        let until =
            |at: Millis| two.line.iter().rev().find(|point| point.at <= at * SECOND).unwrap().instances;
        assert_eq!((until(260 + 779), until(260 + 781)), (2, 1));
    }
}
