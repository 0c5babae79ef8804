//! The edge: keeps all groups, takes the steps that [`super::decide`] finds, starts and ends instances.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::apply::Order;
use super::decide::{Step, reconcile};
pub use super::launch::{LaunchData, LaunchTemplates};
use super::launch::{VERSION_TAG, order};
use super::model::{Definition, Group};
use super::wire::{self, GroupMap};
use crate::endpoint::answer::Answer;
use crate::endpoint::autoscaling::{AutoScaling, Params};
use crate::endpoint::caller::Caller;
use crate::instances::{InstanceOrder, Instances};

/// How often the groups are looked at when nobody calls: hooks run out by themselves.
const LOOK: Duration = Duration::from_secs(1);

/// All groups of the lab.
pub struct Groups {
    groups: Mutex<GroupMap>,
    /// Instances whose end, or stop, is under way.
    ending: Mutex<BTreeSet<String>>,
    /// Groups that AWS has no capacity for.
    without_capacity: Mutex<BTreeSet<String>>,
    templates: Box<dyn LaunchTemplates>,
    instances: Arc<dyn Instances>,
    look: Notify,
    revision: watch::Sender<u64>,
}

impl Groups {
    /// No groups yet.
    #[must_use]
    pub fn new(templates: Box<dyn LaunchTemplates>, instances: Arc<dyn Instances>) -> Arc<Self> {
        Arc::new(Self {
            groups: Mutex::default(),
            ending: Mutex::default(),
            without_capacity: Mutex::default(),
            templates,
            instances,
            look: Notify::new(),
            revision: watch::Sender::new(0),
        })
    }

    /// Takes a group's definition as the stack has it: a new group, or new limits for an old one.
    pub fn define(&self, definition: Definition) {
        let mut groups = self.lock();
        match groups.get_mut(&definition.name) {
            Some(group) => group.redefine(definition),
            None => {
                groups.insert(definition.name.clone(), Group::new(definition));
            }
        }
        drop(groups);
        self.changed();
    }

    /// Removes a group and ends its instances without hooks, as a forced deletion does.
    pub async fn remove(&self, name: &str) {
        let removed = self.lock().remove(name);
        let members = removed.map(|g| g.members).unwrap_or_default();
        futures::future::join_all(members.iter().map(|m| self.instances.terminate(&m.id))).await;
        self.changed();
    }

    /// The group as it is now.
    pub fn group(&self, name: &str) -> Option<Group> {
        self.lock().get(name).cloned()
    }

    /// All groups as they are now.
    pub fn all(&self) -> Vec<Group> {
        self.lock().values().cloned().collect()
    }

    /// From now on AWS has capacity for this group, or has none: what is desired is then not launched.
    pub fn set_capacity_available(&self, name: &str, available: bool) {
        let mut without = self.without_capacity.lock().unwrap_or_else(PoisonError::into_inner);
        if available {
            without.remove(name)
        } else {
            without.insert(name.to_owned())
        };
        drop(without);
        self.changed();
    }

    /// Tells after each change; what changed is in [`Groups::group`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits until the group is as `wanted` says, and tells how it then is.
    ///
    /// # Errors
    /// Not within `patience`; the message shows how the group is instead.
    pub async fn until(
        &self,
        name: &str,
        patience: Duration,
        wanted: impl Fn(&Group) -> bool,
    ) -> anyhow::Result<Group> {
        let mut changes = self.changes();
        let wait = async {
            loop {
                if let Some(group) = self.group(name).filter(&wanted) {
                    return group;
                }
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(patience, wait).await.map_err(|_| {
            anyhow::anyhow!(
                "group {name} is not as wanted after {} s: {:?}",
                patience.as_secs(),
                self.group(name)
            )
        })
    }

    /// Keeps the groups for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.check_status().await;
            self.settle().await;
            // Elapsed or notified: either way it is time to look.
            let _ = tokio::time::timeout(LOOK, self.look.notified()).await;
        }
    }

    /// What runs no more is unhealthy, as EC2's status checks find.
    async fn check_status(&self) {
        for id in self.instances.ended().await {
            for group in self.lock().values_mut() {
                group.set_health(&id, false, false, Timestamp::now());
            }
        }
    }

    /// Takes steps until there is none left to take.
    async fn settle(self: &Arc<Self>) {
        loop {
            let mut steps = Vec::new();
            for (name, group) in &*self.lock() {
                steps.extend(reconcile(group, Timestamp::now()).into_iter().map(|step| (name.clone(), step)));
            }
            let mut taken = false;
            for (group, step) in steps {
                taken |= self.take(&group, step).await;
            }
            if !taken {
                return;
            }
            self.tell_states();
            self.revision.send_modify(|r| *r += 1);
        }
    }

