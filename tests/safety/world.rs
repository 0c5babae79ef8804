//! What happens, and time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use lab::group::apply::Order as Ordered;
use lab::group::decide::{Step, reconcile};
use lifecycle::observed::Word;
use lifecycle::policy::Policy;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use scaler::shortage::Patience;
use scaler::tick::{Kept, Order, tick};

use crate::aws::{Aws, Calls, NoMetrics, Port, group};
use crate::ci::{Answers, Api, Ci};
use crate::machine::{Machine, Stage};

/// Between two ticks of a scaler.
pub const PERIOD: SignedDuration = SignedDuration::from_secs(10);

/// A slice of time: nothing happens within it. Longer ones are for long times, in which less happens.
const SLICES: [SignedDuration; 2] = [SignedDuration::from_secs(2), SignedDuration::from_secs(10)];

/// Faults of what a heartbeat needs last no longer, and leave as long between them: heartbeats go out every five
/// minutes, and a hook waits for thirty.
const LONGEST_FAULT: i64 = 900;

pub struct Scaler {
    pub groups: Vec<Kept<Port>>,
    next: Timestamp,
    /// How wrong its clock goes.
    skew: SignedDuration,
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
    pub order: Order,
    pub metadata: bool,
    /// Does the image boot?
    pub good_image: bool,
    /// Does EC2 have capacity for the first group?
    pub capacity: bool,
    /// Somebody has set desired capacity by hand, beyond what a scaler may.
    pub by_hand: bool,
    pub fault_until: Timestamp,
    pub transitions: u64,
    launched: u64,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let agents = rng.random_range(1..=2);
        let min = if rng.random_bool(0.2) { 1 } else { 0 };
        let mut groups = vec![group("first", min, rng.random_range(2..=8), now)];
        if rng.random_bool(0.4) {
            groups.push(group("second", 0, rng.random_range(1..=6), now));
        }
        let most = if rng.random_bool(0.3) { 6 } else { 100 };
        let past = groups.clone();
        let aws =
            Aws { groups, now, calls: Calls::Work, past, under_way: Vec::new(), writes: 0, new_writes: 0 };
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
            drain_on_rebalance: false,
            spot_grace: seconds(60),
        };
        let order = Order {
            queue: "default".to_owned(),
            policy: scaler::decide::Policy::of_need(agents),
            most,
            patience: Patience { launch: seconds(120), retry_after: seconds(600) },
            probe_after: seconds(60),
            dry_run: false,
            publish: false,
        };
        let scalers = rng.random_range(1..=3);
        let mut world = Self {
            told: format!("seed {seed}"),
            rng,
            aws,
            ci: Arc::default(),
            machines: BTreeMap::new(),
            scalers: Vec::new(),
            policy,
            order,
            metadata: true,
            good_image: true,
            capacity: true,
            by_hand: false,
            fault_until: now,
            transitions: 0,
            launched: 0,
        };
        for _ in 0..scalers {
            let skew = seconds(world.rng.random_range(-90..=90));
            let next = now + SignedDuration::from_millis(world.rng.random_range(0..10_000));
            world.scalers.push(Scaler { groups: world.nothing_kept(), next, skew });
        }
        world
    }

    pub fn nothing_kept(&self) -> Vec<Kept<Port>> {
        let count = lock(&self.aws).groups.len();
        (0..count)
            .map(|index| Kept::new(index.to_string(), Port { aws: Arc::clone(&self.aws), index }))
            .collect()
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

    /// Something, and the time after it.
    pub fn happen(&mut self) {
        self.transitions += 1;
        match self.rng.random_range(0..100) {
            0..30 => self.jobs_come(),
            30..36 => self.calls_fail(),
            36..41 => self.ci_fails(),
            41..44 => self.metadata_fails(),
            44..50 => self.someone_crashes(),
            50..53 => self.operator_speaks(),
            53..56 => self.operator_resizes(),
            56..58 => self.operator_terminates(),
            58..60 => self.spot_notice(),
            60..61 => self.machine_dies(),
            61..63 => self.good_image = !self.good_image,
            63..65 => self.capacity = !self.capacity,
            65..66 => self.template_changes(),
            66..69 => self.job_slips_in(),
            _ => {}
        }
        let pass = match self.rng.random_range(0..10) {
            0..6 => self.rng.random_range(1..=5),
            6..9 => self.rng.random_range(5..=60),
            _ => self.rng.random_range(60..=900),
        };
        self.pass(seconds(pass));
    }

    fn jobs_come(&mut self) {
        for _ in 0..self.rng.random_range(1..=6) {
            let length = if self.rng.random_bool(0.05) { 7200 } else { 300 };
            let length = seconds(self.rng.random_range(1..=length));
            self.ci().scheduled.push(length);
        }
    }

    /// May another fault begin? It lasts for so long at most.
    fn fault(&mut self, longest: i64) -> bool {
        let now = self.now();
        let may = now >= self.fault_until + seconds(LONGEST_FAULT);
        if may {
            self.fault_until = now + seconds(self.rng.random_range(1..=longest));
        }
        may
    }

    pub fn end_faults(&mut self) {
        self.aws().calls = Calls::Work;
        self.metadata = true;
    }

    fn metadata_fails(&mut self) {
        self.metadata = !self.fault(LONGEST_FAULT) && self.metadata;
    }

    fn calls_fail(&mut self) {
        let calls = [Calls::Fail, Calls::LoseAnswers, Calls::Stale, Calls::Late, Calls::Twice];
        let calls = calls[self.rng.random_range(0..calls.len())];
        // Answers from long ago are not what AWS gives.
        let longest = if calls == Calls::Stale { 30 } else { LONGEST_FAULT };
        if !self.fault(longest) {
            return;
        }
        let mut aws = self.aws();
        aws.calls = calls;
        aws.past = aws.groups.clone();
    }

    fn ci_fails(&mut self) {
        let mut ci = lock(&self.ci);
        ci.answers = match self.rng.random_range(0..3) {
            0 => Answers::Now,
            1 => Answers::Not,
            _ => Answers::Stale(ci.jobs()),
        };
    }

    fn someone_crashes(&mut self) {
        if self.rng.random_bool(0.5) {
            let which = self.rng.random_range(0..self.scalers.len());
            self.scalers[which].groups = self.nothing_kept();
            return;
        }
        let deeds = self.rng.random_range(0..3);
        if let Some(machine) = self.any_machine() {
            machine.falls_after = Some(deeds);
        }
    }

    fn any_machine(&mut self) -> Option<&mut Machine> {
        let count = self.machines.len();
        let which = self.rng.random_range(0..count.max(1));
        self.machines.values_mut().nth(which)
    }

    fn operator_speaks(&mut self) {
        let words = [Word::Cordon, Word::Serve, Word::Serve, Word::Drain, Word::DrainNow];
        let word = words[self.rng.random_range(0..words.len())];
        if let Some(machine) = self.any_machine() {
            machine.said(word);
        }
    }

    fn operator_resizes(&mut self) {
        let mut aws = lock(&self.aws);
        let which = self.rng.random_range(0..aws.groups.len());
        let now = aws.now;
        let group = &mut aws.groups[which];
        let desired = self.rng.random_range(group.definition.min..=group.definition.max);
        group.set_desired(desired, now).expect("within its limits");
        self.by_hand = true;
    }

    fn operator_terminates(&mut self) {
        let decrement = self.rng.random_bool(0.5);
        let Some((id, index)) = self.any_machine().map(|machine| (machine.id.clone(), machine.group)) else {
            return;
        };
        let mut aws = self.aws();
        let now = aws.now;
        // One that is being launched cannot be decremented beneath the minimum: AWS says so.
        let _ = aws.groups[index].terminate(&id, decrement, now);
    }

    fn spot_notice(&mut self) {
        let at = self.now() + seconds(120);
        if let Some(machine) = self.any_machine() {
            machine.spot.get_or_insert(at);
            machine.excused = true;
        }
    }

    fn machine_dies(&mut self) {
        let (aws, ci) = (Arc::clone(&self.aws), Arc::clone(&self.ci));
        if let Some(machine) = self.any_machine().filter(|machine| machine.stage != Stage::Dead) {
            machine.dies(&mut lock(&aws), &mut lock(&ci));
        }
    }

    fn template_changes(&mut self) {
        let mut aws = self.aws();
        for group in &mut aws.groups {
            let version: u32 = group.definition.template.version.parse().expect("a number");
            group.definition.template.version = (version + 1).to_string();
        }
    }

    pub fn job_slips_in(&mut self) {
        let (now, ci) = (self.now(), Arc::clone(&self.ci));
        for machine in self.machines.values_mut() {
            machine.take_job(&mut lock(&ci), now, true);
        }
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
            self.machines_go_on(now);
            self.scalers_tick(now);
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
                    let boot = seconds(self.rng.random_range(1..=30));
                    machine.stage = Stage::Booting(now + boot, self.good_image);
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

    fn scalers_tick(&mut self, now: Timestamp) {
        let api = Api(Arc::clone(&self.ci));
        for scaler in &mut self.scalers {
            if now < scaler.next {
                continue;
            }
            scaler.next = now + PERIOD;
            // What is there is protected and stays; so does what was desired before.
            let stays =
                lock(&self.aws).groups.iter().map(|g| g.desired.max(g.capacity() as u32)).sum::<u32>();
            let at = now + scaler.skew;
            let ticked = tick(&self.order, &api, &mut scaler.groups, &NoMetrics, at).now_or_never();
            let outcome = ticked.expect("no port waits");
            let replays = outcome.record.is_none_or(|record| record.replay().is_ok());
            assert!(replays, "{}: a record comes to another plan", self.told);
            let mut aws = lock(&self.aws);
            self.transitions += u64::from(std::mem::take(&mut aws.new_writes));
            let after = aws.groups.iter().map(|group| group.desired).sum::<u32>();
            let least: u32 = aws.groups.iter().map(|group| group.definition.min).sum();
            let most = self.order.most.max(least).max(stays);
            let fresh = aws.calls != Calls::Stale && aws.under_way.is_empty();
            assert!(after <= most || !fresh, "{}: {after} desired, {most} at most", self.told);
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
                let agents = self.order.policy.agents_per_instance as usize;
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

    /// Members that are not on their way out.
    pub fn capacity_now(&self) -> usize {
        self.aws().groups.iter().map(lab::group::model::Group::capacity).sum()
    }
}
