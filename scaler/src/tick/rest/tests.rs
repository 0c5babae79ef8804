use proptest::prelude::*;

use super::super::fake_group::{FakeGroup, FakeGroups};
use super::super::tests::{FakeMetrics, Stage, broken, counts, order};
use super::super::{Kept, Order, Served, Service, tick as tick_of};
use super::*;
use crate::decide::Jobs;
use crate::ports::Counts;
use crate::record::{GroupSeen, Known};
use crate::sharing::{Fellows, Other, Remembered};

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

/// One instance for one job, and another stack with this capacity.
fn beside(other: Capacity, jobs: Jobs, expected: u32) -> Inputs {
    let known = |capacity| Known { capacity, ..Known::default() };
    let one = Capacity { desired: 1, live: 1, in_service: 1, held: 1, ..HELD };
    let other = Other {
        stack: "other".into(),
        priority: 0,
        weight: 1,
        agents: 1,
        most: 5,
        capacity: other,
        before: Remembered::default(),
    };
    Inputs {
        at: Timestamp::UNIX_EPOCH,
        queue: "default".into(),
        wanted: order().wanted(),
        jobs: Some(jobs),
        expected,
        paused: false,
        unmatched: 0,
        doubt: None,
        groups: vec![GroupSeen { name: "g".into(), known: Some(known(one)) }],
        sharing: Sharing::With(Fellows { stack: "own".into(), priority: 0, weight: 1, others: vec![other] }),
    }
}

#[test]
fn beside_another_stack_a_queue_rests_only_while_no_job_waits_and_the_other_is_complete() {
    let one = Capacity { desired: 1, live: 1, in_service: 1, held: 1, ..HELD };
    let run = Jobs { running: 2, ..Jobs::default() };
    assert!(asks_nothing(&beside(one, run, 0)));
    let waits = Jobs { scheduled: 1, running: 1, waiting: 0 };
    assert!(!asks_nothing(&beside(one, waits, 0)), "who takes it hangs on what the other does");
    assert!(!asks_nothing(&beside(one, Jobs { running: 1, ..run }, 1)), "announced");
    let boots = Capacity { in_service: 0, ..one };
    assert!(!asks_nothing(&beside(boots, run, 0)), "it may fail to boot");
    let unknown = Inputs { sharing: Sharing::Unknown, ..beside(one, run, 0) };
    assert!(!is_at_rest(&unknown, &unknown.decide()));
}

#[test]
fn a_paused_queue_rests_while_its_jobs_wait_and_does_no_more_once_it_is_resumed() {
    let one = Capacity { desired: 1, live: 1, in_service: 1, held: 1, ..HELD };
    let jobs = Jobs { scheduled: 4, running: 1, waiting: 0 };
    let resumed = Inputs { sharing: Sharing::Alone, ..beside(one, jobs, 2) };
    let paused = Inputs { paused: true, ..resumed.clone() };
    assert_eq!([&paused, &resumed].map(asks_nothing), [true, false]);
}

/// Looks in ten minutes of ticks two seconds apart, of so many queues with a group each, all at rest.
async fn looks_in_ten_minutes(queues: usize) -> usize {
    let name = |n: usize| format!("queue-{n}");
    let groups: Vec<FakeGroup> = (0..queues).map(|n| FakeGroup::new(name(n), Some(HELD))).collect();
    let served = groups.iter().map(|group| Served::new(vec![Kept::new(group.name(), group.clone())]));
    let mut service = Service::new(served.collect());
    let orders: Vec<Order> =
        (0..queues).map(|n| Order { queue: name(n), publish: false, ..order() }).collect();
    let groups = FakeGroups { groups, tagged: true };
    let metrics = FakeMetrics(Ok(()), std::sync::Mutex::default());
    let mut looks = 0;
    for tick in 0..300 {
        let counts = async { vec![Ok(counts(2)); queues] };
        let at = Timestamp::from_second(2 * tick).unwrap();
        let outcomes = tick_of(&orders, counts, &mut service, &groups, &metrics, at).await;
        assert!(
            outcomes.iter().all(|outcome| outcome.looked) || outcomes.iter().all(|outcome| !outcome.looked)
        );
        looks += usize::from(outcomes[0].looked);
    }
    looks
}

#[tokio::test]
async fn at_rest_fifty_groups_take_two_calls_a_minute_and_two_hundred_no_more() {
    // One page tells of fifty groups; of two hundred, two do.
    assert_eq!(looks_in_ten_minutes(50).await, 20);
    assert_eq!(looks_in_ten_minutes(200).await, 10);
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