    /// Takes one step; false when it is under way already or cannot be taken now.
    async fn take(self: &Arc<Self>, name: &str, step: Step) -> bool {
        match step {
            Step::Launch { zone, warm } => self.launch(name, zone, warm).await,
            Step::Enter { id } if self.is_warmed(name, &id) => {
                let first = self.ending.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
                if first {
                    tokio::spawn(Arc::clone(self).rest(name.to_owned(), id));
                }
                false
            }
            Step::Wake { ref id } => {
                self.with(name, |g| g.apply(&step, Timestamp::now()));
                tokio::spawn(Arc::clone(self).wake(name.to_owned(), id.clone()));
                true
            }
            Step::End { id } => {
                let first = self.ending.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
                if first {
                    tokio::spawn(Arc::clone(self).end(name.to_owned(), id));
                }
                false
            }
            step => {
                self.with(name, |g| g.apply(&step, Timestamp::now()));
                true
            }
        }
    }

    fn is_warmed(&self, name: &str, id: &str) -> bool {
        self.lock().get(name).and_then(|g| g.member(id)).is_some_and(|m| m.lifecycle.is_warmed())
    }

    /// A prepared instance of the warm pool is stopped, and may be wanted from then on.
    async fn rest(self: Arc<Self>, name: String, id: String) {
        self.instances.stop(&id).await;
        self.with(&name, |g| g.apply(&Step::Enter { id: id.clone() }, Timestamp::now()));
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.changed();
    }

    async fn wake(self: Arc<Self>, name: String, id: String) {
        self.tell_states();
        if let Err(failed) = self.instances.start(&id).await {
            tracing::warn!(group = name, %failed);
            self.with(&name, |g| g.set_health(&id, false, false, Timestamp::now()));
        }
        self.with(&name, |g| g.came_up(&id));
        self.changed();
    }

    async fn end(self: Arc<Self>, name: String, id: String) {
        self.instances.terminate(&id).await;
        self.with(&name, |g| g.apply(&Step::End { id: id.clone() }, Timestamp::now()));
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.changed();
    }

    async fn launch(self: &Arc<Self>, name: &str, zone: String, warm: bool) -> bool {
        if self.without_capacity.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return false;
        }
        let Some(group) = self.group(name) else { return false };
        let data = match self.templates.read(&group.definition.template).await {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(
                    group = name,
                    error = format!("{error:#}"),
                    "no launch without the launch template"
                );
                return false;
            }
        };
        let order = order(&group.definition, zone, data);
        self.with(name, |g| {
            let entry = Order {
                id: order.id.clone(),
                zone: order.zone.clone(),
                instance_type: order.instance_type.clone(),
                template_version: order.tags.get(VERSION_TAG).cloned().unwrap_or_default(),
                warm,
            };
            g.ordered(entry, Timestamp::now());
        });
        tokio::spawn(Arc::clone(self).bring_up(name.to_owned(), order));
        true
    }

    async fn bring_up(self: Arc<Self>, name: String, order: InstanceOrder) {
        let id = order.id.clone();
        let launched = self.instances.launch(order).await;
        self.with(&name, |g| match &launched {
            Ok(()) => g.came_up(&id),
            Err(failed) => g.failed_to_launch(&id, &failed.reason, Timestamp::now()),
        });
        if let Err(failed) = launched {
            tracing::warn!(group = name, %failed);
            // As AWS: the next attempt is not at once.
            self.revision.send_modify(|r| *r += 1);
            return;
        }
        // It may have been ended meanwhile.
        if self.group(&name).is_none_or(|g| g.member(&id).is_none()) {
            self.instances.terminate(&id).await;
        }
        self.changed();
    }

    fn tell_states(&self) {
        for group in self.lock().values() {
            for member in &group.members {
                self.instances.tell_target_state(&member.id, member.lifecycle.target());
            }
        }
    }

    /// Changes a group as AWS itself does, and tells everybody.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Group)) {
        self.with(name, change);
        self.changed();
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.lock().get_mut(name) {
            change(group);
        }
    }

    fn changed(&self) {
        self.revision.send_modify(|r| *r += 1);
        self.look.notify_one();
    }

    /// Nothing panics while it holds the lock, and if it did, the data would be whole.
    fn lock(&self) -> MutexGuard<'_, GroupMap> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AutoScaling for Groups {
    fn handle<'a>(
        &'a self,
        action: &'a str,
        params: &'a Params,
        _caller: &'a Caller,
    ) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            let answer = wire::answer(&mut self.lock(), action, params, Timestamp::now())?;
            if !action.starts_with("Describe") {
                self.tell_states();
                self.changed();
            }
            Some(match answer {
                Ok(result) => Answer::autoscaling(action, &result),
                Err(refusal) => Answer::query_error(refusal.code, &refusal.message),
            })
        })
    }
}

#[cfg(test)]
mod tests;
