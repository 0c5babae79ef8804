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

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn settings(changed: bool) -> SettingsSeen {
    SettingsSeen { changed, ..SettingsSeen::default() }
}

/// The turn of an instance whose elders are those whose ids come before its own.
fn turn_with(rollout: &Rollout, id: &str, settings: &SettingsSeen, at_once: u32) -> Option<Newer> {
    let elders = rollout.elders_of(id, &BTreeMap::new());
    let turn = rollout.turn_of(id, settings, &elders, at_once);
    assert!(turn.is_none() || rollout.concerns(id, settings), "{rollout:?}");
    turn
}

/// The turn of `i-1` where no settings changed.
fn turn(rollout: &Rollout, at_once: u32) -> Option<Newer> {
    turn_with(rollout, "i-1", &settings(false), at_once)
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
        ("an elder is older", pair(peer("i-0", InService, "8")), false),
        ("a younger one is older, after a step back", pair(peer("i-2", InService, "8")), true),
        ("an elder is current, after a step back", pair(peer("i-0", InService, "10")), false),
        ("an elder was put there by hand", pair(Peer { template: None, ..peer("i-0", InService, "") }), true),
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
fn an_instance_makes_room_for_a_younger_one_that_is_outdated() {
    let cases = [
        ("a younger one is outdated", vec![peer("i-1", InService, "10"), peer("i-2", InService, "9")], true),
        ("an elder one is", vec![peer("i-1", InService, "10"), peer("i-0", InService, "9")], false),
        (
            "a younger one leaves",
            vec![peer("i-1", InService, "10"), peer("i-2", TerminatingWait, "9")],
            false,
        ),
        (
            "the group is not complete",
            vec![peer("i-1", InService, "10"), peer("i-2", InService, "9"), peer("i-3", Pending, "10")],
            false,
        ),
    ];
    for (name, peers, expected) in cases {
        let desired = i32::try_from(peers.len()).unwrap();
        let seen = turn(&Rollout { desired, ..group("10", &peers) }, 1);
        assert_eq!(seen, expected.then_some(Newer::Place), "{name}");
    }
}

#[test]
fn changed_settings_make_all_outdated_that_were_launched_before() {
    let same = |id: &str| peer(id, InService, "1");
    let rollout = group("1", &[same("i-1"), same("i-0")]);
    assert_eq!(turn_with(&rollout, "i-1", &settings(false), 1), None);
    assert_eq!(turn_with(&rollout, "i-0", &settings(true), 1), Some(Newer::Settings), "the other came later");
    assert_eq!(turn_with(&rollout, "i-1", &settings(true), 1), None, "the other goes first");
    assert_eq!(turn_with(&rollout, "i-1", &settings(true), 2), Some(Newer::Settings));
    let both = group("2", &[same("i-1"), peer("i-2", InService, "2")]);
    assert_eq!(turn_with(&both, "i-1", &settings(true), 1), Some(Newer::Template), "one reason is enough");
}

#[test]
fn settings_that_were_taken_back_leave_those_who_may_have_them() {
    let serve = |ids: &[&str]| group("1", &ids.iter().map(|id| peer(id, InService, "1")).collect::<Vec<_>>());
    let mut seen = SettingsSeen::default();
    let mut look = |changed, rollout: &Rollout| {
        seen.look("i-1", changed, rollout);
        seen.others.iter().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(look(false, &serve(&["i-0", "i-1"])), "");
    assert_eq!(look(true, &serve(&["i-0", "i-1"])), "");
    let mut came = serve(&["i-0", "i-1", "i-2"]);
    came.peers.push(peer("i-3", Pending, "1"));
    assert_eq!(look(true, &came), "");
    assert_eq!(look(false, &came), "i-2 i-3", "who boots just now may have read them, too");
    assert_eq!(look(false, &serve(&["i-1", "i-3", "i-4"])), "i-3", "who came later has not");
    assert_eq!(look(false, &serve(&["i-1", "i-4"])), "");

    let rollout = serve(&["i-1", "i-2"]);
    let with = |id: &str| SettingsSeen { others: [id.to_owned()].into(), ..SettingsSeen::default() };
    assert_eq!(turn_with(&rollout, "i-1", &with("i-2"), 1), Some(Newer::Place));
    assert_eq!(turn_with(&rollout, "i-2", &with("i-1"), 1), None, "an elder goes by itself");
    let kept: SettingsSeen = serde_json::from_str(&serde_json::to_string(&with("i-2")).unwrap()).unwrap();
    assert_eq!(kept, with("i-2"));
}

#[test]
fn elders_are_those_whose_launch_began_before() {
    let rollout = group("1", &["i-1", "i-2", "i-3", "i-4"].map(|id| peer(id, InService, "1")));
    let launched = [("i-1", 20), ("i-3", 10), ("i-4", 20)];
    let launched = launched.into_iter().map(|(id, second)| (id.to_owned(), at(second))).collect();
    let elders = |id: &str| rollout.elders_of(id, &launched).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(
        ["i-1", "i-2", "i-3", "i-4"].map(elders),
        ["i-2 i-3", "", "i-2", "i-1 i-2 i-3"],
        "unknown is long ago, and of two launched together the id decides"
    );
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
        let turn = |peer: &&Peer| turn_with(&rollout, &peer.id, &settings(changed), at_once).is_some();
        let turns = peers.iter().filter(turn).count();
        let stay = peers.iter().filter(|peer| [InService, Standby].contains(&peer.state)).count();
        let missing = usize::try_from(desired).unwrap().saturating_sub(stay);
        prop_assert!(turns <= (at_once as usize).saturating_sub(missing));
    }
}
