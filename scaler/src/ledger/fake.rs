//! A ledger in memory, for tests of what lies on it. `tests/contracts` holds it and the adapter to one suite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Item, Ledger};
use crate::ports::Problem;

/// Items in memory. Clones see the same ones.
#[derive(Debug, Clone, Default)]
pub struct FakeLedger(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    items: BTreeMap<String, Item>,
    silent: bool,
    calls: usize,
}

impl FakeLedger {
    /// From now on it answers nobody, or everybody again.
    pub fn be_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// How often it was asked for anything.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> Result<MutexGuard<'_, Inside>, Problem> {
        let mut inside = self.lock();
        inside.calls += 1;
        if inside.silent { Err(Problem::new(69, "the table does not answer")) } else { Ok(inside) }
    }
}

impl Ledger for FakeLedger {
    async fn read(&self, id: &str) -> Result<Option<Item>, Problem> {
        Ok(self.asked()?.items.get(id).cloned())
    }

    async fn put(&self, id: &str, item: &Item, over: Option<&str>) -> Result<bool, Problem> {
        let mut inside = self.asked()?;
        let meets = inside.items.get(id).map(|item| item.version.as_str()) == over;
        if meets {
            inside.items.insert(id.to_owned(), item.clone());
        }
        Ok(meets)
    }

    async fn remove(&self, id: &str, over: &str) -> Result<bool, Problem> {
        let mut inside = self.asked()?;
        let meets = inside.items.get(id).is_some_and(|item| item.version == over);
        if meets {
            inside.items.remove(id);
        }
        Ok(meets)
    }
}
