//! Whatever happens to a group from tick to tick: each change has its record, and each record replays.

use proptest::prelude::*;

use super::tests::{Stage, broken, counts, order};
use super::*;
use crate::decide::Capacity;
use crate::ports::Counts;
use crate::reading::Reading;

/// What happens before a tick.
#[derive(Debug, Clone)]
enum Event {
    Nothing,
    Launched(usize),
    BootFailed(usize),
    Updated(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Nothing),
        2 => (0usize..2).prop_map(Event::Launched),
        3 => (0usize..2).prop_map(Event::BootFailed),
        1 => (0usize..2).prop_map(Event::Updated),
    ]
}

proptest! {
    #[test]
    fn every_change_has_a_record_and_every_record_replays(
        ticks in proptest::collection::vec((any_event(), proptest::option::weighted(0.9, 0u64..12), 1i64..200), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let empty = Some(Capacity { max: 5, ..Capacity::default() });
        let mut stage = Stage::new(&[("ci-spot", empty), ("ci-instances", empty)]);
        let mut second = 0;
        for (event, jobs, later) in ticks {
            second += later;
            let at = Timestamp::from_second(second).unwrap();
            match event {
                Event::Nothing => {}
                Event::Launched(place) => stage.groups[place].launched(),
                Event::BootFailed(place) => stage.groups[place].booted("i-bad", at, Some("abandoned")),
                Event::Updated(place) => stage.groups[place].update(),
            }
            let before = [0, 1].map(|place: usize| stage.groups[place].set().len());
            let reading = Reading { at, as_of: None, complete: jobs != Some(7) };
            let told = |jobs| Counts { reading, paused: Some(jobs == 5), ..counts(jobs) };
            let counts = jobs.map(told).ok_or_else(|| broken("no answer"));
            let outcome = runtime.block_on(stage.tick(&order(), counts, second));
            let set = [0, 1].map(|place| stage.groups[place].set().split_off(before[place]));
            let Some(record) = outcome.record else {
                prop_assert!(set.iter().all(Vec::is_empty), "a change without a record: {set:?}");
                prop_assert!(outcome.problems.is_empty());
                continue;
            };
            for (set, plan) in set.iter().zip(&record.plan) {
                prop_assert_eq!(set.first().copied(), plan.and_then(|plan| plan.target()));
            }
            let line = serde_json::to_string(&record).unwrap();
            let read = Record::read(&line).unwrap().unwrap();
            prop_assert_eq!(read.replay(), Ok(()));
            prop_assert_eq!(serde_json::to_string(&Record { plan: read.inputs.decide(), ..read }).unwrap(), line);
        }
    }
}
