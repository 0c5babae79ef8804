//! The scalers of a world: they tick, fall within a tick, forget, hear of jobs to come, and have clocks of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use lab::group::model::{Lifecycle, Member};
use rand::RngExt as _;
use scaler::gap::ScalingMode;
use scaler::hint::heard::Heard;
use scaler::lease::holder::MayLower;
use scaler::ports::JobCounts as _;
use scaler::state::store::Store;
use scaler::tick::{Kept, Order, Outcome, Served, Service, tick};

use crate::aws::{Aws, Calls, Port, Tag, Tagged};
use crate::ci::Api;
use crate::publication::Publication;
use crate::table::{self, Lease, Watch};
use crate::world::{Stack, World, lock};

/// Between two ticks of a scaler.
pub const PERIOD: SignedDuration = SignedDuration::from_secs(10);

/// Between two publications.
const PUBLISH_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Between two writings of what was learned.
const WRITE_EVERY: SignedDuration = SignedDuration::from_secs(30);

pub struct Scaler {
    /// The stack that it scales.
    pub stack: usize,
    pub service: Service<Port>,
    groups: Tagged,
    /// What it was told of jobs to come.
    pub heard: Arc<Heard>,
    /// Where what it learned lies, and when it was written.
    store: Option<Store<table::Port>>,
    wrote: Timestamp,
    pub next: Timestamp,
    published: Option<Timestamp>,
    /// How wrong its clock goes.
    clock: Watch,
    /// It falls after so many calls of its next tick.
    pub falls_after: Option<u32>,
    /// Its next tick is one of a hint, which leaves lowering to others where there is a lease.
    pub raises_only: bool,
}

impl Scaler {
    /// The time as it has it.
    pub fn wall(&self, now: Timestamp) -> Timestamp {
        self.clock.wall(now)
    }
}

impl World {
    /// A scaler of this stack, which knows what another one wrote down, if anything.
    pub fn scaler(&mut self, stack: usize) -> Scaler {
        let now = self.now();
        let next = now + SignedDuration::from_millis(self.rng.random_range(0..10_000));
        let skew = Arc::new(AtomicI64::new(self.skew(stack)));
        let clock = Watch { aws: Arc::clone(&self.aws), skew };
        self.born(stack, clock, next)
    }

    fn born(&mut self, stack: usize, clock: Watch, next: Timestamp) -> Scaler {
        let (now, heard) = (self.now(), Arc::default());
        let (mut service, groups) = self.nothing_kept(stack, &clock);
        let port =
            self.stacks[stack].table.clone().map(|table| table::Port { table, aws: Arc::clone(&self.aws) });
        let mut store = port.map(|port| Store::new(port, "default"));
        if let Some(store) = &mut store {
            let recalled = service.queues[0].recall_from(store, &heard, clock.wall(now)).now_or_never();
            assert!(recalled.is_some(), "{}: a table waits", self.told);
        }
        let (published, falls_after, raises_only) = (None, None, false);
        Scaler {
            stack,
            service,
            groups,
            heard,
            store,
            wrote: now,
            next,
            published,
            clock,
            falls_after,
            raises_only,
        }
    }

    /// How wrong a clock may go: in alarms mode datapoints are dated, and minutes count; counts that tell how old they
    /// are older than a minute for one that is a minute ahead.
    pub fn skew(&mut self, stack: usize) -> i64 {
        let most = match &self.stacks[stack] {
            stack if !stack.order.mode.is_direct() => 3,
            stack if stack.lists => 50,
            _ => 90,
        };
        self.rng.random_range(-most..=most)
    }

    /// A clock is set, forward or back.
    pub fn clock_is_set(&mut self) {
        let which = self.rng.random_range(0..self.scalers.len());
        let skew = self.skew(self.scalers[which].stack);
        self.scalers[which].clock.skew.store(skew, Ordering::Relaxed);
    }

    fn nothing_kept(&mut self, stack: usize, clock: &Watch) -> (Service<Port>, Tagged) {
        self.births += 1;
        let port = |index| Port { aws: Arc::clone(&self.aws), index };
        let groups = self.stacks[stack].groups.clone();
        let kept = groups.map(|index| Kept::new(index.to_string(), port(index))).collect();
        let lease = self.stacks[stack].table.clone().map(|table| -> Arc<dyn MayLower> {
            let port = table::Port { table, aws: Arc::clone(&self.aws) };
            Arc::new(Lease::new(port, clock.clone(), self.births.to_string()))
        });
        let tags = self.stacks.iter().enumerate().flat_map(|(name, stack)| {
            let tag = move |index| Tag {
                index,
                stack: name.to_string(),
                standing: stack.standing,
                agents: stack.order.policy.agents_per_instance,
                most: stack.order.most,
            };
            stack.groups.clone().map(tag)
        });
        let service = Service::new(vec![Served::new(kept).under(lease)]);
        (service, Tagged { aws: Arc::clone(&self.aws), tags: tags.collect() })
    }

    /// A scaler falls, and another one comes in its place.
    pub fn restart(&mut self, which: usize) {
        let Scaler { stack, clock, next, .. } = &self.scalers[which];
        let (stack, clock, next) = (*stack, clock.clone(), *next);
        self.scalers[which] = self.born(stack, clock, next);
    }

    /// A scaler is told to end: it writes down what it knows, leaves the lease to others, and another one comes.
    pub fn replace(&mut self, which: usize) {
        let now = self.now();
        let scaler = &mut self.scalers[which];
        let ended = async {
            scaler.write(now).await;
            scaler.service.queues[0].release().await;
        };
        assert!(ended.now_or_never().is_some(), "{}: a table waits", self.told);
        self.restart(which);
    }

