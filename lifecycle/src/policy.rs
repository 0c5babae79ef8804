//! What the stack wants of an instance.

use jiff::SignedDuration;

/// What the stack wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Is the instance in an Auto Scaling group? Outside one there is nothing to protect it from.
    pub in_group: bool,
    /// How long it is idle before protection drops; `None` is never.
    pub idle_period: Option<SignedDuration>,
    /// How long it is idle before it retires itself; `None` is never.
    pub fail_safe_after: Option<SignedDuration>,
    /// Does a terminating lifecycle hook hold it when it leaves?
    pub has_hook: bool,
    /// Time between two heartbeats of that hook.
    pub heartbeat_interval: SignedDuration,
    /// Time between two looks for a newer launch template or changed settings.
    pub update_check: SignedDuration,
    /// How many instances may be away at once for an update.
    pub update_concurrency: u32,
    /// Age at which it makes room for a successor; `None` is never.
    pub max_age: Option<SignedDuration>,
    /// Does every job get a fresh instance?
    pub after_job: bool,
    /// Does it stop taking jobs when EC2 only expects to take it back?
    pub drain_on_rebalance: bool,
    /// Running jobs are cancelled when so much is left until EC2 takes the spot instance back.
    pub spot_grace: SignedDuration,
}
