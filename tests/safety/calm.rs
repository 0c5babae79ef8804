//! What must hold when nothing happens any more: calls work, images boot, EC2 has capacity, and few jobs come.

use jiff::SignedDuration;
use lab::group::model::Group;
use lifecycle::observed::Word;
use lifecycle::probes::FAILED_IN_A_ROW;
use scaler::decide::{Jobs, needed};

use crate::aws::Calls;
use crate::ci::Answers;
use crate::world::{PERIOD, Scaler, Stack, World};

/// The longest pause of the brake, or a shortage that is still believed, and the boot after it.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(700);

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
        self.returns_to_the_minimum();
    }

    pub fn heal(&mut self) {
        self.end_faults();
        self.aws().calls = Calls::Work;
        self.ci().answers = Answers::Now;
        (self.good_image, self.slow_boots, self.capacity) = (true, false, true);
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
            assert!(!long, "{}: {jobs:?} for a day: {:#?}", self.told, self.aws().groups);
            self.pass(SignedDuration::from_secs(60));
        }
    }

    /// Jobs came while the CI did not answer: one poll later all capacity is asked for that they need.
    fn recovers_when_the_ci_comes_back(&mut self) {
        self.ci().answers = Answers::Not;
        self.ci().scheduled.extend([SignedDuration::from_secs(100); 7]);
        self.pass(SignedDuration::from_secs(30));
        self.ci().answers = Answers::Now;
        self.pass(PERIOD + SignedDuration::from_secs(2));
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
        assert!(desired >= need, "{}: {desired} agents desired where {jobs:?} need {need}", self.told);
    }

    /// The most that a group may be asked for. One where all boots failed, and which nobody asked since, is only tried.
    fn limit(&self, index: usize) -> u32 {
        let name = index.to_string();
        let failing = |scaler: &Scaler| {
            let mut own = scaler.service.queues[0].groups.iter().filter(|kept| kept.name == name);
            own.any(|kept| kept.brake.in_a_row() >= FAILED_IN_A_ROW)
        };
        let group = &self.aws().groups[index];
        if self.scalers.iter().any(failing) { group.in_service() as u32 + 1 } else { group.definition.max }
    }

    /// Idle capacity goes once it was idle for the period, and then nothing is changed any more.
    pub fn returns_to_the_minimum(&mut self) {
        let idle = self.policy.idle_period.unwrap_or_default();
        self.pass(idle + PERIOD * 2 + RETIRE);
        let least = self.least();
        let desired: u32 = self.aws().groups.iter().map(|group| group.desired).sum();
        let (members, machines) = (self.capacity_now(), &self.machines);
        assert!(
            desired == least && members == least as usize,
            "{}: {members} members and {desired} desired, not {least}: {machines:#?}",
            self.told
        );
        let (writes, launches) = (self.aws().writes, self.launches());
        // Longer than instances wait before they retire by themselves: a floor that is kept is no reason to.
        let alone = self.policy.fail_safe_after.unwrap_or_default();
        let floor = self.stacks.iter().any(|stack| stack.order.policy.idle_instances > 0);
        self.pass(if floor { alone } else { SignedDuration::ZERO });
        self.pass(SignedDuration::from_secs(600));
        assert_eq!(self.aws().writes, writes, "{}: a group at rest is written to", self.told);
        assert_eq!(self.launches(), launches, "{}: a group at rest launches", self.told);
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
