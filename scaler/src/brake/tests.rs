use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// When a boot began, when it ended, and whether it failed.
type Ended = (i64, i64, bool);

fn boot(began: i64, ended: i64, failed: bool) -> Boot {
    let failure = failed.then(|| "it was abandoned".to_owned());
    Boot { instance: format!("i-{ended}"), began: at(began), ended: at(ended), failure }
}

/// The last boot of each list ended last.
fn learned(boots: &[Ended]) -> Brake {
    let mut brake = Brake::default();
    brake.learn(
        boots.iter().rev().map(|(began, ended, failed)| boot(*began, *ended, *failed)).collect(),
        at(9_000),
    );
    brake
}

#[test]
fn three_in_a_row_and_then_longer_and_longer_pauses() {
    let cases: &[(&str, &[Ended], Option<i64>)] = &[
        ("no boot", &[], None),
        ("two", &[(0, 10, true), (0, 20, true)], None),
        ("three", &[(0, 10, true), (0, 20, true), (0, 30, true)], Some(90)),
        ("a good one between", &[(0, 10, true), (0, 20, false), (21, 30, true), (31, 40, true)], None),
        ("a good one before", &[(0, 10, false), (0, 20, true), (21, 30, true), (31, 40, true)], Some(100)),
        ("a good one last", &[(0, 10, true), (0, 20, true), (21, 30, true), (31, 40, false)], None),
        ("ten of one launch are no probes", &[(0, 10, true); 10], Some(70)),
        ("one probe", &[(0, 10, true), (0, 10, true), (0, 10, true), (70, 80, true)], Some(200)),
        ("two", &[(0, 9, true), (0, 9, true), (0, 10, true), (70, 80, true), (200, 210, true)], Some(510)),
        (
            "three",
            &[(0, 9, true), (0, 9, true), (0, 10, true), (70, 80, true), (200, 210, true), (510, 520, true)],
            Some(1120),
        ),
        (
            "four",
            &[
                (0, 9, true),
                (0, 9, true),
                (0, 10, true),
                (70, 80, true),
                (200, 210, true),
                (510, 520, true),
                (1120, 1130, true),
            ],
            Some(1730),
        ),
    ];
    for (name, boots, next_probe) in cases {
        let failing = learned(boots).failing(MINUTE);
        assert_eq!(failing.map(|f| f.next_probe), next_probe.map(at), "{name}");
    }
}

#[test]
fn the_ceiling_is_what_serves_and_the_probe_when_it_is_due() {
    let failing = learned(&[(0, 10, true), (0, 20, true), (0, 30, true)]).failing(MINUTE).unwrap();
    let group = Capacity { live: 6, in_service: 4, held: 6, ..Capacity::default() };
    assert_eq!((failing.ceiling(&group, at(89)), failing.ceiling(&group, at(90))), (4, 5));
    let idle = Capacity { held: 5, releasable: 1, ..group };
    assert_eq!(failing.ceiling(&idle, at(89)), 6, "AWS would take the idle one");
}

fn seen(desired: u32, booting: &[&str], serving: &[&str]) -> Seen {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let in_service = u32::try_from(serving.len()).unwrap();
    let live = in_service + u32::try_from(booting.len()).unwrap();
    let capacity = Capacity { desired, live, in_service, ..Capacity::default() };
    Seen { capacity, launches_from: Some("lt-1:1".into()), booting: ids(booting), serving: ids(serving) }
}

#[test]
fn only_what_hints_at_a_failure_is_asked_about() {
    let quiet = seen(1, &[], &["i-1"]);
    let cases = [
        ("nothing new", false, quiet.clone(), 10, false),
        ("nothing new for an hour", false, quiet.clone(), 3600, false),
        ("a launch is owed: what was launched may have failed", false, seen(2, &[], &["i-1"]), 10, true),
        ("it boots", false, seen(2, &["i-2"], &["i-1"]), 10, false),
        ("it boots for long", false, seen(2, &["i-2"], &["i-1"]), 60, true),
        ("after a failure it is looked at closely", true, seen(2, &["i-2"], &["i-1"]), 10, true),
        ("a pause after failures is quiet", true, quiet.clone(), 10, false),
        ("after a failure one serves", true, seen(2, &[], &["i-1", "i-2"]), 10, true),
        ("one serves", false, seen(2, &[], &["i-1", "i-2"]), 10, false),
    ];
    for (name, failed, next, second, asks) in cases {
        let mut brake = Brake::default();
        assert!(brake.look(&quiet, at(0)), "{name}: at first all is unknown");
        brake.learn(vec![boot(0, 0, failed)], at(0));
        assert_eq!(brake.look(&next, at(second)), asks, "{name}");
    }
    let mut brake = Brake::default();
    brake.look(&seen(2, &["i-2"], &["i-1"]), at(0));
    brake.learn(Vec::new(), at(0));
    assert!(brake.look(&quiet, at(10)), "one that booted is gone");
    assert!(brake.look(&quiet, at(20)), "until the answer is there");
    brake.learn(Vec::new(), at(20));
    assert!(!brake.look(&quiet, at(30)));
}

#[test]
fn what_another_launch_template_failed_at_is_forgiven() {
    let mut brake = Brake::default();
    brake.look(&seen(1, &[], &[]), at(0));
    let old = || vec![boot(3, 30, true), boot(2, 20, true), boot(1, 10, true)];
    brake.learn(old(), at(40));
    assert!(brake.failing(MINUTE).is_some());
    brake.look(&Seen { launches_from: None, ..seen(1, &[], &[]) }, at(45));
    assert!(brake.failing(MINUTE).is_some(), "unknown is not another one");
    brake.look(&Seen { launches_from: Some("lt-1:2".into()), ..seen(1, &[], &[]) }, at(50));
    assert_eq!((brake.failing(MINUTE), brake.in_a_row()), (None, 0));
    brake.learn(old(), at(60));
    assert_eq!(brake.failing(MINUTE), None);
    let new = [boot(53, 90, true), boot(52, 80, true), boot(51, 70, true)];
    brake.learn(new.into_iter().chain(old()).collect(), at(100));
    assert_eq!(brake.failing(MINUTE).map(|f| (f.in_a_row, f.next_probe)), Some((3, at(150))));
}
