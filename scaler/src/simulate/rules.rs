//! Rule models of what others do, to be compared with. Each follows the rules that the other system's code and
//! documentation tell, on the same machines; none of them is that system.

use super::trace::Millis;
use super::world::{IdlePeriod, Scaling, View, WhenIdle};

const SECOND: Millis = 1000;

/// Instances for all jobs, by `agents` on each.
fn instances(view: &View<'_>, agents: u32) -> u32 {
    let jobs = view.jobs.scheduled.saturating_add(view.jobs.running);
    u32::try_from(jobs.div_ceil(u64::from(agents.max(1)))).unwrap_or(u32::MAX)
}

/// The Elastic CI Stack's scaler with its defaults: a look each 10 s; nothing grows within 300 s of the last growth;
/// what is wanted is held against the instances in service, not against desired capacity; an instance ends itself after
/// 600 s without a job.
#[derive(Debug, Clone)]
pub struct ElasticCi {
    agents: u32,
    grew: Option<Millis>,
}

impl ElasticCi {
    /// With `agents` on each instance.
    #[must_use]
    pub fn new(agents: u32) -> Self {
        Self { agents, grew: None }
    }
}

impl Scaling for ElasticCi {
    fn period(&self) -> Millis {
        10 * SECOND
    }

    fn when_idle(&self) -> WhenIdle {
        WhenIdle::Retire { after: 600 * SECOND }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let group = view.capacity;
        let actual = if group.in_service == 0 { group.desired } else { group.in_service };
        let wanted = instances(view, self.agents).clamp(group.min, group.max);
        let cools = self.grew.is_some_and(|grew| view.now - grew < 300 * SECOND);
        if wanted <= actual.max(group.desired) || cools {
            return group.desired;
        }
        self.grew = Some(view.now);
        wanted
    }
}

/// The stack of 2018: counts each minute; an alarm on scheduled jobs adds five instances, one on no unfinished jobs for
/// half an hour takes one away; 300 s from one step to the next. Its hook lets a job end before its instance goes.
#[derive(Debug, Clone, Default)]
pub struct Alarms2018 {
    stepped: Option<Millis>,
    quiet_since: Option<Millis>,
}

impl Scaling for Alarms2018 {
    fn period(&self) -> Millis {
        60 * SECOND
    }

    fn when_idle(&self) -> WhenIdle {
        WhenIdle::Release { after: IdlePeriod::For(0), retires: false }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let group = view.capacity;
        let unfinished = view.jobs.scheduled + view.jobs.running;
        let quiet = if unfinished == 0 { Some(self.quiet_since.unwrap_or(view.now)) } else { None };
        self.quiet_since = quiet;
        if self.stepped.is_some_and(|stepped| view.now - stepped < 300 * SECOND) {
            return group.desired;
        }
        let to = if view.jobs.scheduled > 0 {
            group.desired.saturating_add(5).min(group.max)
        } else if quiet.is_some_and(|since| view.now - since >= 1800 * SECOND) {
            group.desired.saturating_sub(1).max(group.min)
        } else {
            group.desired
        };
        if to != group.desired {
            self.stepped = Some(view.now);
        }
        to
    }
}

/// KEDA with its defaults: a look each 30 s, as many instances as jobs, and 300 s without a job before one goes.
#[derive(Debug, Clone)]
pub struct Keda {
    agents: u32,
}

impl Keda {
    /// With `agents` on each instance.
    #[must_use]
    pub fn new(agents: u32) -> Self {
        Self { agents }
    }
}

impl Scaling for Keda {
    fn period(&self) -> Millis {
        30 * SECOND
    }

    fn when_idle(&self) -> WhenIdle {
        WhenIdle::Release { after: IdlePeriod::For(300 * SECOND), retires: false }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let group = view.capacity;
        instances(view, self.agents).clamp(group.min.max(group.held), group.max.max(group.held))
    }
}

/// An instance for each job, which ends with it, launched 30 s after the job was seen.
#[derive(Debug, Clone, Default)]
pub struct Ephemeral {
    /// When how many jobs without an instance were seen first.
    seen: std::collections::VecDeque<(Millis, u32)>,
    counted: u32,
}

impl Scaling for Ephemeral {
    fn period(&self) -> Millis {
        2 * SECOND
    }

    fn when_idle(&self) -> WhenIdle {
        WhenIdle::OneJob
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let group = view.capacity;
        // Each scheduled job has its instance, asked for or not yet.
        let booting = group.live - u32::try_from(view.jobs.running).unwrap_or(u32::MAX).min(group.live);
        let scheduled = u32::try_from(view.jobs.scheduled).unwrap_or(u32::MAX);
        let new = scheduled.saturating_sub(booting + self.counted);
        if new > 0 {
            self.seen.push_back((view.now, new));
            self.counted += new;
        }
        let mut due = 0;
        while let Some((_, jobs)) = self.seen.front().copied().filter(|(at, _)| view.now - at >= 30 * SECOND)
        {
            self.seen.pop_front();
            self.counted -= jobs;
            due += jobs;
        }
        (group.desired + due).min(group.max)
    }
}

/// GitLab's autoscaler with five idle instances kept, at any time, and 600 s idle for those beyond.
#[derive(Debug, Clone)]
pub struct IdleCount {
    agents: u32,
    /// Idle instances that are kept.
    pub kept: u32,
}

impl IdleCount {
    /// Keeps five idle instances of `agents` each.
    #[must_use]
    pub fn new(agents: u32) -> Self {
        Self { agents, kept: 5 }
    }
}

impl Scaling for IdleCount {
    fn period(&self) -> Millis {
        10 * SECOND
    }

    fn kept(&self) -> u32 {
        self.kept
    }

    fn when_idle(&self) -> WhenIdle {
        WhenIdle::Release { after: IdlePeriod::For(600 * SECOND), retires: false }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        let group = view.capacity;
        let wanted = instances(view, self.agents).saturating_add(self.kept);
        // What is idle for its period may go, what is not stays.
        wanted.max(group.held).clamp(group.min, group.max)
    }
}
