//! What must hold when nothing happens any more: calls work, images boot, EC2 has capacity, and few jobs come.

use jiff::{SignedDuration, Timestamp};
use lab::group::model::{Definition, Group};
use lifecycle::observed::Word;
use lifecycle::probes::FAILED_IN_A_ROW;
use scaler::decide::{Jobs, needed};
use scaler::forecast::LookAhead;
use scaler::hint::{Event, Hint};
use scaler::schedule::Schedule;

use crate::aws::Calls;
use crate::ci::Answers;
use crate::scalers::{PERIOD, Scaler};
use crate::table::Answers as Tables;
use crate::world::{Stack, World, seconds};

/// The longest pause of the brake, a shortage that is still believed, or a boot that hangs, by a clock that was set back;
/// and the boot after it.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(1000);

/// EC2 brings a machine up, and it boots.
const BOOT: SignedDuration = SignedDuration::from_secs(64);

/// The launching hook's time.
const HOOK: SignedDuration = SignedDuration::from_secs(900);

/// From the request of an instance that hangs to its hook's beginning, and from the hook's end to AWS's own next launch.
const RELAUNCH: SignedDuration = SignedDuration::from_secs(30);

/// Alarms act once a minute, on what was published before; not while instances warm up, and by halves.
const ALARMS: SignedDuration = SignedDuration::from_secs(1200);

/// Agents leave, logs are sent, the hook is completed: looks a slice apart, and what backs off after its failure.
const RETIRE: SignedDuration = SignedDuration::from_secs(120);

impl World {
    /// Everything is as it should be, and all comes to rest.
    pub fn come_to_rest(&mut self) {
        self.heal();
        // So much, for so long, that an instance boots for it: what failed before is forgotten.
        self.ci().scheduled.extend([SignedDuration::from_secs(900); 20]);
        self.finish_jobs();
        self.pass(REMEMBERED);
        self.recovers_when_the_ci_comes_back();
        self.finish_jobs();
        self.a_paused_queue_asks_for_nothing();
        self.finish_jobs();
        self.makes_up_for_an_instance_that_hangs();
        self.finish_jobs();
        self.ghosts_are_announced();
        self.returns_to_the_minimum();
    }

    /// Jobs that never come are announced, and what was launched for them is not kept.
    fn ghosts_are_announced(&mut self) {
        let now = self.now();
        let hint = Hint {
            event: Event::BuildScheduled,
            pipeline: None,
            build: Some("ghost".to_owned()),
            job: None,
            queue: None,
            jobs: Some(5),
            listed: None,
        };
        for scaler in &self.scalers {
            scaler.heard.hear(&hint, "default", scaler.wall(now));
        }
        self.pass(LookAhead::default().patience + PERIOD + BOOT);
    }

    /// One boot never ends: the job that it was for runs elsewhere once the boot had its time.
    fn makes_up_for_an_instance_that_hangs(&mut self) {
        let room = |stack: &Stack| {
            let max: u32 = stack.groups.clone().map(|index| self.limit(index)).sum();
            max.min(stack.order.most) >= 2 && stack.order.mode.is_direct()
        };
        if !self.stacks.iter().all(room) {
            return;
        }
        let idle = self.policy.idle_period.unwrap_or_default();
        self.pass(idle + PERIOD * 2 + RETIRE);
        self.hanging = 1;
        self.ci().scheduled.push(seconds(10));
        let begun = self.now();
        // Until scalers have looked, some may know of fewer boots, and then believe longer ones.
        let budget =
            |scaler: &Scaler| scaler.service.queues[0].groups.iter().map(|kept| kept.boots.budget()).max();
        let mut longest = SignedDuration::ZERO;
        while self.ci().scheduled.len() == 1 {
            longest = longest.max(self.scalers.iter().filter_map(budget).max().unwrap_or_default());
            let waited = self.now().duration_since(begun);
            // A tick that asks for it, its budget and two ticks, and its successor's boot. A budget as long as the hook ends
            // with it: then AWS gives the instance up, and launches the successor itself when it has seen that.
            let relaunch = if longest >= HOOK { RELAUNCH } else { SignedDuration::ZERO };
            assert!(
                waited <= PERIOD + longest + PERIOD * 2 + relaunch + BOOT,
                "{}: a job waits for {waited:#} behind a boot that hangs, budget {longest:#}: {:#?}",
                self.told,
                self.aws().groups
            );
            self.pass(seconds(2));
        }
        self.hanging = 0;
        // Its hook gives it up.
        self.pass(HOOK);
    }

