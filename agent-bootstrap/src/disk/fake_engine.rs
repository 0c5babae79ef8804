//! An engine in memory: the double for tests of the guard.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::engine::Engine;

/// What takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// Build cache.
    Cache,
    /// An image.
    Image,
}

/// Something that takes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// A container that runs, cache that is read, or an image that a container is made of.
    pub in_use: bool,
    /// When it was made.
    pub made: Timestamp,
    /// The bytes it takes.
    pub bytes: u64,
}

/// The engine. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeEngine(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    things: Vec<Thing>,
    dead: bool,
    calls: Vec<&'static str>,
}

impl FakeEngine {
    /// One with these.
    #[must_use]
    pub fn with(things: Vec<Thing>) -> Self {
        Self(Arc::new(Mutex::new(Inside { things, ..Inside::default() })))
    }

    /// One thing more.
    pub fn add(&self, thing: Thing) {
        self.lock().things.push(thing);
    }

    /// It answers no more.
    pub fn die(&self) {
        self.lock().dead = true;
    }

    /// The bytes that all take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().things.iter().map(|thing| thing.bytes).sum()
    }

    /// Names of what is there.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().things.iter().map(|thing| thing.name.clone()).collect()
    }

    /// What was asked of it.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prune(&self, call: &'static str, kinds: &[Kind], before: Timestamp) -> Result<u64, String> {
        let mut inside = self.lock();
        inside.calls.push(call);
        if inside.dead {
            return Err("the engine does not answer".to_owned());
        }
        let goes = |t: &Thing| kinds.contains(&t.kind) && !t.in_use && t.made < before;
        let bytes = inside.things.iter().filter(|t| goes(t)).map(|t| t.bytes).sum();
        inside.things.retain(|thing| !goes(thing));
        Ok(bytes)
    }
}

impl Engine for FakeEngine {
    async fn data_root(&self) -> Result<PathBuf, String> {
        Ok(PathBuf::from("/"))
    }

    async fn prune_old(&self, before: Timestamp, cache: bool) -> Result<u64, String> {
        let kinds = [Kind::Container, Kind::Cache];
        self.prune("old", if cache { &kinds } else { &kinds[..1] }, before)
    }

    async fn prune_unused(&self, before: Timestamp) -> Result<u64, String> {
        self.prune("unused", &[Kind::Image], before)
    }
}
