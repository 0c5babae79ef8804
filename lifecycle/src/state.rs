//! What an instance does, and the only moves it may make.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Reason;

/// What an instance does. The wire form is `{"state":"draining","reason":"idle"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "kebab-case")]
pub enum State {
    /// On its way to taking jobs: capacity to come.
    Booting,
    /// Its agents wait for jobs.
    Ready,
    /// At least one job runs.
    Busy,
    /// Takes no more jobs for now; what runs is finished, and the instance stays.
    Cordoned,
    /// Takes no more jobs; what runs is finished, and the instance leaves.
    Draining(Reason),
    /// Done: nothing runs, and the group may end it.
    Retired(Reason),
}

/// What happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its agents run.
    AgentsStarted,
    /// A job is about to run.
    JobStarted,
    /// The last running job is over.
    LastJobFinished,
    /// It shall take no more jobs and stay.
    Cordon,
    /// It shall leave.
    Retire(Reason),
    /// Agents are gone and nothing runs.
    Drained,
}

/// What happened cannot happen in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to an instance that is {state}")]
pub struct IllegalMove {
    /// The state before.
    pub state: State,
    /// What happened.
    pub event: Event,
}

impl State {
    /// The state after an event. A second call to retire is no move back: only an imposed reason replaces the first.
    ///
    /// # Errors
    /// [`IllegalMove`]: a draining instance takes no job, a retired one does nothing any more.
    pub fn after(self, event: Event) -> Result<Self, IllegalMove> {
        match (self, event) {
            (Self::Booting | Self::Ready | Self::Cordoned, Event::AgentsStarted) => Ok(Self::Ready),
            (Self::Busy, Event::AgentsStarted) => Ok(Self::Busy),
            (Self::Ready | Self::Busy, Event::JobStarted) => Ok(Self::Busy),
            (Self::Ready | Self::Busy, Event::LastJobFinished) => Ok(Self::Ready),
            (Self::Ready | Self::Busy | Self::Cordoned, Event::Cordon) => Ok(Self::Cordoned),
            // A job that slipped in changes neither.
            (Self::Cordoned, Event::JobStarted | Event::LastJobFinished) => Ok(Self::Cordoned),
            (Self::Draining(reason), Event::LastJobFinished) => Ok(Self::Draining(reason)),
            (Self::Booting | Self::Ready | Self::Busy | Self::Cordoned, Event::Retire(reason)) => {
                Ok(Self::Draining(reason))
            }
            (Self::Draining(first), Event::Retire(second)) => Ok(Self::Draining(first.or_stronger(second))),
            (Self::Draining(reason), Event::Drained) => Ok(Self::Retired(reason)),
            (state, event) => Err(IllegalMove { state, event }),
        }
    }

    /// Does it count as capacity, now or soon?
    #[must_use]
    pub fn is_capacity(self) -> bool {
        matches!(self, Self::Booting | Self::Ready | Self::Busy)
    }

    /// Why it leaves, if it does.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Draining(reason) | Self::Retired(reason) => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booting => f.write_str("booting"),
            Self::Ready => f.write_str("ready"),
            Self::Busy => f.write_str("busy"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::Draining(reason) => write!(f, "draining ({reason})"),
            Self::Retired(reason) => write!(f, "retired ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reasons() -> impl Strategy<Value = Reason> {
        proptest::sample::select(Reason::ALL.to_vec())
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::AgentsStarted),
            Just(Event::JobStarted),
            Just(Event::LastJobFinished),
            Just(Event::Cordon),
            reasons().prop_map(Event::Retire),
            Just(Event::Drained),
        ]
    }

    #[test]
    fn a_life_from_boot_to_retirement() {
        let steps = [
            (Event::AgentsStarted, State::Ready),
            (Event::JobStarted, State::Busy),
            (Event::Retire(Reason::Update), State::Draining(Reason::Update)),
            (Event::LastJobFinished, State::Draining(Reason::Update)),
            (Event::Drained, State::Retired(Reason::Update)),
        ];
        let mut state = State::Booting;
        for (event, expected) in steps {
            state = state.after(event).unwrap();
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn a_cordoned_instance_comes_back_or_leaves() {
        let cordoned = State::Busy.after(Event::Cordon).unwrap();
        assert!(!cordoned.is_capacity());
        assert_eq!(cordoned.after(Event::LastJobFinished), Ok(State::Cordoned));
        assert_eq!(cordoned.after(Event::AgentsStarted), Ok(State::Ready));
        let leaves = cordoned.after(Event::Retire(Reason::Operator));
        assert_eq!(leaves, Ok(State::Draining(Reason::Operator)));
        assert!(leaves.unwrap().after(Event::Cordon).is_err());
    }

    #[test]
    fn the_wire_form_is_tagged() {
        let wire = serde_json::to_string(&State::Draining(Reason::DiskFull)).unwrap();
        assert_eq!(wire, r#"{"state":"draining","reason":"disk-full"}"#);
        assert_eq!(serde_json::from_str::<State>(&wire).unwrap(), State::Draining(Reason::DiskFull));
        assert_eq!(serde_json::to_string(&State::Ready).unwrap(), r#"{"state":"ready"}"#);
    }

    proptest! {
        #[test]
        fn there_is_no_way_back_from_draining(events in proptest::collection::vec(events(), 0..40)) {
            let mut state = State::Booting;
            let mut left = false;
            for event in events {
                if let Ok(next) = state.after(event) {
                    prop_assert!(!left || next.reason().is_some(), "{state} became {next}");
                    left |= next.reason().is_some();
                    state = next;
                }
            }
        }

        #[test]
        fn a_leaving_instance_takes_no_job(reason in reasons()) {
            prop_assert!(State::Draining(reason).after(Event::JobStarted).is_err());
            prop_assert!(State::Retired(reason).after(Event::JobStarted).is_err());
        }

        #[test]
        fn nothing_moves_a_retired_instance(reason in reasons(), event in events()) {
            prop_assert!(State::Retired(reason).after(event).is_err());
        }

        #[test]
        fn retirement_only_follows_a_drain(event in events()) {
            for state in [State::Booting, State::Ready, State::Busy, State::Cordoned] {
                prop_assert!(!matches!(state.after(event), Ok(State::Retired(_))));
            }
        }
    }
}
