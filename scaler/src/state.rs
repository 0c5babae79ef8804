//! What a scaler learned of one queue, in a form that outlives it. Pure.
//!
//! It is one item of the ledger: JSON of a version. What lies there is only ever a help: without it, or where it cannot be
//! read, everything is learned anew. Names in it are somebody else's, so its size is bounded: builds that are watched go
//! first, the eldest before others, then pipelines.

pub mod store;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::brake::Brake;
use crate::hint::heard::Learned;
use crate::phantom::BootWatch;
use crate::sharing::Memory;
use crate::shortage::Shortage;

/// Version of the form. Another one is not read.
const VERSION: u64 = 1;

/// The longest text, in bytes. DynamoDB takes 400 kB, and is paid by the kilobyte.
pub const LONGEST: usize = 64 * 1024;

/// What was seen of groups and stacks says nothing after so long without a look.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// What is remembered of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfGroup {
    /// Does AWS deliver there?
    pub shortage: Shortage,
    /// Do its instances boot?
    pub brake: Brake,
    /// For how long do they?
    pub boots: BootWatch,
}

/// What is remembered of a queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Of hints: announcements, and how many jobs builds bring.
    pub heard: Learned,
    /// Of its groups, by name.
    pub groups: BTreeMap<String, OfGroup>,
    /// Of other stacks on it.
    pub others: Memory,
}

#[derive(Serialize, Deserialize)]
struct Form<S> {
    v: u64,
    at: Timestamp,
    state: S,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another program wrote it.
    #[error("it is of version {0}, which this program does not know")]
    Version(u64),
    /// It is none.
    #[error("it is none: {0}")]
    Garbled(String),
}

impl State {
    /// The text that stands for it, cut to what fits, as known at a time.
    ///
    /// # Errors
    /// JSON cannot say it.
    pub fn write(&self, at: Timestamp) -> Result<String, serde_json::Error> {
        let mut state = self.clone();
        loop {
            let text = serde_json::to_string(&Form { v: VERSION, at, state: &state })?;
            if text.len() <= LONGEST || !state.heard.cut() {
                return Ok(text);
            }
        }
    }

    /// Reads a text, and leaves away what was known too long ago.
    ///
    /// # Errors
    /// It is none of this version.
    pub fn read(text: &str, now: Timestamp) -> Result<Self, Unreadable> {
        let garbled = |error: serde_json::Error| Unreadable::Garbled(error.to_string());
        let Version { v } = serde_json::from_str(text).map_err(garbled)?;
        if v != VERSION {
            return Err(Unreadable::Version(v));
        }
        let Form { at, state, .. } = serde_json::from_str::<Form<Self>>(text).map_err(garbled)?;
        Ok(if now.duration_since(at) < FRESH {
            state
        } else {
            Self { heard: state.heard, ..Self::default() }
        })
    }
}

#[cfg(test)]
mod tests;
