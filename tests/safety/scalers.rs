//! The scalers of a world: they tick, fall within a tick, forget, hear of jobs to come, and have clocks of their own.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use scaler::gap::ScalingMode;
use scaler::hint::heard::Heard;
use scaler::ports::JobCounts as _;
use scaler::tick::{Kept, Order, Served, Service, tick};

use crate::aws::{Calls, Port, Tag, Tagged};
use crate::ci::Api;
use crate::publication::Publication;
use crate::world::{Stack, World, lock, seconds};

/// Between two ticks of a scaler.
pub const PERIOD: SignedDuration = SignedDuration::from_secs(10);

/// Between two publications.
const PUBLISH_EVERY: SignedDuration = SignedDuration::from_secs(60);

pub struct Scaler {
    /// The stack that it scales.
    pub stack: usize,
    pub service: Service<Port>,
    groups: Tagged,
    /// What it was told of jobs to come.
    pub heard: Arc<Heard>,
    pub next: Timestamp,
    published: Option<Timestamp>,
    /// How wrong its clock goes.
    pub skew: SignedDuration,
    /// It falls after so many calls of its next tick.
    pub falls_after: Option<u32>,
}

impl Scaler {
    /// The time as it has it.
    pub fn clock(&self, now: Timestamp) -> Timestamp {
        now + self.skew
    }
}

impl World {
    /// A scaler of this stack, which knows nothing.
    pub fn scaler(&mut self, stack: usize) -> Scaler {
        let next = self.now() + SignedDuration::from_millis(self.rng.random_range(0..10_000));
        let skew = self.skew(stack);
        let (service, groups) = self.nothing_kept(stack);
        let (heard, published, falls_after) = (Arc::default(), None, None);
        Scaler { stack, service, groups, heard, next, published, skew, falls_after }
    }

    /// How wrong a clock may go: in alarms mode datapoints are dated, and minutes count.
    pub fn skew(&mut self, stack: usize) -> SignedDuration {
        let most = if self.stacks[stack].order.mode.is_direct() { 90 } else { 3 };
        seconds(self.rng.random_range(-most..=most))
    }

    fn nothing_kept(&self, stack: usize) -> (Service<Port>, Tagged) {
        let port = |index| Port { aws: Arc::clone(&self.aws), index };
        let groups = self.stacks[stack].groups.clone();
        let kept = groups.map(|index| Kept::new(index.to_string(), port(index))).collect();
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
        (Service::new(vec![Served::new(kept)]), Tagged { aws: Arc::clone(&self.aws), tags: tags.collect() })
    }

    /// A scaler forgets all that it knew.
    pub fn restart(&mut self, which: usize) {
        let (service, groups) = self.nothing_kept(self.scalers[which].stack);
        let scaler = &mut self.scalers[which];
        (scaler.service, scaler.groups) = (service, groups);
        (scaler.heard, scaler.published, scaler.falls_after) = (Arc::default(), None, None);
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
        let at = self.scalers[which].clock(now);
        let due = self.scalers[which].published.is_none_or(|at| now.duration_since(at) >= PUBLISH_EVERY);
        let order = self.order(stack, due && !stack.order.mode.is_direct(), at);
        let scaler = &mut self.scalers[which];
        let api = Api { ci: Arc::clone(&self.ci), heard: Arc::clone(&scaler.heard), at };
        // What is there is protected and stays; so does what was desired before.
        let own = stack.groups.clone();
        let mut aws = lock(&self.aws);
        let of_group = |group: &lab::group::model::Group| group.desired.max(group.capacity() as u32);
        let stays: u32 = aws.groups[own.clone()].iter().map(of_group).sum();
        let writes = aws.writes;
        aws.falls_after = scaler.falls_after.take();
        drop(aws);
        let counts = async { vec![api.read("default").await] };
        let orders = std::slice::from_ref(&order);
        let ticked = tick(orders, counts, &mut scaler.service, &scaler.groups, &metrics, at).now_or_never();
        let ticked = ticked.and_then(|mut outcomes| outcomes.pop());
        let mut aws = lock(&self.aws);
        let fell = aws.falls_after.take() == Some(0);
        assert!(fell || ticked.is_some(), "{}: a port waits", self.told);
        self.transitions += (aws.writes - writes) as u64;
        if let Some(outcome) = &ticked {
            if outcome.keeps_idle {
                aws.kept = Some(now);
            }
            if outcome.published {
                scaler.published = Some(now);
            }
            let replays = outcome.record.as_ref().is_none_or(|record| record.replay().is_ok());
            assert!(replays, "{}: a record comes to another plan", self.told);
        }
        let own = &aws.groups[own];
        let after = own.iter().map(|group| group.desired).sum::<u32>();
        let least: u32 = own.iter().map(|group| group.definition.min).sum();
        let most = order.most.max(least).max(stays);
        // Growth comes first: what a scaler falls before it has called off, it calls off in its next tick.
        let fresh = aws.calls != Calls::Stale && aws.under_way.is_empty() && !fell;
        let record = ticked.as_ref().and_then(|outcome| outcome.record.as_ref());
        assert!(after <= most || !fresh, "{}: {after} desired, {most} at most: {record:?}", self.told);
        assert!(
            order.mode == ScalingMode::Direct || aws.writes == writes,
            "{}: desired capacity is set in alarms mode",
            self.told
        );
        ticked.is_some()
    }
}
