//! Looks whether this instance has to make room for a successor, and asks AWS no more than that takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lifecycle::Refusal;
use lifecycle::boots::launched;
use lifecycle::rollout::{Newer, Rollout, SettingsSeen};

use super::group::Group;
use super::settings::NewestSettings;
use crate::failure::Failure;

/// What one look found.
#[derive(Debug)]
pub struct Seen {
    /// May the instance leave, and what does its successor have?
    pub turn: Option<Newer>,
    /// Why the settings are unknown, if they are.
    pub unknown: Option<Failure>,
}

/// One instance's view of its group's roll.
#[derive(Debug)]
pub struct Updates {
    instance: String,
    at_once: u32,
    /// When those of the group were launched; asked for once each, and only while something is outdated.
    launched: BTreeMap<String, Timestamp>,
}

impl Updates {
    /// Of this instance, in a stack that lets so many be away at once.
    #[must_use]
    pub fn new(instance: &str, at_once: u32) -> Self {
        Self { instance: instance.to_owned(), at_once, launched: BTreeMap::new() }
    }

    /// Settings that cannot be read (or would not boot) are unknown: nobody leaves for their sake.
    ///
    /// # Errors
    /// When the group does not tell.
    pub async fn look(
        &mut self,
        group: &impl Group,
        settings: &impl NewestSettings,
        known: &mut SettingsSeen,
    ) -> Result<Seen, Refusal> {
        let changed = settings.have_changed().await;
        let rollout = group.describe_rollout().await?;
        let nothing = SettingsSeen::default();
        let (settings, unknown) = match changed {
            Ok(changed) => {
                known.look(&self.instance, changed, &rollout);
                (&*known, None)
            }
            Err(failure) => (&nothing, Some(failure)),
        };
        if !rollout.concerns(&self.instance, settings) {
            return Ok(Seen { turn: None, unknown });
        }
        self.learn_launches(group, &rollout).await?;
        let elders = rollout.elders_of(&self.instance, &self.launched);
        Ok(Seen { turn: rollout.turn_of(&self.instance, settings, &elders, self.at_once), unknown })
    }

    async fn learn_launches(&mut self, group: &impl Group, rollout: &Rollout) -> Result<(), Refusal> {
        let there: BTreeSet<String> = rollout.peers.iter().map(|peer| peer.id.clone()).collect();
        self.launched.retain(|id, _| there.contains(id));
        let new: BTreeSet<String> = there.into_iter().filter(|id| !self.launched.contains_key(id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let told = launched(&group.describe_activities(&new).await?);
        self.launched.extend(told.into_iter().filter(|(id, _)| new.contains(id)));
        // Of one in service this is the last word; what has only begun may not be on record yet.
        for id in rollout.in_service() {
            self.launched.entry(id).or_insert(Timestamp::MIN);
        }
        Ok(())
    }
}
