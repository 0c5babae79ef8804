//! Is it this instance's turn to make room for a successor of a newer launch template or of newer settings? Pure.

use std::collections::BTreeSet;

use crate::AwsState;

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
}

/// The settings by reference, as one instance knows them: the group's answer does not tell who has which.
#[derive(Debug, Clone, Copy)]
pub struct SettingsNews<'a> {
    /// Do they say something else than at this instance's boot?
    pub changed: bool,
    /// Instances that were in service when they were last seen unchanged: so they, too, have the old ones.
    pub elders: &'a BTreeSet<String>,
}

impl Rollout {
    /// Instances in service.
    pub fn in_service(&self) -> BTreeSet<String> {
        self.peers.iter().filter(|peer| peer.is_in_service()).map(|peer| peer.id.clone()).collect()
    }

    /// May this instance leave for its successor, and what does that one have? At most `at_once` are away: the first
    /// of its outdated instances by version and id, less those that desired capacity lacks. A draining instance is in
    /// service for all the others see, so only an order that all of them know keeps more from draining together; what
    /// becomes outdated later has a later version, so it never comes before one that drains already.
    #[must_use]
    pub fn turn_of(&self, id: &str, settings: SettingsNews<'_>, at_once: u32) -> Option<Newer> {
        let own = self.peers.iter().find(|peer| peer.id == id && peer.is_in_service())?;
        let newer = match (self.is_outdated(own), settings.changed) {
            (true, _) => Newer::Template,
            (false, true) => Newer::Settings,
            (false, false) => return None,
        };
        let mut outdated: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| peer.is_in_service())
            .filter(|peer| {
                let elder = settings.changed && settings.elders.contains(&peer.id);
                peer.id == id || elder || self.is_outdated(peer)
            })
            .map(|peer| (peer.template.as_ref().and_then(TemplateVersion::number), peer.id.as_str()))
            .collect();
        outdated.sort_unstable();
        let before = outdated.iter().position(|(_, peer)| *peer == id)?;
        (before < self.free(at_once)).then_some(newer)
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
mod tests;
