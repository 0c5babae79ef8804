use super::*;
use AwsState::{InService, Pending, PendingWait, Standby, TerminatingWait};
use proptest::prelude::*;

fn version(version: &str) -> Option<TemplateVersion> {
    Some(TemplateVersion { template: "lt-1".to_owned(), version: version.to_owned() })
}

fn peer(id: &str, state: AwsState, own: &str) -> Peer {
    Peer { id: id.to_owned(), state, template: version(own) }
}

fn group(wanted: &str, peers: &[Peer]) -> Rollout {
    Rollout { min: 0, desired: 2, template: version(wanted), peers: peers.to_vec() }
}

fn ids(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

/// The turn of `i-1` where no settings changed.
fn turn(rollout: &Rollout, at_once: u32) -> Option<Newer> {
    rollout.turn_of("i-1", SettingsNews { changed: false, elders: &BTreeSet::new() }, at_once)
}

#[test]
fn an_outdated_instance_goes_when_the_group_is_complete_and_it_is_the_first() {
    let (old, new) = (peer("i-1", InService, "9"), peer("i-2", InService, "10"));
    let pair = |other: Peer| group("10", &[old.clone(), other]);
    let foreign = Some(TemplateVersion { template: "lt-2".to_owned(), version: "1".to_owned() });
    let cases = [
        ("alone outdated", pair(new.clone()), true),
        ("first of two", pair(peer("i-2", InService, "9")), true),
        ("second of two", pair(peer("i-0", InService, "9")), false),
        ("another is older", pair(peer("i-2", InService, "8")), false),
        ("current", group("9", &[old.clone(), new.clone()]), false),
        ("newer than the group", group("8", &[old.clone(), new.clone()]), false),
        ("latest", group("$Latest", &[old.clone(), new.clone()]), false),
        ("default", group("$Default", &[old.clone(), new.clone()]), false),
        ("another boots", pair(peer("i-2", Pending, "10")), false),
        ("another is held at launch", pair(peer("i-2", PendingWait, "10")), false),
        ("another stands by", pair(peer("i-0", Standby, "9")), true),
        ("another leaves", pair(peer("i-2", TerminatingWait, "9")), false),
        ("the successor is not there yet", group("10", std::slice::from_ref(&old)), false),
        ("it leaves itself", group("10", &[peer("i-1", TerminatingWait, "9"), new.clone()]), false),
        ("a launch configuration", Rollout { template: None, ..pair(new.clone()) }, false),
        ("another template", Rollout { template: foreign, ..pair(new.clone()) }, false),
        ("its own is unknown", group("10", &[Peer { template: None, ..old.clone() }, new.clone()]), false),
        ("not in the group", group("10", &[new.clone(), peer("i-3", InService, "10")]), false),
        ("another leaves for good", Rollout { desired: 1, ..pair(peer("i-2", TerminatingWait, "10")) }, true),
    ];
    for (name, rollout, expected) in cases {
        assert_eq!(turn(&rollout, 1), expected.then_some(Newer::Template), "{name}");
    }
}

#[test]
fn as_many_go_at_once_as_the_stack_allows() {
    let old = |id: &str| peer(id, InService, "9");
    let crowd = Rollout { desired: 4, ..group("10", &[old("i-0"), old("i-1"), old("i-2"), old("i-3")]) };
    assert_eq!([1, 2, 3].map(|n| turn(&crowd, n).is_some()), [false, true, true]);
    // One drains, unseen; one is gone and its successor boots.
    let later = [old("i-0"), old("i-1"), old("i-2"), peer("i-9", Pending, "10")];
    let later = Rollout { desired: 4, ..group("10", &later) };
    assert_eq!([1, 2, 3].map(|n| turn(&later, n).is_some()), [false, false, true]);
}

#[test]
fn changed_settings_make_those_outdated_that_were_there_before() {
    let same = |id: &str| peer(id, InService, "1");
    let rollout = group("1", &[same("i-1"), same("i-0")]);
    let turn =
        |changed, elders: &[&str]| rollout.turn_of("i-1", SettingsNews { changed, elders: &ids(elders) }, 1);
    assert_eq!(turn(false, &["i-0", "i-1"]), None);
    assert_eq!(turn(true, &["i-1"]), Some(Newer::Settings), "the other came later: it has the new ones");
    assert_eq!(turn(true, &["i-0", "i-1"]), None, "the other goes first");
    assert_eq!(turn(true, &["i-gone"]), Some(Newer::Settings));
    let both = group("2", &[same("i-1"), peer("i-0", InService, "2")]);
    let elders = ids(&["i-0", "i-1"]);
    let settings = SettingsNews { changed: true, elders: &elders };
    assert_eq!(both.turn_of("i-1", settings, 1), Some(Newer::Template), "the older version goes first");
}

#[test]
fn aws_repeats_what_the_minimum_asks_for() {
    let boots = || peer("i-1", PendingWait, "2");
    let cases = [
        ("alone, nothing has to be there", 0, vec![boots()], false),
        ("alone, one has to be", 1, vec![boots()], true),
        ("another serves", 1, vec![boots(), peer("i-2", InService, "2")], false),
        ("both have to be there", 2, vec![boots(), peer("i-2", InService, "2")], true),
        ("another boots", 1, vec![boots(), peer("i-2", Pending, "2")], false),
        ("another leaves", 1, vec![boots(), peer("i-2", TerminatingWait, "2")], true),
        ("its successor has a newer template", 1, vec![peer("i-1", PendingWait, "1")], false),
        ("it is not in the group", 1, vec![peer("i-2", PendingWait, "2")], false),
    ];
    for (name, min, peers, expected) in cases {
        assert_eq!(Rollout { min, ..group("2", &peers) }.repeats("i-1"), expected, "{name}");
    }
}

fn peers() -> impl Strategy<Value = Vec<(AwsState, u8)>> {
    let states = [InService, InService, InService, Pending, TerminatingWait, Standby];
    proptest::collection::vec((proptest::sample::select(states.to_vec()), 1..4u8), 0..8)
}

proptest! {
    #[test]
    fn never_more_at_once_than_allowed_with_those_that_are_missing(
        peers in peers(),
        desired in 0..8i32,
        at_once in 1..4u32,
        changed in any::<bool>(),
    ) {
        let peers: Vec<Peer> = peers
            .into_iter()
            .enumerate()
            .map(|(n, (state, own))| peer(&format!("i-{n}"), state, &own.to_string()))
            .collect();
        let rollout = Rollout { desired, ..group("3", &peers) };
        let elders = rollout.in_service();
        let settings = SettingsNews { changed, elders: &elders };
        let turns = peers.iter().filter(|peer| rollout.turn_of(&peer.id, settings, at_once).is_some()).count();
        let stay = peers.iter().filter(|peer| [InService, Standby].contains(&peer.state)).count();
        let missing = usize::try_from(desired).unwrap().saturating_sub(stay);
        prop_assert!(turns <= (at_once as usize).saturating_sub(missing));
    }

    /// A whole roll, each instance deciding for itself from an answer, with another version in the middle of it.
    #[test]
    fn a_roll_replaces_all_and_never_takes_more_at_once(
        count in 1..7usize,
        at_once in 1..4u32,
        moves in proptest::collection::vec((0..7usize, 0..3u8), 200..400),
        again in 0..120usize,
    ) {
        let mut rollout = Rollout { desired: i32::try_from(count).unwrap(), ..group("2", &[]) };
        rollout.peers = (0..count).map(|n| peer(&format!("i-{}", (n * 5) % 7), InService, "1")).collect();
        let mut draining = BTreeSet::new();
        let mut next = 0;
        let mut wanted = "2";
        for (round, (which, what)) in moves.into_iter().enumerate() {
            if round == again {
                wanted = "3";
                rollout.template = version(wanted);
            }
            let Some(chosen) = rollout.peers.get(which % rollout.peers.len()).cloned() else { continue };
            let settings = SettingsNews { changed: false, elders: &BTreeSet::new() };
            match what {
                0 if rollout.turn_of(&chosen.id, settings, at_once).is_some() => {
                    draining.insert(chosen.id.clone());
                }
                1 if draining.remove(&chosen.id) => {
                    rollout.peers.retain(|peer| peer.id != chosen.id);
                    // New ids come before and after the old ones.
                    next += 1;
                    rollout.peers.push(peer(&format!("i-{}{next}", (next * 3) % 10), Pending, wanted));
                }
                2 if chosen.state == Pending => {
                    let found = rollout.peers.iter_mut().find(|peer| peer.id == chosen.id).unwrap();
                    found.state = InService;
                }
                _ => {}
            }
            let pending = rollout.peers.iter().filter(|peer| peer.state == Pending).count();
            prop_assert!(draining.len() + pending <= at_once as usize, "{draining:?} of {rollout:?}");
        }
    }
}
