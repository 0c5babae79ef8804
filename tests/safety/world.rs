//! A world of machines, scalers and groups, and time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lab::group::apply::Order as Ordered;
use lab::group::decide::{Step, reconcile};
use lab::group::model::Group;
use lifecycle::policy::Policy;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use scaler::allot::Standing;
use scaler::gap::ScalingMode;
use scaler::schedule::{Changes, Period, Schedule};
use scaler::sharing::FixedShare;
use scaler::shortage::Patience;
use scaler::tick::Order;

use crate::aws::{Aws, Calls, group};
use crate::ci::Ci;
use crate::machine::{Machine, Stage};
use crate::publication::Minutes;
use crate::scalers::Scaler;
use crate::table::Table;

/// A slice of time: nothing happens within it. Longer ones are for long times, in which less happens.
const SLICES: [SignedDuration; 2] = [SignedDuration::from_secs(2), SignedDuration::from_secs(10)];

/// Faults of what a heartbeat needs last no longer, and leave as long between them: heartbeats go out every five
/// minutes, and a hook waits for thirty.
pub const LONGEST_FAULT: i64 = 900;

/// A stack: some of the groups, and what its owner wants.
pub struct Stack {
    pub order: Order,
    /// When its owner wants something else.
    pub schedule: Schedule,
    /// Its groups are these of all.
    pub groups: std::ops::Range<usize>,
    pub standing: Standing,
    /// Does its source of job counts list jobs?
    pub lists: bool,
    /// Where its scalers' lease lies, and what they learned.
    pub table: Option<Table>,
}

pub struct World {
    /// Which world this is, for whoever reads of a breach: its seed, or what happened in it.
    pub told: String,
    pub rng: SmallRng,
    pub aws: Arc<Mutex<Aws>>,
    pub ci: Arc<Mutex<Ci>>,
    pub machines: BTreeMap<String, Machine>,
    pub scalers: Vec<Scaler>,
    pub policy: Policy,
    pub stacks: Vec<Stack>,
    pub metadata: bool,
    /// Does the image boot?
    pub good_image: bool,
    /// Do some boots take for minutes?
    pub slow_boots: bool,
    /// So many of the next boots never end.
    pub hanging: u32,
    /// What CloudWatch knows.
    pub minutes: Arc<Mutex<Minutes>>,
    /// Builds that were announced: when their jobs come, and how many.
    pub announced: Vec<(Timestamp, u32)>,
    pub builds: u64,
    /// Scalers that came so far.
    pub births: u64,
    /// Does EC2 have capacity for the first group?
    pub capacity: bool,
    /// Somebody has set desired capacity by hand, beyond what a scaler may.
    pub by_hand: bool,
    pub fault_until: Timestamp,
    pub transitions: u64,
    launched: u64,
}

/// An owner who wants something else at times; nobody's minimum, since what instances a stack keeps is told apart below.
fn schedule(rng: &mut SmallRng) -> Schedule {
    let cron = |text: &str| vec![text.parse().expect("an expression")];
    let mut period = |name: &str, when: &str| Period {
        name: name.to_owned(),
        when: cron(when),
        changes: Changes {
            idle_instances: rng.random_bool(0.5).then_some(rng.random_range(0..=3)),
            instance_buffer: rng.random_bool(0.3).then_some(rng.random_range(0..=2)),
            min_instances: rng.random_bool(0.3).then_some(rng.random_range(0..=1)),
            max_instances: rng.random_bool(0.5).then_some(rng.random_range(1..=6)),
            scale_in: rng.random_bool(0.3).then_some(false),
        },
    };
    let periods = vec![period("first", "0-14 * * * *"), period("then", "20-39 * * * *")];
    Schedule { periods, ..Schedule::default() }
}

