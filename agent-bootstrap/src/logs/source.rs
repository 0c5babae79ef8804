//! The port to where lines come from, and how far they were read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::failure::Failure;

/// Where lines come from.
pub trait Source {
    /// The next line, as soon as there is one. `None` only after [`Source::drain`], when all that was there is read.
    /// May be dropped while it waits: nothing is lost then.
    ///
    /// # Errors
    /// When the source cannot be read, now or ever.
    fn next(&mut self) -> impl Future<Output = Result<Option<Record>, Failure>>;

    /// From now on only what is there now is read.
    ///
    /// # Errors
    /// As [`Source::next`].
    fn drain(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// How far lines were given out.
    fn position(&self) -> Position;
}

/// How far a source was read; kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// The cursor of the last entry of the journal; none before the first.
    Journal(Option<String>),
    /// Files by their path below the instance's root.
    Files(BTreeMap<String, Reached>),
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reached {
    /// Which file: another one may lie at the same path later.
    pub inode: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}
