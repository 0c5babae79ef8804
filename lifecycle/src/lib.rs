//! An instance's states, the reasons to retire it, and what to do next for it: spoken by scaler and agent-bootstrap.
//! Pure.
//!
//! # Layout
//! - [`state`]: what an instance does ([`State`]), and the only moves it may make.
//! - [`reason`]: why an instance is retired.
//! - [`decide`]: the whole policy, from [`policy`] and [`observed`] to steps. [`attempts`] is what it remembers of
//!   failures, [`rollout`] says whose turn an update is.
//! - [`boots`]: how a group's last boots ended, out of its scaling activities. [`probes`]: after boots that failed, when
//!   the next instance may be tried.
//! - [`idle`]: how long an idle instance stays where nobody says.
//! - [`group`]: a group's limits and refusals.
//! - [`aws_state`]: Auto Scaling's own names of an instance's lifecycle states.
//! - [`record`]: one line about a state that was entered, as it is written down.

pub mod attempts;
pub mod aws_state;
pub mod boots;
pub mod decide;
pub mod group;
pub mod idle;
pub mod observed;
pub mod policy;
pub mod probes;
pub mod reason;
pub mod record;
pub mod rollout;
pub mod state;

pub use aws_state::AwsState;
pub use decide::{Action, Step, decide};
pub use group::{Refusal, Size};
pub use observed::{Disk, Notices, Observed, Outcome, Word};
pub use policy::Policy;
pub use reason::Reason;
pub use record::Record;
pub use state::{Event, IllegalMove, State};
