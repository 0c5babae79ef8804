//! A group as far as an instance's end depends on it.

/// The group's limits and aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Never fewer.
    pub min: i32,
    /// Never more.
    pub max: i32,
    /// Desired capacity.
    pub desired: i32,
    /// Instances that are there, and not on their way out.
    pub live: i32,
}

impl Size {
    /// Minimum equal to maximum: builders that are always on. Whoever is there beyond them, because the maximum was
    /// lowered, is not meant.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        self.min == self.max && self.live <= self.max
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The instance is not in a state that allows it (protection outside InService and Standby).
    #[error("not in a state that allows it: {0}")]
    State(String),
    /// It would bring the group below its minimum.
    #[error("below the group's minimum: {0}")]
    Minimum(String),
    /// No lifecycle action waits (completed, timed out, or another token).
    #[error("no lifecycle action waits: {0}")]
    NoAction(String),
    /// The instance is not (or no more) in the group.
    #[error("not in the group: {0}")]
    Absent(String),
    /// Anything else; trying again may do.
    #[error("{0}")]
    Failed(String),
}
