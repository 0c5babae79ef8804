//! Random histories of a group: what must never happen, whatever happens.

use jiff::Timestamp;
use proptest::prelude::*;

use super::decide::{Ending, Step, reconcile};
use super::laws::{at, definition, settle};
use super::model::*;

#[derive(Debug, Clone)]
enum Event {
    Desired(u32),
    Protect(usize, bool),
    Sick(usize),
    Terminate(usize, bool),
    Complete(usize),
    Heartbeat(usize),
    Pass(i64),
    Limits(u32, u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..8u32).prop_map(Event::Desired),
        (0..8usize, any::<bool>()).prop_map(|(i, p)| Event::Protect(i, p)),
        (0..8usize).prop_map(Event::Sick),
        (0..8usize, any::<bool>()).prop_map(|(i, d)| Event::Terminate(i, d)),
        (0..8usize).prop_map(Event::Complete),
        (0..8usize).prop_map(Event::Heartbeat),
        (1..4000i64).prop_map(Event::Pass),
        (0..3u32, 3..7u32).prop_map(|(min, max)| Event::Limits(min, max)),
    ]
}

/// What the API call of `event` does; refusals are AWS's right.
fn happen(group: &mut Group, event: &Event, now: Timestamp) {
    let id = |i: &usize| group.members.get(*i).map_or_else(|| "i-none".to_owned(), |m| m.id.clone());
    let _refusal_is_fine = match event {
        Event::Desired(to) => group.set_desired(*to, now),
        Event::Protect(i, protected) => group.set_protection(&[id(i)], *protected),
        Event::Terminate(i, decrement) => group.terminate(&id(i), *decrement, now).map(|_| ()),
        Event::Complete(i) => group.complete(&id(i), "drain", true, now),
        Event::Heartbeat(i) => group.heartbeat(&id(i), "drain", now),
        Event::Sick(i) => {
            group.set_health(&id(i), false, false, now);
            Ok(())
        }
        Event::Limits(min, max) => {
            let definition = Definition { min: *min, max: *max, ..group.definition.clone() };
            group.redefine(definition);
            Ok(())
        }
        Event::Pass(_) => Ok(()),
    };
}

proptest! {
    #[test]
    fn whatever_happens_the_laws_hold(events in prop::collection::vec(event(), 1..60)) {
        let mut group = Group::new(definition(0, 5));
        let (mut next, mut second) = (0, 0);
        for event in &events {
            if let Event::Pass(seconds) = event {
                second += seconds;
            }
            let now = at(second);
            happen(&mut group, event, now);
            let before = group.clone();
            let steps = reconcile(&before, now);

            // Scale-in never takes a protected instance, nor one that is not in service.
            for step in &steps {
                if let Step::Retire { id, ending: Ending::ScaleIn } = step {
                    let member = before.member(id).unwrap();
                    prop_assert!(!member.protected && member.lifecycle == Lifecycle::InService);
                }
            }
            // The debt: nothing is launched while as many instances as desired are there.
            let leaving = steps.iter().filter(|s| matches!(s, Step::Retire { .. })).count();
            let launched = steps.iter().filter(|s| matches!(s, Step::Launch { .. })).count();
            let staying = before.capacity() - leaving;
            prop_assert!(launched == 0 || staying + launched <= before.desired as usize);
            // Scale-in never goes beneath desired.
            let taken = steps.iter().filter(|s| matches!(s, Step::Retire { ending: Ending::ScaleIn, .. })).count();
            prop_assert!(taken == 0 || staying >= before.desired as usize);

            settle(&mut group, &mut next, now);
            let d = &group.definition;
            prop_assert!((d.min..=d.max).contains(&group.desired), "desired {} of {}..{}", group.desired, d.min, d.max);
            // At rest: desired is reached, and what is beyond it is protected.
            prop_assert!(group.capacity() >= group.desired as usize);
            let free = group.members.iter().filter(|m| m.lifecycle == Lifecycle::InService && !m.protected).count();
            prop_assert!(group.capacity() == group.desired as usize || free == 0);
            // Every instance's coming and going has a cause.
            prop_assert!(group.activities.iter().all(|a| !a.cause.is_empty()));
        }
    }
}
