//! Ticks under a lease.

use std::sync::Arc;

use super::tests::{IDLE, Stage, counts, order};
use super::*;
use crate::decide::Capacity;
use crate::lease::holder::Holder;
use crate::ledger::fake::FakeLedger;

/// A scaler of two idle instances that others serve, too.
fn scaler(ledger: &FakeLedger, name: &str) -> Stage {
    Stage::new(&[("g", Some(IDLE))]).under(Arc::new(Holder::new(ledger.clone(), "default", name)))
}

#[tokio::test]
async fn only_whoever_has_the_lease_lowers() {
    let ledger = FakeLedger::default();
    let (mut one, mut other) = (scaler(&ledger, "one"), scaler(&ledger, "other"));
    one.tick(&order(), Ok(counts(0)), 0).await;
    assert_eq!(one.groups[0].set(), [0]);
    let outcome = other.tick(&order(), Ok(counts(0)), 0).await;
    assert_eq!(other.groups[0].set(), [0; 0], "it is left to the other");
    assert!(outcome.problems.is_empty());
    assert_eq!(outcome.decisions[0].left_to.as_deref(), Some("one"));
    let record = outcome.record.unwrap();
    assert_eq!((record.left_to.as_deref(), record.replay()), (Some("one"), Ok(())));
    let told = crate::explain::tell::tell(&record).join("\n");
    assert!(told.contains("not lowered here: that is left to one"), "{told}");

    one.release().await;
    let outcome = other.tick(&order(), Ok(counts(0)), 1).await;
    assert_eq!((other.groups[0].set(), outcome.decisions[0].left_to.clone()), (vec![0], None));
}

#[tokio::test]
async fn growth_asks_nobody_and_a_hints_tick_never_lowers() {
    let ledger = FakeLedger::default();
    let (mut one, mut other) = (scaler(&ledger, "one"), scaler(&ledger, "other"));
    one.tick(&order(), Ok(counts(0)), 0).await;
    let asked = ledger.calls();
    other.tick(&order(), Ok(counts(4)), 0).await;
    assert_eq!((other.groups[0].set(), ledger.calls()), (vec![4], asked));
    let hinted = Order { raise_only: true, ..order() };
    let mut third = scaler(&ledger, "third");
    let outcome = third.tick(&hinted, Ok(counts(0)), 0).await;
    assert_eq!((third.groups[0].set(), ledger.calls()), (vec![], asked));
    assert_eq!(outcome.decisions[0].left_to.as_deref(), Some("the ticks of the schedule"));
    third.tick(&hinted, Ok(counts(5)), 1).await;
    assert_eq!(third.groups[0].set(), [5]);
    // Without a lease a hint's tick does all that there is to do, as ever.
    let mut alone = Stage::new(&[("g", Some(IDLE))]);
    alone.tick(&hinted, Ok(counts(0)), 0).await;
    assert_eq!(alone.groups[0].set(), [0]);
}

#[tokio::test]
async fn a_table_that_does_not_answer_stops_nothing() {
    let ledger = FakeLedger::default();
    ledger.be_silent(true);
    let mut one = scaler(&ledger, "one");
    let outcome = one.tick(&order(), Ok(counts(0)), 0).await;
    assert_eq!((one.groups[0].set(), outcome.problems), (vec![0], vec![]), "it is no failure of the scaler");
}

/// Two are the most of all: what AWS owes to the first group has to be called off before the second one may have it.
#[tokio::test]
async fn where_growth_needs_room_it_waits_for_whoever_makes_it() {
    let ledger = FakeLedger::default();
    scaler(&ledger, "one").tick(&order(), Ok(counts(0)), 0).await;
    let order = Order { most: 2, ..order() };
    let empty = Some(Capacity { desired: 0, live: 0, in_service: 0, releasable: 0, ..IDLE });
    let two = || Stage::new(&[("spot", empty), ("od", empty)]);
    let other = two().under(Arc::new(Holder::new(ledger.clone(), "default", "other")));
    for (mut stage, expected) in [(other, [vec![2], vec![]]), (two(), [vec![2, 0], vec![2]])] {
        for second in [0, 30, 90] {
            stage.tick(&order, Ok(counts(2)), second).await;
        }
        assert_eq!([stage.groups[0].set(), stage.groups[1].set()], expected);
    }
}
