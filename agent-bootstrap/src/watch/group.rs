//! The group as `watch` needs it: a port, its adapter is `autoscaling.rs`, its double `fake_group.rs`.

use std::collections::BTreeSet;

use lifecycle::AwsState;
use lifecycle::boots::Activity;
pub use lifecycle::{Refusal, Size};

use lifecycle::rollout::Rollout;

/// What the group says about one of its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its lifecycle state.
    pub state: AwsState,
    /// Is it protected from scale-in?
    pub protected: bool,
}

/// The group of this instance.
pub trait Group {
    /// The instance's own state and protection; `None` where it is in no group.
    ///
    /// # Errors
    /// When the group does not tell.
    fn describe_instance(&self) -> impl Future<Output = Result<Option<Member>, Refusal>>;

    /// Limits and desired capacity.
    ///
    /// # Errors
    /// When the group does not tell.
    fn describe_size(&self) -> impl Future<Output = Result<Size, Refusal>>;

    /// What instances are launched from, now and formerly.
    ///
    /// # Errors
    /// When the group does not tell.
    fn describe_rollout(&self) -> impl Future<Output = Result<Rollout, Refusal>>;

    /// What the group has done of late, the last first: as far back as it takes to tell of the launches of these instances.
    ///
    /// # Errors
    /// When the group does not tell.
    fn describe_activities(
        &self,
        of: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Vec<Activity>, Refusal>>;

    /// Takes or drops protection from scale-in.
    ///
    /// # Errors
    /// [`Refusal::State`] outside InService and Standby.
    fn set_protection(&self, protected: bool) -> impl Future<Output = Result<(), Refusal>>;

    /// Puts off the end of the terminating hook by its timeout.
    ///
    /// # Errors
    /// [`Refusal::NoAction`] when no action waits.
    fn heartbeat(&self, hook: &str) -> impl Future<Output = Result<(), Refusal>>;

    /// Lets the termination go on.
    ///
    /// # Errors
    /// [`Refusal::NoAction`] when no action waits.
    fn complete(&self, hook: &str) -> impl Future<Output = Result<(), Refusal>>;

    /// Ends this instance and lowers desired capacity by one.
    ///
    /// # Errors
    /// [`Refusal::Minimum`] when desired capacity is at the minimum.
    fn terminate_with_decrement(&self) -> impl Future<Output = Result<(), Refusal>>;

    /// Ends this instance; desired capacity stays, so the group launches a successor.
    ///
    /// # Errors
    /// [`Refusal::Absent`] when it is not in the group any more.
    fn terminate_for_successor(&self) -> impl Future<Output = Result<(), Refusal>>;

    /// Tells the group that this instance is of no more use: it is replaced.
    ///
    /// # Errors
    /// When the group does not take it.
    fn mark_unhealthy(&self) -> impl Future<Output = Result<(), Refusal>>;
}
