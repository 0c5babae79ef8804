//! A queue and a group on a virtual clock: jobs come as the trace says, and the group behaves as AWS does. What a
//! policy may see and do is [`View`] and [`Scaling`].

mod machines;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use machines::LEAST_BILLED;
pub use machines::{IdlePeriod, Machines, WhenIdle};
use machines::{Instance, State};

use super::trace::{Hint, Millis, Trace};
use crate::decide::{Capacity, Jobs};

/// Instances retire by themselves so long after three idle periods, unless told otherwise (`fail-safe-after`).
const FAIL_SAFE: Millis = 600_000;

/// What a policy sees at a look.
#[derive(Debug)]
pub struct View<'a> {
    /// Now.
    pub now: Millis,
    /// Jobs, as the CI counts them.
    pub jobs: Jobs,
    /// The group, as AWS describes it.
    pub capacity: Capacity,
    /// What was announced since the last look.
    pub hints: &'a [Hint],
}

/// A policy under simulation.
pub trait Scaling {
    /// From one look to the next.
    fn period(&self) -> Millis;
    /// Does an announcement bring the next look at once?
    fn is_woken(&self) -> bool {
        false
    }
    /// Instances that it never lets go, beyond the group's minimum.
    fn kept(&self) -> u32 {
        0
    }
    /// What its instances do when idle.
    fn when_idle(&self) -> WhenIdle;
    /// Desired capacity from now on.
    fn look(&mut self, view: &View<'_>) -> u32;
}

/// What came of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// How long each job waited from being runnable to its start, in order of the starts.
    pub waits: Vec<Millis>,
    /// Time of all instances, from launch to end.
    pub paid: Millis,
    /// The same as EC2 bills it: no launch for less than a minute.
    pub billed: Millis,
    /// Of it, time in which agents could have taken jobs and ran none.
    pub idle: Millis,
    /// Launches.
    pub boots: u32,
    /// Instances that ended without ever having run a job.
    pub unused: u32,
    /// From the end of the last job to the end of the last instance beyond the minimum.
    pub to_zero: Millis,
    /// Jobs that began again because EC2 took their instance.
    pub interrupted: u32,
    /// Over time, for plots: a point for each change.
    pub line: Vec<Point>,
}

impl Course {
    fn pay(&mut self, launched: Millis, ended: Millis) {
        self.paid += ended - launched;
        self.billed += (ended - launched).max(LEAST_BILLED);
    }
}

/// What a plot shows of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The moment.
    pub at: Millis,
    /// Jobs without an agent.
    pub waiting: u32,
    /// Jobs with one.
    pub running: u32,
    /// Instances that are paid.
    pub instances: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ready(usize),
    /// The job that began as the `n`-th of its instance ends.
    Finished(usize, usize, u32),
    /// The instance is idle for its period, unless a job began since.
    Idle(usize, u32),
    Interrupted(usize),
}

/// The simulation while it runs.
struct World<'a> {
    now: Millis,
    trace: &'a Trace,
    machines: Machines,
    when_idle: WhenIdle,
    random: Xoshiro256PlusPlus,
    events: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    sequence: u64,
    instances: Vec<Instance>,
    /// One entry for each idle agent; the one that became idle last is taken first, so that the others can go.
    idle_agents: Vec<usize>,
    /// Indices of the instances that are there.
    live: Vec<usize>,
    queue: VecDeque<usize>,
    running: u32,
    /// The job that each instance's `n`-th start was, where it can be interrupted.
    jobs_of: Vec<Vec<usize>>,
    desired: u32,
    /// The group as it was counted last, unless something has happened since.
    counted: Option<Capacity>,
    last_end: Millis,
    course: Course,
    records_line: bool,
}

