use proptest::prelude::*;

use super::super::tests::{Stage, broken, counts, order};
use super::*;
use crate::ports::Counts;

const HELD: Capacity = Capacity {
    min: 0,
    max: 5,
    desired: 2,
    live: 2,
    in_service: 2,
    held: 2,
    releasable: 0,
    short: false,
    phantom: 0,
    ceiling: None,
};

#[test]
fn everything_is_looked_at_twice_a_minute_or_once_where_that_takes_more_calls() {
    let second = |n| Timestamp::from_second(n).unwrap();
    let due = |groups, any_untagged, now| is_due(Some(second(100)), groups, any_untagged, second(now));
    assert!(is_due(None, 1, false, second(0)));
    assert_eq!([129, 130].map(|now| due(100, false, now)), [false, true]);
    assert_eq!([130, 159, 160].map(|now| due(200, false, now)), [false, false, true]);
    assert_eq!([130, 160].map(|now| due(1, true, now)), [false, true]);
    assert!(due(1, false, 99), "the clock was set back");
}

/// Which of the ticks of `jobs`, a second apart, looked at the group.
async fn looked(capacity: Capacity, jobs: &[Option<u64>]) -> Vec<bool> {
    let mut stage = Stage::new(&[("g", Some(capacity))]);
    let mut looked = Vec::new();
    for (second, jobs) in jobs.iter().enumerate() {
        let counts = jobs.map(counts).ok_or_else(|| broken("no answer"));
        looked.push(stage.tick(&order(), counts, i64::try_from(second).unwrap()).await.looked);
    }
    looked
}

#[tokio::test]
async fn a_group_is_left_alone_while_it_is_complete_and_its_jobs_ask_for_nothing() {
    let twice = |jobs: Option<u64>| [Some(2), jobs];
    for (what, capacity, then, look) in [
        ("the same jobs", HELD, Some(2), false),
        ("no answer of the CI", HELD, None, false),
        ("more jobs", HELD, Some(3), true),
        ("fewer jobs", HELD, Some(1), true),
        ("jobs beyond the maximum", Capacity { max: 2, ..HELD }, Some(9), false),
        ("an instance boots", Capacity { in_service: 1, ..HELD }, Some(2), true),
        ("a launch is owed", Capacity { live: 1, in_service: 1, held: 1, ..HELD }, Some(2), true),
        ("one too many lives", Capacity { live: 3, in_service: 3, held: 3, ..HELD }, Some(2), true),
    ] {
        assert_eq!(looked(capacity, &twice(then)).await, [true, look], "{what}");
    }
    let empty = Capacity { desired: 0, live: 0, in_service: 0, held: 0, ..HELD };
    let zero = [Some(0); 5];
    assert_eq!(looked(empty, &zero).await, [true, false, false, false, false]);
    assert_eq!(looked(empty, &[Some(0), Some(0), Some(1), Some(1)]).await, [true, false, true, true]);
}

#[tokio::test]
async fn announced_jobs_bring_a_look_and_so_does_whoever_wakes() {
    let mut stage = Stage::new(&[("g", Some(HELD))]);
    assert!(stage.tick(&order(), Ok(counts(2)), 0).await.looked);
    assert!(stage.tick(&order(), Ok(Counts { expected: 1, ..counts(2) }), 1).await.looked);
    let mut stage = Stage::new(&[("g", Some(HELD))]);
    assert!(stage.tick(&order(), Ok(counts(2)), 0).await.looked);
    assert!(!stage.tick(&order(), Ok(counts(2)), 1).await.looked);
    stage.wake();
    assert!(stage.tick(&order(), Ok(counts(2)), 2).await.looked);
}

#[tokio::test]
async fn what_nobody_announces_is_seen_within_half_a_minute() {
    let mut stage = Stage::of_tagged(&[("g", Some(HELD))]);
    stage.tick(&order(), Ok(counts(2)), 0).await;
    stage.groups[0].set_by_hand(5);
    let mut second = 0;
    while !stage.tick(&order(), Ok(counts(2)), second + 2).await.looked {
        second += 2;
    }
    assert_eq!(second + 2, 30);
}

proptest! {
    /// Whoever rests sets what somebody sets who always looks, as long as groups change by nobody else.
    #[test]
    fn law_resting_changes_no_decision(
        ticks in proptest::collection::vec((any::<bool>(), proptest::option::weighted(0.9, 0u64..8), 1i64..40), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let empty = Some(Capacity { max: 5, ..Capacity::default() });
        let mut stages = [0, 1].map(|_| Stage::new(&[("ci-spot", empty), ("ci-instances", empty)]));
        let mut second = 0;
        for (launched, jobs, later) in ticks {
            second += later;
            for (index, stage) in stages.iter_mut().enumerate() {
                if launched {
                    stage.groups.iter().for_each(|group| group.launched());
                }
                if index == 1 {
                    stage.wake();
                }
                let counts = jobs.map(counts).ok_or_else(|| broken("no answer"));
                runtime.block_on(stage.tick(&order(), counts, second));
            }
            for place in [0, 1] {
                prop_assert_eq!(stages[0].groups[place].set(), stages[1].groups[place].set());
            }
        }
    }
}
