//! What a step changes in the group. Pure: ids and times are given.

use jiff::Timestamp;

use super::decide::{Ending, Step};
use super::model::{Activity, ActivityStatus, Group, Lifecycle, Member, Transition, Wait};

/// What the edge knows of an instance that it orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// `i-…`.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Instance type.
    pub instance_type: String,
    /// Version of the launch template.
    pub template_version: String,
    /// For the warm pool.
    pub warm: bool,
}

impl Group {
    /// An instance was ordered.
    pub fn ordered(&mut self, order: Order, now: Timestamp) {
        let before = self.capacity();
        if order.warm {
            let cause = format!("At {now:.0} an instance was started to fill the warm pool.");
            let what = format!("Launching a new EC2 instance into warm pool: {}", order.id);
            self.record(&order.id, what, cause, now);
            return self.members.push(self.member_of(order, Lifecycle::WarmedPending, now));
        }
        let cause = format!(
            "{}At {now:.0} an instance was started in response to a difference between desired and actual \
             capacity, increasing the capacity from {before} to {}.",
            self.reason,
            before + 1
        );
        self.record(&order.id, format!("Launching a new EC2 instance: {}", order.id), cause, now);
        self.members.push(self.member_of(order, Lifecycle::Pending, now));
    }

    fn member_of(&self, order: Order, lifecycle: Lifecycle, now: Timestamp) -> Member {
        Member {
            id: order.id,
            zone: order.zone,
            instance_type: order.instance_type,
            template_version: order.template_version,
            launched: now,
            running: false,
            lifecycle,
            healthy: true,
            protected: self.definition.protect_new,
            waits: Vec::new(),
        }
    }

    /// A stopped instance of the warm pool is started.
    fn wake(&mut self, id: &str, now: Timestamp) {
        let before = self.capacity();
        let cause = format!(
            "{}At {now:.0} an instance was started in response to a difference between desired and actual \
             capacity, increasing the capacity from {before} to {}.",
            self.reason,
            before + 1
        );
        self.record(id, format!("Launching a new EC2 instance from warm pool: {id}"), cause, now);
        if let Some(member) = self.member_mut(id) {
            member.lifecycle = Lifecycle::Pending;
            member.running = false;
        }
    }

    /// The machine of an ordered instance is up.
    pub fn came_up(&mut self, id: &str) {
        if let Some(member) = self.member_mut(id) {
            member.running = true;
        }
    }

    /// The machine of an ordered instance never came: it leaves the group and the activity says why.
    pub fn failed_to_launch(&mut self, id: &str, message: &str, now: Timestamp) {
        self.members.retain(|m| m.id != id);
        if let Some(activity) = self.activities.iter_mut().rfind(|a| a.instance == id) {
            activity.status = ActivityStatus::Failed;
            // AWS names no instance: there never was one.
            activity.description = format!(
                "Launching a new EC2 instance.  Status Reason: {message}. Launching EC2 instance failed."
            );
            activity.message = message.to_owned();
            activity.end = Some(now);
        }
    }

    /// Changes the group as `step` says. [`Step::Launch`] changes nothing: see [`Group::ordered`].
    pub fn apply(&mut self, step: &Step, now: Timestamp) {
        match step {
            Step::Launch { .. } => {}
            Step::Wake { id } => self.wake(id, now),
            Step::Arrive { id } => self.arrive(id, now),
            Step::Enter { id } => self.enter(id, now),
            Step::Retire { id, ending } => self.retire(id, *ending, now),
            Step::Proceed { id } => {
                self.move_to(id, Lifecycle::TerminatingProceed, Vec::new());
                self.set_status(id, ActivityStatus::InProgress, None);
            }
            Step::End { id } => {
                self.members.retain(|m| m.id != *id);
                self.set_status(id, ActivityStatus::Successful, Some(now));
            }
        }
    }

    fn arrive(&mut self, id: &str, now: Timestamp) {
        let waits = self.waits(Transition::Launching, id, now);
        if waits.is_empty() {
            return self.enter(id, now);
        }
        let waiting = if self.is_warmed(id) { Lifecycle::WarmedPendingWait } else { Lifecycle::PendingWait };
        self.move_to(id, waiting, waits);
        self.set_status(id, ActivityStatus::MidLifecycleAction, None);
    }

