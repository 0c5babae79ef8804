//! Instances that do not come up, tick by tick.

use jiff::Timestamp;

use super::tests::{Stage, counts, order};
use crate::decide::{Capacity, Reason};

#[tokio::test]
async fn what_boots_beyond_its_budget_gets_a_successor_is_published_and_told_once() {
    // Three needed, one in service.
    let group = Capacity { max: 9, desired: 3, live: 3, in_service: 1, held: 3, ..Capacity::default() };
    let mut stage = Stage::new(&[("g", Some(group))]);
    for ended in [-30, -20, -10] {
        stage.groups[0].booted("i-before", Timestamp::from_second(ended).unwrap(), None);
    }
    let mut seen = Vec::new();
    for now in [0, 120, 121, 130, 140] {
        if now == 140 {
            stage.groups[0].launched();
        }
        let outcome = stage.tick(&order(), Ok(counts(3)), now).await;
        assert_eq!(outcome.problems, []);
        if let Some(record) = &outcome.record {
            assert_eq!(record.replay(), Ok(()));
        }
        let plan = outcome.record.and_then(|record| record.plan[0]);
        let phantoms = stage.troubles().phantom_instances;
        seen.push((phantoms, plan.map(|plan| (plan.target(), plan.reason))));
    }
    assert_eq!(
        seen,
        [
            (0, None),
            (0, None),
            (2, Some((Some(5), Reason::Need))),
            (2, None),
            // They came up after all, and so did their successors: all busy, or not yet idle for long.
            (0, Some((None, Reason::AllHeld))),
        ]
    );
}