/// A stack of one group or two, its scalers' orders with it.
fn stack(rng: &mut SmallRng, groups: &mut Vec<Group>, now: Timestamp) -> Stack {
    let begin = groups.len();
    let min = if rng.random_bool(0.2) { 1 } else { 0 };
    groups.push(group("first", min, rng.random_range(2..=8), now));
    if rng.random_bool(0.4) {
        groups.push(group("second", 0, rng.random_range(1..=6), now));
    }
    let by_alarms = rng.random_bool(0.2);
    let order = Order {
        queue: "default".to_owned(),
        policy: scaler::decide::Policy::of_need(rng.random_range(1..=2)),
        most: if rng.random_bool(0.3) { 6 } else { 100 },
        period: None,
        patience: Patience { launch: seconds(120), retry_after: seconds(600) },
        probe_after: seconds(60),
        mode: if by_alarms { ScalingMode::Alarms } else { ScalingMode::Direct },
        share: FixedShare::ALL,
        prices: Vec::new(),
        dry_run: false,
        publish: false,
        raise_only: false,
    };
    let standing = Standing { priority: rng.random_range(0..=1), weight: rng.random_range(1..=3) };
    let (lists, table) = (rng.random_bool(0.4), rng.random_bool(0.6).then(Table::default));
    Stack { order, schedule: Schedule::default(), groups: begin..groups.len(), standing, lists, table }
}

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut groups = Vec::new();
        let mut stacks = Vec::new();
        for _ in 0..(if rng.random_bool(0.6) { 1 } else { rng.random_range(2..=3) }) {
            let stack = stack(&mut rng, &mut groups, now);
            stacks.push(stack);
        }
        if let [alone] = stacks.as_mut_slice() {
            alone.order.policy.idle_instances =
                if rng.random_bool(0.3) { rng.random_range(1..=3) } else { 0 };
            if rng.random_bool(0.3) {
                alone.schedule = schedule(&mut rng);
            }
        }
        let past = groups.clone();
        let calls = Calls::Work;
        let (under_way, writes, kept, counted, falls_after) = (Vec::new(), 0, None, 0, None);
        let aws = Aws { groups, now, calls, past, under_way, writes, kept, counted, falls_after };
        let aws = Arc::new(Mutex::new(aws));
        let idle_period = seconds(rng.random_range(0..=600));
        let policy = Policy {
            in_group: true,
            idle_period: Some(idle_period),
            fail_safe_after: Some(idle_period * 3 + seconds(600)),
            has_hook: true,
            heartbeat_interval: seconds(300),
            update_check: seconds(60),
            update_concurrency: 1,
            max_age: None,
            after_job: rng.random_bool(0.2),
            drain_on_rebalance: rng.random_bool(0.3),
            spot_grace: seconds(60),
        };
        let mut world = Self {
            told: format!("seed {seed}"),
            rng,
            aws,
            ci: Arc::default(),
            machines: BTreeMap::new(),
            scalers: Vec::new(),
            policy,
            stacks,
            metadata: true,
            good_image: true,
            slow_boots: false,
            hanging: 0,
            minutes: Arc::default(),
            announced: Vec::new(),
            builds: 0,
            births: 0,
            capacity: true,
            by_hand: false,
            fault_until: now,
            transitions: 0,
            launched: 0,
        };
        for stack in 0..world.stacks.len() {
            for _ in 0..world.rng.random_range(1..=3) {
                let scaler = world.scaler(stack);
                world.scalers.push(scaler);
            }
        }
        world
    }

    /// The stack of a group.
    pub fn stack_of(&self, index: usize) -> &Stack {
        self.stacks.iter().find(|stack| stack.groups.contains(&index)).expect("each group is in a stack")
    }

    pub fn aws(&self) -> MutexGuard<'_, Aws> {
        lock(&self.aws)
    }

    pub fn ci(&self) -> MutexGuard<'_, Ci> {
        lock(&self.ci)
    }

    pub fn now(&self) -> Timestamp {
        self.aws().now
    }

    /// Time passes in slices.
    pub fn pass(&mut self, time: SignedDuration) {
        let until = self.now() + time;
        let slice = SLICES[usize::from(time > seconds(60))];
        while self.now() < until {
            let now = self.now() + slice;
            self.aws().now = now;
            if now >= self.fault_until {
                self.end_faults();
            }
            self.aws().deliver();
            self.builds_begin(now);
            self.machines_go_on(now);
            self.scalers_tick(now);
            self.alarms_act(now);
            self.groups_settle();
        }
    }

    fn machines_go_on(&mut self, now: Timestamp) {
        let (mut aws, mut ci) = (lock(&self.aws), lock(&self.ci));
        for machine in self.machines.values_mut() {
            if machine.spot.is_some_and(|at| now >= at) && machine.stage != Stage::Dead {
                machine.dies(&mut aws, &mut ci);
            }
            match machine.stage {
                Stage::Coming(at) if now >= at => {
                    aws.groups[machine.group].came_up(&machine.id);
                    let slow = self.slow_boots && self.rng.random_bool(0.3);
                    let boot = seconds(self.rng.random_range(1..=if slow { 800 } else { 30 }));
                    machine.stage = if self.hanging > 0 {
                        self.hanging -= 1;
                        Stage::Hung
                    } else {
                        Stage::Booting(now + boot, self.good_image)
                    };
                }
                Stage::Booting(at, good) if now >= at => machine.boot_ends(good, &mut aws),
                Stage::Serving => {
                    ci.running -= machine.end_jobs(now);
                    machine.take_job(&mut ci, now, false);
                    machine.look(&self.policy, &mut aws, &mut ci, self.metadata);
                    self.transitions += std::mem::take(&mut machine.deeds);
                }
                _ => {}
            }
        }
    }

    fn groups_settle(&mut self) {
        let shared = Arc::clone(&self.aws);
        let mut aws = lock(&shared);
        let now = aws.now;
        for index in 0..aws.groups.len() {
            for _ in 0..20 {
                let mut changed = false;
                for step in reconcile(&aws.groups[index], now) {
                    changed |= self.group_steps(&mut aws, index, &step, now);
                }
                if !changed {
                    break;
                }
            }
            let Group { desired, definition, .. } = &aws.groups[index];
            let limits = definition.min..=definition.max;
            assert!(limits.contains(desired), "{}: {desired} desired, limits {limits:?}", self.told);
            // As much as AWS tells at once.
            let activities = &mut aws.groups[index].activities;
            let old = activities.len().saturating_sub(100);
            activities.drain(..old);
        }
    }

    fn group_steps(&mut self, aws: &mut Aws, index: usize, step: &Step, now: Timestamp) -> bool {
        match step {
            Step::Launch { .. } if index == 0 && !self.capacity => return false,
            Step::Launch { zone, .. } => {
                self.launched += 1;
                let id = format!("i-{}", self.launched);
                let version = aws.groups[index].definition.template.version.clone();
                let (zone, instance_type) = (zone.clone(), "t3.small".to_owned());
                aws.groups[index].ordered(
                    Ordered { id: id.clone(), zone, instance_type, template_version: version, warm: false },
                    now,
                );
                let up_at = now + seconds(self.rng.random_range(2..=30));
                let agents = self.stack_of(index).order.policy.agents_per_instance as usize;
                self.machines.insert(id.clone(), Machine::ordered(id, index, up_at, agents, now));
            }
            Step::End { id } => {
                aws.groups[index].apply(step, now);
                if let Some(machine) = self.machines.remove(id) {
                    self.ends(&machine);
                }
            }
            step => aws.groups[index].apply(step, now),
        }
        self.transitions += 1;
        true
    }

    /// The first law: nothing ends beneath a job.
    fn ends(&self, machine: &Machine) {
        let lost = machine.jobs.len() + machine.asking.len();
        lock(&self.ci).running -= lost as u64;
        assert!(
            machine.jobs.is_empty() || machine.excused,
            "{}: {} was ended beneath {} jobs: {:?}",
            self.told,
            machine.id,
            machine.jobs.len(),
            machine.seen
        );
    }

    /// Instances that were launched so far.
    pub fn launches(&self) -> u64 {
        self.launched
    }

    /// Members that are not on their way out.
    pub fn capacity_now(&self) -> usize {
        self.aws().groups.iter().map(Group::capacity).sum()
    }
}