    fn is_warmed(&self, id: &str) -> bool {
        self.member(id).is_some_and(|m| m.lifecycle.is_warmed())
    }

    fn enter(&mut self, id: &str, now: Timestamp) {
        let entered = if self.is_warmed(id) { Lifecycle::WarmedStopped } else { Lifecycle::InService };
        self.move_to(id, entered, Vec::new());
        self.set_status(id, ActivityStatus::Successful, Some(now));
    }

    /// Begins the end of an instance.
    pub(super) fn retire(&mut self, id: &str, ending: Ending, now: Timestamp) {
        let before = self.capacity();
        if ending == Ending::Abandoned {
            self.abandoned = Some(now);
            self.cancel_launch(id, now);
        }
        let why = match ending {
            Ending::ScaleIn => format!(
                "{}At {now:.0} an instance was taken out of service in response to a difference between desired \
                 and actual capacity, shrinking the capacity from {before} to {}.",
                self.reason,
                before.saturating_sub(1)
            ),
            Ending::Unhealthy => format!(
                "At {now:.0} an instance was taken out of service in response to a user health-check."
            ),
            Ending::Asked => {
                format!("At {now:.0} instance {id} was taken out of service in response to a user request.")
            }
            Ending::Abandoned => format!("At {now:.0} the lifecycle action of instance {id} was abandoned."),
        };
        self.record(id, format!("Terminating EC2 instance: {id}"), why, now);
        let waits = self.waits(Transition::Terminating, id, now);
        if waits.is_empty() {
            return self.move_to(id, Lifecycle::TerminatingProceed, waits);
        }
        self.move_to(id, Lifecycle::TerminatingWait, waits);
        self.set_status(id, ActivityStatus::MidLifecycleAction, None);
    }

    /// The launch of an instance whose hook gave it up, or said nothing.
    fn cancel_launch(&mut self, id: &str, now: Timestamp) {
        let silent = |wait: &&Wait| now >= wait.deadline || now >= wait.limit;
        let waits = self.member(id).map(|m| m.waits.as_slice()).unwrap_or_default();
        let (wait, what) = match waits.iter().find(silent) {
            Some(wait) => (Some(wait), "Heartbeat Timeout"),
            None => (waits.first(), "Lifecycle Action Completed with ABANDON Result"),
        };
        let token = wait.map(|w| w.token.clone()).unwrap_or_default();
        self.set_status(id, ActivityStatus::Cancelled, Some(now));
        if let Some(activity) = self.activities.iter_mut().rfind(|a| a.instance == id) {
            activity.message = format!(
                "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was \
                 abandoned: {what}"
            );
        }
    }

    fn waits(&self, transition: Transition, id: &str, now: Timestamp) -> Vec<Wait> {
        let hooks = self.definition.hooks.iter().filter(|h| h.transition == transition);
        hooks
            .map(|hook| Wait {
                hook: hook.name.clone(),
                token: format!("{id}-{}", hook.name),
                deadline: later(now, hook.heartbeat),
                limit: later(now, hook.limit()),
            })
            .collect()
    }

    fn move_to(&mut self, id: &str, lifecycle: Lifecycle, waits: Vec<Wait>) {
        if let Some(member) = self.member_mut(id) {
            member.lifecycle = lifecycle;
            member.waits = waits;
        }
    }

    fn record(&mut self, id: &str, description: String, cause: String, now: Timestamp) {
        self.activities.push(Activity {
            id: format!("{id}-{}", self.activities.len()),
            instance: id.to_owned(),
            description,
            cause,
            message: String::new(),
            start: now,
            end: None,
            status: ActivityStatus::InProgress,
        });
    }

    fn set_status(&mut self, id: &str, status: ActivityStatus, end: Option<Timestamp>) {
        if let Some(activity) = self.activities.iter_mut().rfind(|a| a.instance == id) {
            activity.status = status;
            activity.end = end;
        }
    }
}

/// `now` and a while; the end of time when there is no such time.
pub(super) fn later(now: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