    pub fn heal(&mut self) {
        self.end_faults();
        self.aws().calls = Calls::Work;
        {
            let mut ci = self.ci();
            (ci.answers, ci.paused) = (Answers::Now, false);
        }
        self.stacks
            .iter()
            .filter_map(|stack| stack.table.as_ref())
            .for_each(|table| table.answer(Tables::Now));
        (self.good_image, self.slow_boots, self.capacity, self.hanging) = (true, false, true, 0);
        self.announced.iter_mut().for_each(|(at, _)| *at = Timestamp::MIN);
        self.stacks.iter_mut().for_each(|stack| stack.schedule = Schedule::default());
        for group in &mut self.aws().groups {
            // One instance alone would work for days at what has piled up.
            let definition = Definition { max: group.definition.max.max(3), ..group.definition.clone() };
            group.redefine(definition);
        }
        for machine in self.machines.values_mut() {
            machine.falls_after = None;
            if machine.seen.word == Word::Cordon {
                machine.said(Word::Serve);
            }
        }
    }

    /// All jobs run to their ends.
    pub fn finish_jobs(&mut self) {
        let begun = self.now();
        loop {
            let jobs = self.ci().jobs();
            if jobs.scheduled + jobs.running == 0 {
                return;
            }
            let long = self.now().duration_since(begun) > SignedDuration::from_hours(24);
            assert!(!long, "{}: {jobs:?} for a day: {}", self.told, self.capacities());
            self.pass(SignedDuration::from_secs(60));
        }
    }

    /// Jobs came while the CI did not answer: one poll later all capacity is asked for that they need.
    fn recovers_when_the_ci_comes_back(&mut self) {
        self.ci().answers = Answers::Not;
        self.ci().scheduled.extend([SignedDuration::from_secs(100); 7]);
        self.pass(SignedDuration::from_secs(30));
        self.ci().answers = Answers::Now;
        self.is_asked_for_all_within_a_poll();
    }

    /// While the queue is paused nothing is kept for its jobs, where that can be told; then all is asked for within one poll.
    fn a_paused_queue_asks_for_nothing(&mut self) {
        if !self.stacks.iter().all(|stack| stack.lists) {
            return;
        }
        self.ci().paused = true;
        self.ci().scheduled.extend([SignedDuration::from_secs(100); 7]);
        self.comes_to_the_minimum();
        self.ci().paused = false;
        self.is_asked_for_all_within_a_poll();
    }

    fn is_asked_for_all_within_a_poll(&mut self) {
        self.pass(PERIOD + SignedDuration::from_secs(2));
        // A stack whose boots failed tries one; what else falls to it, other stacks see only by what it does not deliver.
        let tries = (0..self.aws().groups.len()).any(|index| self.is_tried(index));
        if tries && self.stacks.len() > 1 {
            self.pass(self.stacks[0].order.patience.launch + PERIOD * 2);
        }
        if self.by_alarms() {
            return;
        }
        let jobs = self.ci().jobs();
        let unfinished = jobs.scheduled + jobs.running;
        let agents = |stack: &Stack, instances: u32| {
            u64::from(instances) * u64::from(stack.order.policy.agents_per_instance)
        };
        let limit = |stack: &Stack| {
            let limits: u32 = stack.groups.clone().map(|index| self.limit(index)).sum();
            agents(stack, limits.min(stack.order.most))
        };
        let need = unfinished.min(self.stacks.iter().map(limit).sum());
        let desired = |stack: &Stack| {
            let groups = &self.aws().groups[stack.groups.clone()];
            agents(stack, groups.iter().map(|group| group.desired).sum())
        };
        let desired: u64 = self.stacks.iter().map(desired).sum();
        assert!(
            desired >= need,
            "{}: {desired} agents desired where {jobs:?} need {need}: {}",
            self.told,
            self.capacities()
        );
    }

