//! Is it this instance's turn to make room for a newer launch template? Pure.

use lifecycle::AwsState;

/// A version of a launch template, as the group names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// The template's id.
    pub template: String,
    /// A number; `$Latest` and `$Default` are names and compare with nothing.
    pub version: String,
}

impl TemplateVersion {
    /// Is it an earlier version of the same template? Unknown is no.
    fn is_older_than(&self, other: &Self) -> bool {
        let numbers = self.version.parse::<u64>().ok().zip(other.version.parse::<u64>().ok());
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

/// The whole group as of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Desired capacity.
    pub desired: i32,
    /// What new instances are launched from.
    pub template: Option<TemplateVersion>,
    /// All instances.
    pub peers: Vec<Peer>,
}

impl Rollout {
    /// May this instance leave for its successor? One at a time: the group is complete, nobody comes or goes, and
    /// this is the first of its outdated instances by id. A draining instance is in service for all the others see, so
    /// only an order that all of them know keeps them from draining together.
    #[must_use]
    pub fn is_turn_of(&self, id: &str) -> bool {
        let Some(wanted) = &self.template else { return false };
        let present = i32::try_from(self.peers.len()).unwrap_or(i32::MAX);
        let stays = |peer: &Peer| matches!(peer.state, AwsState::InService | AwsState::Standby);
        let settled = present >= self.desired && self.peers.iter().all(stays);
        let outdated = self.peers.iter().filter(|peer| {
            let is_older = peer.template.as_ref().is_some_and(|own| own.is_older_than(wanted));
            is_older && peer.state == AwsState::InService
        });
        settled && outdated.map(|peer| peer.id.as_str()).min() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(version: &str) -> Option<TemplateVersion> {
        Some(TemplateVersion { template: "lt-1".to_owned(), version: version.to_owned() })
    }

    fn peer(id: &str, state: AwsState, own: &str) -> Peer {
        Peer { id: id.to_owned(), state, template: version(own) }
    }

    fn group(wanted: &str, peers: &[Peer]) -> Rollout {
        Rollout { desired: 2, template: version(wanted), peers: peers.to_vec() }
    }

    #[test]
    fn an_outdated_instance_goes_when_the_group_is_complete_and_it_is_the_first() {
        use AwsState::InService;
        let (old, new) = (peer("i-1", InService, "9"), peer("i-2", InService, "10"));
        let pair = |other: Peer| group("10", &[old.clone(), other]);
        let foreign = Some(TemplateVersion { template: "lt-2".to_owned(), version: "1".to_owned() });
        let cases = [
            ("alone outdated", pair(new.clone()), true),
            ("first of two", pair(peer("i-2", InService, "9")), true),
            ("second of two", pair(peer("i-0", InService, "9")), false),
            ("current", group("9", &[old.clone(), new.clone()]), false),
            ("newer than the group", group("8", &[old.clone(), new.clone()]), false),
            ("latest", group("$Latest", &[old.clone(), new.clone()]), false),
            ("default", group("$Default", &[old.clone(), new.clone()]), false),
            ("another boots", pair(peer("i-2", AwsState::Pending, "10")), false),
            ("another is held at launch", pair(peer("i-2", AwsState::PendingWait, "10")), false),
            ("another stands by", pair(peer("i-0", AwsState::Standby, "9")), true),
            ("another leaves", pair(peer("i-2", AwsState::TerminatingWait, "9")), false),
            ("the successor is not there yet", group("10", std::slice::from_ref(&old)), false),
            ("a launch configuration", Rollout { template: None, ..pair(new.clone()) }, false),
            ("another template", Rollout { template: foreign, ..pair(new.clone()) }, false),
            (
                "its own is unknown",
                group("10", &[Peer { template: None, ..old.clone() }, new.clone()]),
                false,
            ),
            ("not in the group", group("10", &[new.clone(), peer("i-3", InService, "10")]), false),
        ];
        for (name, rollout, expected) in cases {
            assert_eq!(rollout.is_turn_of("i-1"), expected, "{name}");
        }
    }

    fn peers() -> impl Strategy<Value = Vec<(AwsState, u8)>> {
        let states = [AwsState::InService, AwsState::InService, AwsState::Pending, AwsState::TerminatingWait];
        proptest::collection::vec((proptest::sample::select(states.to_vec()), 1..4u8), 0..6)
    }

    proptest! {
        #[test]
        fn never_two_at_once_and_none_beside_one_that_comes_or_goes(
            peers in peers(),
            desired in 0..6i32,
        ) {
            let peers: Vec<Peer> = peers
                .into_iter()
                .enumerate()
                .map(|(n, (state, own))| peer(&format!("i-{n}"), state, &own.to_string()))
                .collect();
            let rollout = Rollout { desired, ..group("3", &peers) };
            let turns = peers.iter().filter(|peer| rollout.is_turn_of(&peer.id)).count();
            let moving = peers.iter().any(|peer| peer.state != AwsState::InService);
            prop_assert!(turns <= usize::from(!moving));
        }
    }
}