/// Runs a policy over a trace to its end. `seed` decides how boots vary and when EC2 interrupts. With `line`, the
/// course over time is kept too.
pub fn run(trace: &Trace, machines: Machines, scaling: &mut dyn Scaling, seed: u64, line: bool) -> Course {
    let mut world = World::new(trace, machines, scaling.when_idle(), seed, line);
    world.set_desired(machines.min);
    let (mut next_job, mut next_hint, mut seen_hints) = (0, 0, 0);
    let mut next_look = 0;
    let at_rest = machines.min.max(scaling.kept()) as usize;
    loop {
        let job_at = trace.jobs.get(next_job).map(|job| job.runnable_at);
        let hint_at = trace.hints.get(next_hint).map(|hint| hint.at);
        let event_at = world.events.peek().map(|Reverse((at, ..))| *at);
        let jobs_left = job_at.is_some() || !world.queue.is_empty() || world.running > 0;
        if !jobs_left && hint_at.is_none() && world.live.len() <= at_rest {
            return world.end();
        }
        // What happens at the moment of a look is seen by it.
        let first = [job_at, hint_at, event_at].into_iter().flatten().min();
        if let Some(at) = first.filter(|at| *at <= next_look) {
            world.now = at;
            if event_at == Some(at) {
                world.happen();
            } else if job_at == Some(at) {
                world.queue.push_back(next_job);
                next_job += 1;
                world.start_jobs();
            } else {
                next_hint += 1;
                if scaling.is_woken() {
                    next_look = at;
                }
            }
            continue;
        }
        world.now = next_look;
        let view = View {
            now: next_look,
            jobs: world.jobs(),
            capacity: world.capacity(),
            hints: &trace.hints[seen_hints..next_hint],
        };
        seen_hints = next_hint;
        let desired = scaling.look(&view);
        world.set_desired(desired);
        next_look += scaling.period();
    }
}

impl<'a> World<'a> {
    fn new(trace: &'a Trace, machines: Machines, when_idle: WhenIdle, seed: u64, records_line: bool) -> Self {
        Self {
            now: 0,
            trace,
            machines,
            when_idle,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            events: BinaryHeap::new(),
            sequence: 0,
            instances: Vec::new(),
            idle_agents: Vec::new(),
            live: Vec::new(),
            queue: VecDeque::new(),
            running: 0,
            jobs_of: Vec::new(),
            desired: 0,
            counted: None,
            last_end: 0,
            course: Course::default(),
            records_line,
        }
    }

    fn jobs(&self) -> Jobs {
        Jobs { scheduled: self.queue.len() as u64, running: u64::from(self.running), waiting: 0 }
    }

    /// Counted anew only when something has happened: most looks see nothing new.
    fn capacity(&mut self) -> Capacity {
        if let Some(counted) = self.counted.filter(|counted| counted.desired == self.desired) {
            return counted;
        }
        let mut counted = Capacity {
            min: self.machines.min,
            max: self.machines.max,
            desired: self.desired,
            ..Capacity::default()
        };
        for instance in self.live.iter().map(|id| &self.instances[*id]) {
            counted.live += 1;
            counted.in_service += u32::from(instance.state == State::InService);
            *if instance.protected { &mut counted.held } else { &mut counted.releasable } += 1;
        }
        self.counted = Some(counted);
        counted
    }