    pub fn scalers_tick(&mut self, now: Timestamp) {
        for which in 0..self.scalers.len() {
            if now >= self.scalers[which].next {
                self.scalers[which].next = now + PERIOD;
                if !self.ticks(which, now) {
                    self.restart(which);
                }
            }
        }
    }

    /// What the owner wants now, and whether it is time to publish.
    fn order(&self, stack: &Stack, publish: bool, now: Timestamp) -> Order {
        let base = &stack.order;
        let effective = stack.schedule.policy_at(&base.policy, base.most, now);
        let (policy, most, period) = (effective.policy, effective.most, effective.period);
        Order { policy, most, period, publish, ..base.clone() }
    }

    /// One tick; did the scaler live through it?
    fn ticks(&mut self, which: usize, now: Timestamp) -> bool {
        let metrics = Publication { minutes: Arc::clone(&self.minutes) };
        let stack = &self.stacks[self.scalers[which].stack];
        let at = self.scalers[which].wall(now);
        let due = self.scalers[which].published.is_none_or(|at| now.duration_since(at) >= PUBLISH_EVERY);
        let mut order = self.order(stack, due && !stack.order.mode.is_direct(), at);
        let scaler = &mut self.scalers[which];
        order.raise_only = std::mem::take(&mut scaler.raises_only);
        let (ci, heard) = (Arc::clone(&self.ci), Arc::clone(&scaler.heard));
        let api = Api { ci, heard, lists: stack.lists, now, at };
        let counts = api.read("default").now_or_never().expect("the CI never waits");
        let before = Before::of(&mut lock(&self.aws), stack, scaler.falls_after.take());
        let (known, in_doubt) = (counts.is_ok(), stack.lists && lock(&self.ci).is_in_doubt(at));
        let ticked = async {
            let orders = std::slice::from_ref(&order);
            let counts = async { vec![counts] };
            let outcome = tick(orders, counts, &mut scaler.service, &scaler.groups, &metrics, at).await.pop();
            if now.duration_since(scaler.wrote) >= WRITE_EVERY {
                scaler.wrote = now;
                scaler.write(now).await;
            }
            outcome
        };
        let ticked = ticked.now_or_never().flatten();
        let mut aws = lock(&self.aws);
        let fell = aws.falls_after.take() == Some(0);
        assert!(fell || ticked.is_some(), "{}: a port waits", self.told);
        self.transitions += (aws.writes - before.writes) as u64;
        if let Some(outcome) = &ticked {
            if outcome.keeps_idle {
                aws.kept = Some(now);
            }
            if outcome.published {
                scaler.published = Some(now);
            }
        }
        let outcome = ticked.as_ref();
        before.laws(&aws, &Tick { stack, order: &order, known, in_doubt, outcome, fell }, &self.told);
        ticked.is_some()
    }
}

impl Scaler {
    /// Writes down what it learned. Where that fails it goes on.
    async fn write(&mut self, now: Timestamp) {
        if let Some(store) = &mut self.store {
            let _ = self.service.queues[0].keep_in(store, &self.heard, self.clock.wall(now)).await;
        }
    }
}

/// A tick that was.
struct Tick<'a> {
    stack: &'a Stack,
    order: &'a Order,
    /// Were the counts read, and is anything in doubt of them?
    known: bool,
    in_doubt: bool,
    outcome: Option<&'a Outcome>,
    fell: bool,
}

/// What was before a tick.
struct Before {
    writes: usize,
    /// Instances that stay, or were desired.
    stays: u32,
    /// Of each group: desired, and in service.
    groups: Vec<(u32, u32)>,
}

impl Before {
    fn of(aws: &mut Aws, stack: &Stack, falls_after: Option<u32>) -> Self {
        aws.falls_after = falls_after;
        let own = &aws.groups[stack.groups.clone()];
        // What is there is protected and stays; so does what was desired before.
        let stays = own.iter().map(|group| group.desired.max(group.capacity() as u32)).sum();
        let serves = |member: &&Member| member.lifecycle == Lifecycle::InService && member.healthy;
        let groups =
            own.iter().map(|group| (group.desired, group.members.iter().filter(serves).count() as u32));
        let groups = groups.collect();
        Self { writes: aws.writes, stays, groups }
    }

    /// What no tick may do.
    fn laws(&self, aws: &Aws, tick: &Tick<'_>, told: &str) {
        let Tick { stack, order, known, in_doubt, outcome, fell } = tick;
        let record = outcome.and_then(|outcome| outcome.record.as_ref());
        assert!(
            record.is_none_or(|record| record.replay().is_ok()),
            "{told}: a record comes to another plan"
        );
        let wrote = aws.writes > self.writes;
        assert!(
            !wrote || order.mode == ScalingMode::Direct,
            "{told}: desired capacity is set in alarms mode"
        );
        assert!(!wrote || *known, "{told}: desired capacity is set by what is unknown");
        // Growth comes first: what a scaler falls before it has called off, it calls off in its next tick.
        if aws.calls == Calls::Stale || !aws.under_way.is_empty() || *fell {
            return;
        }
        let own = &aws.groups[stack.groups.clone()];
        let after: u32 = own.iter().map(|group| group.desired).sum();
        let least: u32 = own.iter().map(|group| group.definition.min).sum();
        let most = order.most.max(least).max(self.stays);
        assert!(after <= most, "{told}: {after} desired, {most} at most: {record:?}");
        for (group, (desired, in_service)) in own.iter().zip(&self.groups) {
            let lowered = group.desired < *desired;
            assert!(
                !lowered || !order.raise_only || stack.table.is_none(),
                "{told}: a hint lowers: {record:?}"
            );
            let least = (*desired).min(*in_service).min(group.definition.max);
            assert!(!in_doubt || group.desired >= least, "{told}: lowered by what is in doubt: {record:?}");
        }
    }
}
