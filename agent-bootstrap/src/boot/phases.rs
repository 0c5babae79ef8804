//! The phases of a boot and how long each took.

use std::time::Instant;

use serde::Serialize;

use super::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;

/// One phase that ended well.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub milliseconds: u128,
}

/// The phases so far.
#[derive(Debug)]
pub struct Phases {
    done: Vec<Phase>,
    start: Instant,
}

impl Phases {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        Self { done: Vec::new(), start: Instant::now() }
    }

    /// Runs one phase and says on stderr how long it took.
    ///
    /// # Errors
    /// The phase's own, with its name in front.
    pub async fn run<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let result =
            work.await.map_err(|f| Failure { message: format!("boot: {name}: {}", f.message), ..f })?;
        let milliseconds = start.elapsed().as_millis();
        eprintln!("boot: {name} {milliseconds} ms");
        self.done.push(Phase { name, milliseconds });
        Ok(result)
    }

    /// Says the total and keeps the times in `boot.json` of the state folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn report(&self, layout: &Layout) -> Result<(), Failure> {
        let total = self.start.elapsed().as_millis();
        eprintln!("boot: ready in {total} ms");
        let report = serde_json::json!({ "phases": self.done, "milliseconds": total });
        files::file(&layout.state().join("boot.json"), report.to_string().as_bytes(), 0o644, Owner::own())
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self::new()
    }
}
