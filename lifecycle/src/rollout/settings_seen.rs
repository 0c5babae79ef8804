//! The settings by reference, as one instance has seen them: the group's answer does not tell who has which.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Rollout;

/// What one instance knows of the settings that it and its peers have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsSeen {
    /// Do they say something else than at this instance's boot?
    pub(super) changed: bool,
    /// Instances that may have booted with settings which were taken back since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) others: BTreeSet<String>,
    /// Instances in service when the settings were last seen as they were at boot; none before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<BTreeSet<String>>,
}

impl SettingsSeen {
    /// Takes note of a look at the settings and, right after it, at the group.
    pub fn look(&mut self, own: &str, changed: bool, rollout: &Rollout) {
        let there: BTreeSet<String> = rollout.peers.iter().map(|peer| peer.id.clone()).collect();
        if self.changed && !changed {
            // They are as they were. Who came meanwhile, or boots just now, may have those between.
            let came =
                there.iter().filter(|id| !self.before.as_ref().is_some_and(|before| before.contains(*id)));
            self.others.extend(came.cloned());
        }
        self.others.retain(|id| there.contains(id) && id != own);
        self.changed = changed;
        if !changed {
            self.before = Some(rollout.in_service());
        }
    }
}
