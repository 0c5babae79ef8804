//! How much capacity there should be, decided from numbers alone: no clock, no environment, no calls.
//!
//! The rule (ARCHITECTURE, capacity): out as soon as there is need, because capacity that boots already counts; in by
//! at most the number of instances that have given up their scale-in protection, because those are idle and AWS picks
//! only them; and never beneath the protected ones, because that leaves a debt which AWS collects later.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the stack's owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Agents that run on one instance; at least 1.
    pub agents_per_instance: u32,
    /// Instances beyond the need, kept while there are jobs.
    pub instance_buffer: u32,
    /// Instances' worth of idle agents beyond the need, kept with or without jobs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle_instances: u32,
    /// Never fewer instances, of all groups together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_instances: u32,
    /// Count jobs that wait for others as need too.
    pub include_waiting: bool,
    /// May the scaler lower desired capacity?
    pub scale_in: bool,
    /// May the scaler raise desired capacity?
    pub scale_out: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Policy {
    /// What jobs need and no more, in both directions, with so many agents on an instance.
    #[must_use]
    pub const fn of_need(agents_per_instance: u32) -> Self {
        Self {
            agents_per_instance,
            instance_buffer: 0,
            idle_instances: 0,
            min_instances: 0,
            include_waiting: false,
            scale_in: true,
            scale_out: true,
        }
    }
}

/// Jobs of the queue, as the CI's API counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// Ready to run, no agent yet.
    pub scheduled: u64,
    /// Assigned or running.
    pub running: u64,
    /// Behind a wait step.
    pub waiting: u64,
}

/// The group, as Auto Scaling describes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// The group's lower limit.
    pub min: u32,
    /// The group's upper limit.
    pub max: u32,
    /// Desired capacity now.
    pub desired: u32,
    /// Instances that are not on their way out.
    pub live: u32,
    /// Live instances in service.
    pub in_service: u32,
    /// Live instances that scale-in may not pick: protected, or not in service yet (they start protected).
    pub held: u32,
    /// Healthy instances in service without protection: idle, and the only ones that scale-in picks.
    pub releasable: u32,
    /// Does AWS not launch what is desired here ([`crate::shortage`])? Then what it still owes can be called off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub short: bool,
    /// Live instances that boot for longer than they may ([`crate::phantom`]): no capacity to come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub phantom: u32,
    /// The most that may be desired while boots keep failing here ([`crate::brake`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<u32>,
}

impl Capacity {
    /// Launches that AWS still owes.
    #[must_use]
    pub fn owed(&self) -> u32 {
        self.desired.saturating_sub(self.live)
    }

    /// The most that may be desired now: the upper limit, less while boots keep failing, but for the lower limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.ceiling.map_or(self.max, |ceiling| ceiling.max(self.min).min(self.max))
    }

    /// All that is there, idle ones too, as far as it may be.
    #[must_use]
    pub fn lives(&self) -> u32 {
        self.live.min(self.limit())
    }

    /// The same with the launches that AWS owes, if it delivers.
    #[must_use]
    pub fn comes(&self) -> u32 {
        if self.short { self.lives() } else { self.live.max(self.desired).min(self.limit()) }
    }

    /// What it can be asked for, if AWS delivers.
    #[must_use]
    pub fn room(&self) -> u32 {
        if self.short { self.lives() } else { self.limit() }
    }

    /// Instances that stay whatever is needed. One that boots stays, too, but not where boots keep failing: it runs no
    /// job yet, and it shall have no successor.
    #[must_use]
    pub fn stays(&self) -> u32 {
        let held = self.ceiling.map_or(self.held, |_| self.held.min(self.limit()));
        held.max(self.min)
    }

    /// By how much desired capacity may fall at once.
    fn can_fall(&self) -> u32 {
        self.releasable.saturating_add(if self.short { self.owed() } else { 0 })
    }
}

/// What to do with desired capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Leave it.
    Hold,
    /// Raise it.
    ScaleOut {
        /// Desired capacity now.
        from: u32,
        /// Desired capacity to set.
        to: u32,
    },
    /// Lower it.
    ScaleIn {
        /// Desired capacity now.
        from: u32,
        /// Desired capacity to set.
        to: u32,
    },
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Desired capacity is what the jobs need.
    Enough,
    /// Jobs need more instances than desired.
    Need,
    /// The policy keeps idle instances, or a minimum, beyond what jobs need.
    Floor,
    /// Jobs need more than the group's maximum.
    AtMaximum,
    /// Desired is above need and idle instances can go.
    Surplus,
    /// AWS does not launch what is desired here; another group gets it.
    Short,
    /// Boots keep failing.
    BootsFail,
    /// Desired is above need, but every instance is protected: busy, booting, or not idle for long enough.
    AllHeld,
    /// Desired lies outside the group's limits.
    OutsideLimits,
    /// More instances are protected than desired: raised, or AWS would end the next one that becomes idle.
    ProtectedAboveDesired,
    /// The configuration forbids the step.
    Disabled,
    /// The queue is paused: jobs that wait ask for nothing.
    Paused,
    /// The job counts are old or incomplete ([`crate::reading`]).
    InDoubt,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enough => "desired capacity is what the jobs need",
            Self::Need => "jobs need more instances",
            Self::Floor => "the policy keeps more instances than jobs need",
            Self::AtMaximum => "jobs need more instances than the group's maximum",
            Self::Short => "AWS does not launch what is desired here: another group gets it",
            Self::BootsFail => "boots keep failing: one instance at a time is tried, after growing pauses",
            Self::Surplus => "idle instances without protection can go",
            Self::AllHeld => "no idle instance has given up its protection yet",
            Self::OutsideLimits => "desired capacity lies outside the group's limits",
            Self::ProtectedAboveDesired => "more instances are protected than desired",
            Self::Disabled => "the configuration forbids this step",
            Self::Paused => "the queue is paused: jobs that wait ask for nothing",
            Self::InDoubt => "the job counts are old or incomplete: nothing is lowered by them",
        })
    }
}

