//! One line about a state that an instance entered, as it is written down and read by others.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::State;

/// A state entered. JSON, one line: `{"v":1,"at":"2026-11-21T10:00:00Z","instance":"i-0abc","state":"ready"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub v: u32,
    /// When the state was entered.
    pub at: Timestamp,
    /// The instance's id.
    pub instance: String,
    /// The state, flattened into the line.
    #[serde(flatten)]
    pub state: State,
}

impl Record {
    /// The version that [`Record::new`] writes.
    pub const VERSION: u32 = 1;

    /// A record in the current form.
    #[must_use]
    pub fn new(instance: &str, state: State, at: Timestamp) -> Self {
        Self { v: Self::VERSION, at, instance: instance.to_owned(), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn the_form_is_one_flat_object() {
        let record =
            Record::new("i-0abc", State::Draining(Reason::Idle), "2026-11-21T10:00:00Z".parse().unwrap());
        let wire = serde_json::to_string(&record).unwrap();
        assert_eq!(
            wire,
            r#"{"v":1,"at":"2026-11-21T10:00:00Z","instance":"i-0abc","state":"draining","reason":"idle"}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&wire).unwrap(), record);
    }
}