    /// All boots of the group failed, and nobody asked it since: it is only tried.
    fn is_tried(&self, index: usize) -> bool {
        let name = index.to_string();
        let failing = |scaler: &Scaler| {
            let mut own = scaler.service.queues[0].groups.iter().filter(|kept| kept.name == name);
            own.any(|kept| kept.brake.in_a_row() >= FAILED_IN_A_ROW)
        };
        self.scalers.iter().any(failing)
    }

    /// The most that a group may be asked for.
    fn limit(&self, index: usize) -> u32 {
        let group = &self.aws().groups[index];
        let tried = if self.is_tried(index) { group.in_service() as u32 + 1 } else { u32::MAX };
        tried.min(group.definition.max)
    }

    /// Idle capacity goes once it was idle for the period.
    fn comes_to_the_minimum(&mut self) {
        let idle = self.policy.idle_period.unwrap_or_default();
        let acts = if self.by_alarms() { ALARMS } else { PERIOD * 2 };
        self.pass(idle + acts + RETIRE);
        let least = self.least();
        let desired: u32 = self.aws().groups.iter().map(|group| group.desired).sum();
        let (members, machines) = (self.capacity_now(), &self.machines);
        assert!(
            desired == least && members == least as usize,
            "{}: {members} members and {desired} desired, not {least}: {machines:#?}",
            self.told
        );
    }

    /// Idle capacity goes, and then nothing is changed any more.
    pub fn returns_to_the_minimum(&mut self) {
        self.comes_to_the_minimum();
        let (writes, launches) = (self.aws().writes, self.launches());
        // Longer than instances wait before they retire by themselves: a floor that is kept is no reason to.
        let alone = self.policy.fail_safe_after.unwrap_or_default();
        let floor = self.stacks.iter().any(|stack| stack.order.policy.idle_instances > 0);
        self.pass(if floor { alone } else { SignedDuration::ZERO });
        self.pass(SignedDuration::from_secs(600));
        assert_eq!(self.aws().writes, writes, "{}: a group at rest is written to", self.told);
        assert_eq!(self.launches(), launches, "{}: a group at rest launches", self.told);
    }

    /// The groups and their stacks in short, for whoever reads of a breach.
    fn capacities(&self) -> String {
        let aws = self.aws();
        let tell = |stack: &Stack| {
            let groups = aws.groups[stack.groups.clone()].iter().map(|group| {
                let states: Vec<_> =
                    group.members.iter().map(|m| (m.lifecycle, m.healthy, m.protected)).collect();
                format!(
                    "{} of {} to {}: {states:?}",
                    group.desired, group.definition.min, group.definition.max
                )
            });
            let groups: Vec<String> = groups.collect();
            format!("{:?} {:?} {groups:#?}", stack.order, stack.standing)
        };
        self.stacks.iter().map(tell).collect()
    }

    /// Does AWS's own clock say when capacity changes?
    fn by_alarms(&self) -> bool {
        self.stacks.iter().any(|stack| !stack.order.mode.is_direct())
    }

    /// What stays without jobs: the groups' minimum, and the floor as far as limits let it.
    fn least(&self) -> u32 {
        let of_stack = |stack: &Stack| {
            let groups = &self.aws().groups[stack.groups.clone()];
            let sum = |limit: fn(&Group) -> u32| groups.iter().map(limit).sum::<u32>();
            let room = stack.order.most.min(sum(|group| group.definition.max));
            needed(&stack.order.policy, &Jobs::default()).min(room).max(sum(|group| group.definition.min))
        };
        self.stacks.iter().map(of_stack).sum()
    }
}
