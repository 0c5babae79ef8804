//! The API's mutations, with AWS's refusals. Pure.

use jiff::{SignedDuration, Timestamp};

use super::apply::later;
use super::decide::Ending;
use super::model::{Activity, Group, Hook, Lifecycle, Member};
use crate::alarms::policy::Standing;

/// Why AWS would not do it: error code and message, HTTP status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// For example `ValidationError`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// The code that Auto Scaling gives nearly all its refusals.
    pub fn validation(message: impl Into<String>) -> Self {
        Self { code: "ValidationError", message: message.into() }
    }
}

impl Group {
    /// `SetDesiredCapacity`.
    ///
    /// # Errors
    /// Outside of the group's limits.
    pub fn set_desired(&mut self, to: u32, now: Timestamp) -> Result<(), Refusal> {
        let (min, max) = (self.definition.min, self.definition.max);
        if to > max {
            return Err(Refusal::validation(format!(
                "New SetDesiredCapacity value {to} is above max value {max} for the AutoScalingGroup."
            )));
        }
        if to < min {
            return Err(Refusal::validation(format!(
                "New SetDesiredCapacity value {to} is below min value {min} for the AutoScalingGroup."
            )));
        }
        if to != self.desired {
            self.reason = format!(
                "At {now:.0} a user request explicitly set group desired capacity changing the desired capacity \
                 from {} to {to}. ",
                self.desired
            );
            self.desired = to;
        }
        Ok(())
    }

    /// The group as a step policy sees it, whose instances warm up for so long.
    #[must_use]
    pub fn standing(&self, warm_up: SignedDuration, now: Timestamp) -> Standing {
        let entered = |member: &&Member| {
            let launch = self.activities.iter().rfind(|a| a.instance == member.id);
            launch.and_then(|a| a.end).is_none_or(|end| later(end, warm_up) <= now)
        };
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let serving = self.members.iter().filter(|m| m.lifecycle == Lifecycle::InService);
        let warm = serving.filter(entered).count();
        let leaves =
            |m: &&Member| matches!(m.lifecycle, Lifecycle::TerminatingWait | Lifecycle::TerminatingProceed);
        Standing {
            min: self.definition.min,
            max: self.definition.max,
            desired: self.desired,
            warm: of(warm),
            warming: of(self.capacity() - warm),
            terminating: of(self.members.iter().filter(leaves).count()),
        }
    }

    /// An alarm's policy sets desired capacity.
    pub fn resized_by(&mut self, alarm: &str, policy: &str, to: u32, now: Timestamp) {
        self.reason = format!(
            "At {now:.0} a monitor alarm {alarm} in state ALARM triggered policy {policy} changing the desired \
             capacity from {} to {to}. ",
            self.desired
        );
        self.desired = to;
    }

    /// `SetInstanceProtection`: all of `ids` or none.
    ///
    /// # Errors
    /// An instance of another group, or one that is not in service.
    pub fn set_protection(&mut self, ids: &[String], protected: bool) -> Result<(), Refusal> {
        for id in ids {
            let Some(member) = self.member(id) else {
                return Err(Refusal::validation(format!(
                    "The instance {id} is not part of Auto Scaling group {}.",
                    self.definition.name
                )));
            };
            if member.lifecycle != Lifecycle::InService {
                return Err(Refusal::validation(format!(
                    "The instance {id} is not in InService or EnteringStandby or Standby."
                )));
            }
        }
        for id in ids {
            if let Some(member) = self.member_mut(id) {
                member.protected = protected;
            }
        }
        Ok(())
    }

    /// `SetInstanceHealth`. Within the grace period bad health is ignored, if the caller respects it.
    pub fn set_health(&mut self, id: &str, healthy: bool, respect_grace: bool, now: Timestamp) {
        let grace = self.definition.grace;
        if let Some(member) = self.member_mut(id)
            && (healthy || !respect_grace || now >= later(member.launched, grace))
        {
            member.healthy = healthy;
        }
    }

    /// `TerminateInstanceInAutoScalingGroup`. One that already ends is left to end, and nothing is decremented.
    ///
    /// # Errors
    /// A decrement beneath the minimum; an instance that is still being launched.
    pub fn terminate(&mut self, id: &str, decrement: bool, now: Timestamp) -> Result<Activity, Refusal> {
        let Some(member) = self.member(id) else {
            return Err(Refusal::validation(format!(
                "Instance Id not found - No managed instance found for instance ID: {id}"
            )));
        };
        if member.lifecycle.counts() || member.lifecycle.is_warmed() {
            if decrement && member.lifecycle.counts() {
                self.decrement(id, now)?;
            }
            self.retire(id, Ending::Asked, now);
        }
        self.activities
            .iter()
            .rfind(|a| a.instance == id)
            .cloned()
            .ok_or_else(|| Refusal::validation(format!("{id} has no scaling activity")))
    }

    fn decrement(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let min = self.definition.min;
        if self.desired <= min {
            return Err(Refusal::validation(format!(
                "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will \
                 violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or \
                 lower group's min size."
            )));
        }
        self.reason = format!("At {now:.0} instance {id} was taken out of service with a decrement. ");
        self.desired -= 1;
        Ok(())
    }

    /// `RecordLifecycleActionHeartbeat`: the hook holds for another timeout, never beyond its limit.
    ///
    /// # Errors
    /// No such hook holds the instance.
    pub fn heartbeat(&mut self, id: &str, hook: &str, now: Timestamp) -> Result<(), Refusal> {
        let timeout = self.definition.hooks.iter().find(|h| h.name == hook).map(|h| h.heartbeat);
        let member = self.member_mut(id);
        let wait = member.and_then(|m| m.waits.iter_mut().find(|w| w.hook == hook));
        let (Some(wait), Some(timeout)) = (wait, timeout) else { return Err(no_action(id)) };
        if now >= wait.deadline || now >= wait.limit {
            return Err(no_action(id));
        }
        wait.deadline = later(now, timeout).min(wait.limit);
        Ok(())
    }

    /// `CompleteLifecycleAction`. At the end of a life `ABANDON` only spares the other hooks; at its beginning it
    /// ends the instance.
    ///
    /// # Errors
    /// No such hook holds the instance.
    pub fn complete(&mut self, id: &str, hook: &str, go_on: bool, now: Timestamp) -> Result<(), Refusal> {
        let member = self.member_mut(id).filter(|m| m.waits.iter().any(|w| w.hook == hook));
        let Some(member) = member else { return Err(no_action(id)) };
        if go_on {
            member.waits.retain(|w| w.hook != hook);
        } else if matches!(member.lifecycle, Lifecycle::PendingWait | Lifecycle::WarmedPendingWait) {
            self.retire(id, Ending::Abandoned, now);
        } else {
            member.waits.clear();
        }
        Ok(())
    }

    /// `PutLifecycleHook`: made or replaced.
    pub fn put_hook(&mut self, hook: Hook) {
        self.definition.hooks.retain(|h| h.name != hook.name);
        self.definition.hooks.push(hook);
    }
}

fn no_action(id: &str) -> Refusal {
    Refusal::validation(format!("No active Lifecycle Action found with instance ID {id}"))
}