    fn at(&mut self, delay: Millis, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay, self.sequence, event)));
    }

    fn happen(&mut self) {
        let Some(Reverse((_, _, event))) = self.events.pop() else { return };
        match event {
            Event::Ready(id) if self.instances[id].state == State::Booting => {
                self.instances[id].state = State::InService;
                self.instances[id].ready = self.now;
                self.idle_agents.extend(std::iter::repeat_n(id, self.machines.agents as usize));
                self.start_jobs();
                self.wait_idle(id);
            }
            Event::Finished(id, job, _) if self.instances[id].state == State::InService => {
                self.jobs_of[id].retain(|running| *running != job);
                self.instances[id].end_job(self.now);
                self.running -= 1;
                self.last_end = self.now;
                if self.when_idle == WhenIdle::OneJob {
                    self.terminate(id);
                    self.desired = self.desired.saturating_sub(1).max(self.machines.min);
                    self.reconcile();
                } else {
                    self.idle_agents.push(id);
                    self.start_jobs();
                    self.wait_idle(id);
                }
            }
            Event::Idle(id, begun) => {
                let instance = &self.instances[id];
                if instance.state == State::InService && instance.running == 0 && instance.begun == begun {
                    self.idle(id);
                }
            }
            Event::Interrupted(id) if self.instances[id].state != State::Ended => {
                let lost = std::mem::take(&mut self.jobs_of[id]);
                self.running -= self.instances[id].running;
                self.course.interrupted += self.instances[id].running;
                self.terminate(id);
                lost.into_iter().for_each(|job| self.queue.push_front(job));
                self.start_jobs();
                self.reconcile();
            }
            _ => {}
        }
        self.note();
    }

    fn wait_idle(&mut self, id: usize) {
        let instance = &self.instances[id];
        if instance.running > 0 {
            return;
        }
        let (after, retire) = match self.when_idle {
            WhenIdle::Release { after: period, retires } => {
                let idle = period.of(instance.ready - instance.launched);
                (Some(idle), retires.then_some(3 * idle + FAIL_SAFE))
            }
            WhenIdle::Retire { after } => (Some(after), None),
            WhenIdle::OneJob => (None, None),
        };
        let begun = instance.begun;
        for after in after.into_iter().chain(retire) {
            self.at(after, Event::Idle(id, begun));
        }
    }

    fn idle(&mut self, id: usize) {
        match self.when_idle {
            WhenIdle::Release { .. } if self.instances[id].protected => self.instances[id].protected = false,
            // The second time nobody has taken it.
            WhenIdle::Release { .. } | WhenIdle::Retire { .. } if self.desired > self.machines.min => {
                self.desired -= 1;
                self.terminate(id);
            }
            WhenIdle::Release { .. } | WhenIdle::Retire { .. } | WhenIdle::OneJob => {}
        }
        self.reconcile();
    }

    fn start_jobs(&mut self) {
        while !self.queue.is_empty() {
            let Some(id) = self.idle_agents.pop() else { break };
            let Some(job) = self.queue.pop_front() else { break };
            let instance = &mut self.instances[id];
            instance.begin_job(self.now);
            let begun = instance.begun;
            self.running += 1;
            self.jobs_of[id].push(job);
            let job_of = self.trace.jobs[job];
            self.course.waits.push(self.now - job_of.runnable_at);
            self.at(job_of.duration, Event::Finished(id, job, begun));
        }
        self.note();
    }

    /// What is owed is tried again at every look, as AWS does with pauses.
    fn set_desired(&mut self, desired: u32) {
        if desired != self.desired || self.live.len() < desired as usize {
            self.desired = desired;
            self.reconcile();
        }
    }

    /// The group makes good what differs from its desired capacity, as far as protection lets it.
    fn reconcile(&mut self) {
        let short = (self.machines.short_from..self.machines.short_until).contains(&self.now);
        while !short && self.live.len() < self.desired as usize {
            self.launch();
        }
        while self.live.len() > self.desired as usize {
            // The longest idle first.
            let unprotected = self.idle_agents.iter().copied().find(|id| !self.instances[*id].protected);
            let Some(id) = unprotected else { break };
            self.terminate(id);
        }
        self.note();
    }

    fn launch(&mut self) {
        let id = self.instances.len();
        self.instances.push(Instance::launched(self.now));
        self.jobs_of.push(Vec::new());
        self.live.push(id);
        self.course.boots += 1;
        let off = 1.0 + self.machines.boot_variance * (2.0 * self.random.random::<f64>() - 1.0);
        let boot = scaled(self.machines.boot, off);
        self.at(boot, Event::Ready(id));
        if self.machines.interruptions > 0.0 {
            let hours = -(1.0 - self.random.random::<f64>()).ln() / self.machines.interruptions;
            self.at(scaled(3_600_000, hours), Event::Interrupted(id));
        }
    }

    fn terminate(&mut self, id: usize) {
        let instance = &mut self.instances[id];
        self.course.pay(instance.launched, self.now);
        self.course.idle += instance.idle(self.now);
        instance.state = State::Ended;
        instance.running = 0;
        self.course.unused += u32::from(instance.begun == 0);
        self.live.retain(|live| *live != id);
        self.idle_agents.retain(|idle| *idle != id);
    }

    fn note(&mut self) {
        self.counted = None;
        if self.records_line {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let (waiting, instances) = (count(self.queue.len()), count(self.live.len()));
            let point = Point { at: self.now, waiting, running: self.running, instances };
            match self.course.line.last_mut() {
                Some(last) if last.at == self.now => *last = point,
                Some(last) if Point { at: self.now, ..*last } == point => {}
                _ => self.course.line.push(point),
            }
        }
    }

    fn end(mut self) -> Course {
        self.course.to_zero = self.now - self.last_end;
        for id in std::mem::take(&mut self.live) {
            self.course.pay(self.instances[id].launched, self.now);
            self.course.idle += self.instances[id].idle(self.now);
        }
        self.course
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "periods far below 2^53 ms; saturates"
)]
fn scaled(period: Millis, by: f64) -> Millis {
    (period as f64 * by).round() as Millis
}

#[cfg(test)]
mod tests;