/// A decision: one step and its reason, with the number of instances that the jobs need before limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What to do.
    #[serde(flatten)]
    pub step: Step,
    /// Why.
    pub reason: Reason,
    /// Instances that jobs and buffer ask for, before the group's limits.
    pub needed: u32,
}

impl Plan {
    /// The same by job counts in doubt: what lives does not become surplus by them. Launches that AWS does not deliver
    /// are called off all the same.
    #[must_use]
    pub fn in_doubt(self, group: &Capacity) -> Self {
        let Step::ScaleIn { from, to } = self.step else { return self };
        if self.reason != Reason::Surplus {
            return self;
        }
        match group.lives().max(to) {
            lives if group.short && lives < from => {
                Self { step: Step::ScaleIn { from, to: lives }, reason: Reason::Short, ..self }
            }
            _ => Self { step: Step::Hold, reason: Reason::InDoubt, ..self },
        }
    }

    /// Desired capacity to set, if any.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        match self.step {
            Step::Hold => None,
            Step::ScaleOut { to, .. } | Step::ScaleIn { to, .. } => Some(to),
        }
    }
}

/// Instances that jobs and policy ask for: what the jobs need, the floor of idle ones beyond it, and never fewer than the
/// policy's minimum.
#[must_use]
pub fn needed(policy: &Policy, jobs: &Jobs) -> u32 {
    needed_by_jobs(policy, jobs).saturating_add(policy.idle_instances).max(policy.min_instances)
}

/// Jobs that need an agent.
#[must_use]
pub fn wanted(policy: &Policy, jobs: &Jobs) -> u64 {
    let waiting = if policy.include_waiting { jobs.waiting } else { 0 };
    jobs.scheduled.saturating_add(jobs.running).saturating_add(waiting)
}

/// Instances that the jobs ask for. The buffer counts only while there are jobs, so that an idle stack reaches zero.
#[must_use]
pub fn needed_by_jobs(policy: &Policy, jobs: &Jobs) -> u32 {
    let wanted = wanted(policy, jobs);
    if wanted == 0 {
        return 0;
    }
    let per_instance = u64::from(policy.agents_per_instance.max(1));
    let instances = wanted.div_ceil(per_instance).saturating_add(u64::from(policy.instance_buffer));
    u32::try_from(instances).unwrap_or(u32::MAX)
}

/// What is asked of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Instances of the need that it shall run.
    pub instances: u32,
    /// Instances that jobs need beyond all limits: they wait, and this group tells why.
    pub beyond: u32,
}

/// Decides one group's step.
#[must_use]
pub fn decide(policy: &Policy, share: Share, group: &Capacity) -> Plan {
    let needed = share.instances;
    // Beside those that are needed, phantoms take a place each.
    let taken = needed.saturating_add(group.phantom);
    let at_maximum = taken > group.max || share.beyond > 0;
    let limit = group.limit();
    let plan = |step, reason| Plan { step, reason, needed: needed.saturating_add(share.beyond) };
    let from = group.desired;
    let wanted = taken.clamp(group.min, limit.max(group.min));

    // Protected instances stay whatever is desired; desiring fewer only delays what AWS then does at a bad moment.
    let floor = group.stays().min(limit).max(group.min);
    let goal = wanted.max(floor);
    if goal > from {
        let reason = if from < group.min {
            Reason::OutsideLimits
        } else if wanted > from {
            match () {
                () if group.ceiling.is_some() => Reason::BootsFail,
                () if at_maximum => Reason::AtMaximum,
                () => Reason::Need,
            }
        } else {
            Reason::ProtectedAboveDesired
        };
        return if policy.scale_out {
            plan(Step::ScaleOut { from, to: goal }, reason)
        } else {
            plan(Step::Hold, Reason::Disabled)
        };
    }
    if from > group.max {
        return plan(Step::ScaleIn { from, to: goal.max(group.max) }, Reason::OutsideLimits);
    }
    if from > limit && policy.scale_in {
        // Not to the limit, which has room for a probe: this group may not have been asked for one. Nor beneath what
        // lives while some of it is idle: AWS would take that, and not what boots in vain.
        let lives = if group.releasable > 0 { group.live.min(limit) } else { 0 };
        return plan(Step::ScaleIn { from, to: goal.max(lives) }, Reason::BootsFail);
    }
    if goal == from {
        let reason = match () {
            () if group.ceiling.is_some() => Reason::BootsFail,
            () if at_maximum => Reason::AtMaximum,
            () if wanted < from => Reason::AllHeld,
            () => Reason::Enough,
        };
        return plan(Step::Hold, reason);
    }
    if !policy.scale_in {
        return plan(Step::Hold, Reason::Disabled);
    }
    let to = goal.max(from.saturating_sub(group.can_fall()));
    if to == from {
        return plan(Step::Hold, Reason::AllHeld);
    }
    // Where no more falls than launches that do not come, nobody who is there goes, idle or not.
    let reason = if group.short && to >= group.live { Reason::Short } else { Reason::Surplus };
    plan(Step::ScaleIn { from, to }, reason)
}

#[cfg(test)]
mod tests;
