//! An instance's states and the reasons to retire it, spoken by scaler and agent-bootstrap. Pure.
//!
//! # Layout
//! - [`state`]: what an instance does ([`State`]), and the only moves it may make.
//! - [`reason`]: why an instance is retired.
//! - [`aws_state`]: Auto Scaling's own names of an instance's lifecycle states.
//! - [`record`]: one line about a state that was entered, as it is written down.

pub mod aws_state;
pub mod reason;
pub mod record;
pub mod state;

pub use aws_state::AwsState;
pub use reason::Reason;
pub use record::Record;
pub use state::{Event, IllegalMove, State};
