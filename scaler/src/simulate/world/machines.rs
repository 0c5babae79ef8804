//! The machines of a simulation: how they are, what an idle one does, and what is known of one of them.

use jiff::SignedDuration;
use lifecycle::idle;

use crate::simulate::trace::Millis;

/// How machines and group are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machines {
    /// From a launch to agents that take jobs, on average.
    pub boot: Millis,
    /// How much a boot varies, either way, as a part of it.
    pub boot_variance: f64,
    /// Agents on each instance; at least 1.
    pub agents: u32,
    /// The group's limits.
    pub min: u32,
    /// Its upper one.
    pub max: u32,
    /// Spot interruptions of an instance in an hour; 0 for none.
    pub interruptions: f64,
    /// AWS has no capacity from here on …
    pub short_from: Millis,
    /// … until here.
    pub short_until: Millis,
}

impl Machines {
    /// Machines that boot in `boot` and vary by a quarter, one agent each, in a group without limits and mishaps.
    #[must_use]
    pub fn booting_in(boot: Millis) -> Self {
        Self {
            boot,
            boot_variance: 0.25,
            agents: 1,
            min: 0,
            max: 2000,
            interruptions: 0.0,
            short_from: 0,
            short_until: 0,
        }
    }
}

/// What EC2 bills of each launch at least.
pub(super) const LEAST_BILLED: Millis = 60_000;

/// How long an instance is idle before it does something about that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdlePeriod {
    /// So long.
    For(Millis),
    /// As a stack's instances do by themselves: by the time that the instance took to boot ([`lifecycle::idle`]).
    ByBoot,
}

impl IdlePeriod {
    /// In milliseconds, for an instance with this boot.
    pub(super) fn of(self, boot: Millis) -> Millis {
        match self {
            Self::For(period) => period,
            Self::ByBoot => {
                let period = idle::period(Some(SignedDuration::from_millis(boot)));
                Millis::try_from(period.as_millis()).unwrap_or(Millis::MAX)
            }
        }
    }
}

/// What an instance does when it has been idle for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenIdle {
    /// Gives up its scale-in protection: a lowered desired capacity may take it.
    Release {
        /// After so long.
        after: IdlePeriod,
        /// And goes by itself where nobody takes it, after three times as long and ten minutes.
        retires: bool,
    },
    /// Goes, and lowers desired capacity, unless that is at the group's minimum.
    Retire {
        /// After so long.
        after: Millis,
    },
    /// Each instance runs one job, and goes.
    OneJob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Booting,
    InService,
    Ended,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) launched: Millis,
    pub(super) ready: Millis,
    /// Time with a job, up to the last moment without one.
    pub(super) busy: Millis,
    pub(super) busy_since: Millis,
    pub(super) state: State,
    pub(super) protected: bool,
    pub(super) running: u32,
    /// Jobs begun so far.
    pub(super) begun: u32,
}

impl Instance {
    pub(super) fn launched(now: Millis) -> Self {
        Self {
            launched: now,
            ready: now,
            busy: 0,
            busy_since: 0,
            state: State::Booting,
            protected: true,
            running: 0,
            begun: 0,
        }
    }

    pub(super) fn begin_job(&mut self, now: Millis) {
        if self.running == 0 {
            self.busy_since = now;
        }
        self.protected = true;
        self.running += 1;
        self.begun += 1;
    }

    pub(super) fn end_job(&mut self, now: Millis) {
        self.running -= 1;
        if self.running == 0 {
            self.busy += now - self.busy_since;
        }
    }

    /// Time in service without a job.
    pub(super) fn idle(&self, now: Millis) -> Millis {
        let runs = if self.running > 0 { now - self.busy_since } else { 0 };
        if self.state == State::InService { now - self.ready - self.busy - runs } else { 0 }
    }
}
