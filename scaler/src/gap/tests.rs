use super::*;
use crate::decide::Reason;

fn group(desired: u32, in_service: u32, booting: u32, idle: u32) -> Capacity {
    let live = in_service + booting;
    Capacity {
        max: 20,
        desired,
        live,
        in_service,
        held: live - idle,
        releasable: idle,
        ..Capacity::default()
    }
}

fn of(step: Step) -> Option<Plan> {
    Some(Plan { step, reason: Reason::Need, needed: 0 })
}

fn out(from: u32, to: u32) -> Option<Plan> {
    of(Step::ScaleOut { from, to })
}

fn down(from: u32, to: u32) -> Option<Plan> {
    of(Step::ScaleIn { from, to })
}

#[test]
fn what_one_group_lacks_or_may_lose() {
    let min = |min: u32, group: Capacity| Capacity { min, ..group };
    let cases = [
        ("nothing to do", of(Step::Hold), group(3, 3, 0, 1), 0),
        ("from nothing", out(0, 5), group(0, 0, 0, 0), 5),
        ("what boots is counted by nobody yet", out(5, 8), group(5, 0, 5, 0), 8),
        ("nor what is owed", out(5, 8), group(5, 2, 0, 0), 6),
        ("in service", out(5, 8), group(5, 5, 0, 0), 3),
        ("a debt is paid by one more", out(2, 3), group(2, 3, 0, 0), 1),
        ("at the maximum, too", out(18, 20), group(18, 20, 0, 0), 1),
        ("all may go", down(4, 0), group(4, 4, 0, 4), -4),
        ("all but the minimum", down(4, 1), min(1, group(4, 4, 0, 4)), -3),
        ("some are held: half of those that may go", down(5, 1), group(5, 5, 0, 4), -2),
        ("the last one beside a busy one leaves by itself", down(2, 1), group(2, 2, 0, 1), 0),
        ("idle, but needed", down(4, 2), group(4, 4, 0, 4), -1),
        ("one beyond the floor", down(3, 2), group(3, 3, 0, 3), -1),
        ("a floor beside a busy one", down(3, 2), group(3, 3, 0, 2), -1),
        ("something boots", down(4, 0), group(4, 3, 1, 3), 0),
        ("AWS owes launches", down(4, 0), group(4, 3, 0, 3), 0),
        ("AWS owes all of them", down(4, 0), group(4, 0, 0, 0), -4),
        ("but for the minimum", down(4, 1), min(1, group(4, 0, 0, 0)), -3),
        ("AWS is at it", down(4, 2), group(4, 5, 0, 3), 0),
        ("one more boots than is desired", down(4, 2), group(4, 4, 1, 4), 0),
    ];
    for (name, plan, group, expected) in cases {
        assert_eq!(gaps(&[plan], &[Some(group)], u32::MAX), [Some(expected)], "{name}");
    }
}

#[test]
fn what_is_unknown_is_not_published() {
    assert_eq!(gaps(&[None], &[Some(group(1, 1, 0, 0))], 9), [None]);
    assert_eq!(gaps(&[None, None], &[Some(group(1, 1, 0, 0)), None], 9), [None, None]);
}

#[test]
fn what_another_group_owes_counts_against_all_limits_together() {
    // What spot owes is called off by a policy later than the other group grows.
    let spot = Capacity { short: true, ..group(3, 0, 0, 0) };
    let plans = [down(3, 0), out(0, 3)];
    assert_eq!(gaps(&plans, &[Some(spot), Some(group(0, 0, 0, 0))], 10), [Some(-3), Some(3)]);
    assert_eq!(gaps(&plans, &[Some(spot), Some(group(0, 0, 0, 0))], 5), [Some(-3), Some(2)]);
    assert_eq!(gaps(&plans, &[Some(spot), Some(group(0, 0, 0, 0))], 3), [Some(-3), Some(0)]);
}

#[test]
fn a_datapoint_is_void_when_the_next_period_has_passed_without_another() {
    let void = |second, every| {
        let at = Timestamp::from_second(second).unwrap();
        void_from(at, Duration::from_millis(every)).as_second() - second
    };
    assert_eq!([0, 30, 59].map(|second| void(second, 60_000)), [119, 89, 60]);
    assert_eq!([0, 1, 2].map(|second| void(second, 3000)), [5, 4, 3]);
    assert_eq!(void(7, 500), 1);
}
