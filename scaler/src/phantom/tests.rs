use proptest::prelude::*;

use super::*;
use crate::decide::{Plan, Policy, Step, decide};
use crate::share::{keep_within, shares};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn boot(took: i64, failed: bool) -> Boot {
    Boot {
        instance: "i-1".into(),
        began: at(0),
        ended: at(took),
        failure: failed.then(|| "it was abandoned".into()),
    }
}

#[test]
fn the_budget_is_learned_from_boots_that_got_ready() {
    let cases: [(&str, Vec<Boot>, i64); 6] = [
        ("nothing is known", vec![], 600),
        ("too few", vec![boot(200, false), boot(200, false), boot(200, true)], 600),
        ("twice the slow ones", vec![boot(100, false), boot(200, false), boot(100, false)], 400),
        (
            "failed ones say nothing",
            vec![boot(100, false), boot(100, false), boot(100, false), boot(900, true)],
            200,
        ),
        ("never shorter", vec![boot(10, false); 40], 120),
        ("never longer", vec![boot(880, false); 3], 900),
    ];
    for (name, boots, seconds) in cases {
        assert_eq!(budget(&boots).as_secs(), seconds, "{name}");
    }
    let mut most: Vec<Boot> = vec![boot(100, false); 19];
    most.push(boot(800, false));
    assert_eq!(budget(&most).as_secs(), 200, "one of twenty is an accident");
}

#[test]
fn an_instance_is_a_phantom_from_the_end_of_its_budget_until_it_comes_up_or_goes() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    let mut watch = BootWatch::default();
    watch.learn(&vec![boot(100, false); 5]);
    let seen: Vec<usize> = [
        (0, &["i-1"][..]),
        (100, &["i-1", "i-2"]),
        (200, &["i-1", "i-2"]),
        (201, &["i-1", "i-2"]),
        (301, &["i-1", "i-2"]),
        (302, &["i-2"]),
        (303, &[]),
        (304, &["i-1"]),
    ]
    .map(|(second, booting)| {
        watch.look(&ids(booting), at(second));
        watch.phantoms(at(second)).len()
    })
    .into();
    assert_eq!(seen, [0, 0, 0, 1, 2, 1, 0, 0]);
}

const POLICY: Policy = Policy::of_need(1);

/// As a tick decides.
fn plans(needed: u32, most: u32, groups: &[Capacity]) -> Vec<Plan> {
    let groups = made_up_for(needed, groups.to_vec());
    let shares = shares(needed, most, &groups);
    let mut plans: Vec<Plan> =
        shares.into_iter().zip(&groups).map(|(share, group)| decide(&POLICY, share, group)).collect();
    keep_within(most, &mut plans, &groups);
    plans
}

/// So many in service, all busy, and so many that boot, some of them for too long.
fn group(max: u32, busy: u32, booting: u32, phantom: u32) -> Capacity {
    let live = busy + booting;
    Capacity { max, desired: live, live, in_service: busy, held: live, phantom, ..Capacity::default() }
}

#[test]
fn a_phantom_gets_a_successor_within_all_limits() {
    let cases = [
        ("in time", 3, 10, group(5, 1, 2, 0), None),
        ("one of two is late", 3, 10, group(5, 1, 2, 1), Some(4)),
        ("both are", 3, 10, group(5, 1, 2, 2), Some(5)),
        ("no more than the maximum", 3, 10, group(4, 1, 2, 2), Some(4)),
        ("of all groups", 3, 4, group(9, 1, 2, 2), Some(4)),
        ("the successor boots", 3, 10, Capacity { desired: 4, live: 4, held: 4, ..group(5, 1, 2, 1) }, None),
        ("the successors are late as well", 1, 10, group(5, 0, 2, 2), None),
        ("nobody needs it", 1, 10, group(5, 1, 2, 2), None),
        ("boots fail: the brake decides", 3, 10, Capacity { ceiling: Some(3), ..group(9, 1, 2, 2) }, None),
    ];
    for (name, needed, most, group, to) in cases {
        assert_eq!(plans(needed, most, &[group])[0].target(), to, "{name}");
    }
    // What is late in the cheap group is made up for there as long as it has room, and then in the next.
    let of = |max| {
        plans(2, 10, &[group(max, 0, 2, 1), group(5, 0, 0, 0)]).iter().map(Plan::target).collect::<Vec<_>>()
    };
    assert_eq!((of(5), of(2)), (vec![Some(3), None], vec![None, Some(1)]));
}

#[test]
fn one_that_comes_after_all_goes_when_it_is_idle_and_nothing_flips() {
    // Two needed; one was late, its successor came, then it came itself: three busy or not yet idle for long.
    let late =
        Capacity { max: 5, desired: 3, live: 3, in_service: 2, held: 3, phantom: 1, ..Capacity::default() };
    let arrived = Capacity { phantom: 0, in_service: 3, ..late };
    let idle = Capacity { held: 2, releasable: 1, ..arrived };
    let steps = [late, arrived, idle].map(|group| plans(2, 10, &[group])[0].step);
    assert_eq!(steps, [Step::Hold, Step::Hold, Step::ScaleIn { from: 3, to: 2 }]);
}

prop_compose! {
    fn any_group()(min in 0u32..3, span in 0u32..9, busy in 0u32..5, idle in 0u32..4, booting in 0u32..6,
        late in 0u32..6, owed in 0u32..3, short: bool, ceiling in proptest::option::of(0u32..9)) -> Capacity {
        let (in_service, live) = (busy + idle, busy + idle + booting);
        Capacity { min, max: min + span, desired: live + owed, live, in_service, held: live - idle, releasable: idle, short,
            ceiling, phantom: late.min(booting) }
    }
}

proptest! {
    #[test]
    fn law_the_sum_never_passes_the_maximum_nor_what_is_there(needed in 0u32..30, most in 0u32..30,
        groups in proptest::collection::vec(any_group(), 1..4)) {
        let after: u32 = plans(needed, most, &groups).iter().zip(&groups)
            .map(|(plan, group)| plan.target().unwrap_or(group.desired)).sum();
        let there: u32 = groups.iter().map(|group| group.desired.max(group.stays())).sum();
        prop_assert!(after <= most.max(there), "{after} of {most}, {there} were there: {groups:?}");
        for (plan, group) in plans(needed, most, &groups).iter().zip(&groups) {
            prop_assert!(plan.target().is_none_or(|to| to <= group.max.max(group.min)));
        }
    }

    #[test]
    fn law_a_phantom_never_lowers_what_is_asked_and_adds_at_most_one_each(needed in 0u32..30, most in 0u32..30,
        group in any_group()) {
        let with = plans(needed, most, &[group])[0].target().unwrap_or(group.desired);
        let none = Capacity { phantom: 0, ..group };
        let without = plans(needed, most, &[none])[0].target().unwrap_or(group.desired);
        prop_assert!(with >= without && with - without <= group.phantom, "{with} and {without}");
    }

    /// Carried out, nothing more is asked for, as long as no more boots are late.
    #[test]
    fn law_successors_are_asked_for_once(needed in 0u32..30, most in 0u32..30, group in any_group()) {
        prop_assume!(!group.short && group.ceiling.is_none());
        if let Some(to @ 1..) = plans(needed, most, &[group])[0].target().filter(|to| *to > group.desired) {
            let launched = to.saturating_sub(group.live);
            let then = Capacity { desired: to, live: group.live + launched, held: group.held + launched, ..group };
            prop_assert_eq!(plans(needed, most, &[then])[0].target(), None);
        }
    }
}
