//! Is it this instance's turn to make room for a successor of a newer launch template or of newer settings? Pure.

mod settings_seen;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::AwsState;
pub use settings_seen::SettingsSeen;

/// A version of a launch template, as the group names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// The template's id.
    pub template: String,
    /// A number; `$Latest` and `$Default` are names and compare with nothing.
    pub version: String,
}

impl TemplateVersion {
    fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }

    /// Is it an earlier version of the same template? Unknown is no.
    fn is_older_than(&self, other: &Self) -> bool {
        let numbers = self.number().zip(other.number());
        !self.template.is_empty()
            && self.template == other.template
            && numbers.is_some_and(|(own, others)| own < others)
    }
}

/// One instance of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// Its lifecycle state.
    pub state: AwsState,
    /// What it was launched from.
    pub template: Option<TemplateVersion>,
}

impl Peer {
    fn is_in_service(&self) -> bool {
        self.state == AwsState::InService
    }
}

/// The whole group as of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The least that may be desired.
    pub min: i32,
    /// Desired capacity.
    pub desired: i32,
    /// What new instances are launched from.
    pub template: Option<TemplateVersion>,
    /// All instances.
    pub peers: Vec<Peer>,
}

/// What a successor has that this instance lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// The group names a newer version of its launch template.
    Template,
    /// Settings that the user data names by reference say something else by now.
    Settings,
    /// Nothing, but a younger instance is outdated and cannot go before it.
    Place,
}

impl Rollout {
    /// Instances in service.
    pub fn in_service(&self) -> BTreeSet<String> {
        self.serving().map(|peer| peer.id.clone()).collect()
    }

    /// Those that AWS began to launch before this one. What it does not tell of was launched long ago.
    #[must_use]
    pub fn elders_of(&self, id: &str, launched: &BTreeMap<String, Timestamp>) -> BTreeSet<String> {
        let place = |id: &str| (launched.get(id).copied().unwrap_or(Timestamp::MIN), id.to_owned());
        let own = place(id);
        self.peers.iter().filter(|peer| place(&peer.id) < own).map(|peer| peer.id.clone()).collect()
    }

    /// Is anything outdated, as far as this instance can tell? Only then it need know its elders.
    #[must_use]
    pub fn concerns(&self, id: &str, settings: &SettingsSeen) -> bool {
        let no_elders = BTreeSet::new();
        self.lacks(id, settings, &no_elders).is_some()
    }

    /// May this instance leave for its successor, and what does that one have? At most `at_once` are away: the eldest of
    /// the group, less those that desired capacity lacks. A draining instance is in service for all the others see, so only
    /// an order that all of them know keeps more from draining together. It is that of their launches, and it passes over
    /// nobody: who is up to date now may be outdated while a younger one still drains. So one that stands before an
    /// outdated one goes, too; what is launched later never comes before it.
    #[must_use]
    pub fn turn_of(
        &self,
        id: &str,
        settings: &SettingsSeen,
        elders: &BTreeSet<String>,
        at_once: u32,
    ) -> Option<Newer> {
        let newer = self.lacks(id, settings, elders)?;
        // What somebody put into the group by hand is none of its template's: nothing tells that it ever goes.
        let foreign = |peer: &Peer| self.template.is_some() && peer.template.is_none();
        let before = self.serving().filter(|peer| elders.contains(&peer.id) && !foreign(peer)).count();
        (before < self.free(at_once)).then_some(newer)
    }

    fn lacks(&self, id: &str, settings: &SettingsSeen, elders: &BTreeSet<String>) -> Option<Newer> {
        let own = self.serving().find(|peer| peer.id == id)?;
        let younger = |peer: &&Peer| peer.id != id && !elders.contains(&peer.id);
        let outdated = |peer: &Peer| self.is_outdated(peer) || settings.others.contains(&peer.id);
        if self.is_outdated(own) {
            Some(Newer::Template)
        } else if settings.changed {
            Some(Newer::Settings)
        } else {
            self.serving().filter(younger).any(outdated).then_some(Newer::Place)
        }
    }

    fn serving(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.is_in_service())
    }

    /// Would AWS launch a successor of this instance whatever is desired, and from what it was launched from itself? So it
    /// is where the others are fewer than the minimum.
    #[must_use]
    pub fn repeats(&self, id: &str) -> bool {
        let Some(own) = self.peers.iter().find(|peer| peer.id == id) else { return false };
        let lives = |peer: &&Peer| {
            let state = &peer.state;
            peer.id != id && (peer.is_in_service() || state.name().starts_with(AwsState::Pending.name()))
        };
        let others = self.peers.iter().filter(lives).count();
        others < usize::try_from(self.min).unwrap_or(0) && !self.is_outdated(own)
    }

    fn is_outdated(&self, peer: &Peer) -> bool {
        let wanted = self.template.as_ref();
        peer.template.as_ref().zip(wanted).is_some_and(|(own, wanted)| own.is_older_than(wanted))
    }

    /// How many may be away beyond those that are: on their way in, or not there yet.
    fn free(&self, at_once: u32) -> usize {
        let stays = |peer: &&Peer| matches!(peer.state, AwsState::InService | AwsState::Standby);
        let desired = usize::try_from(self.desired).unwrap_or(0);
        let away = desired.saturating_sub(self.peers.iter().filter(stays).count());
        usize::try_from(at_once).unwrap_or(usize::MAX).saturating_sub(away)
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
