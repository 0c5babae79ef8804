//! The scaler's word that it keeps idle instances. Instances that are idle for very long retire by themselves where no
//! scaler acts; with a floor one acts by leaving them alone, which they cannot tell from a dead one without its word.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws::ssm::types::ParameterType;
use aws::{CallError, Session};
use jiff::Timestamp;

use crate::ports::Problem;

/// The word is believed for three times as long (`lifecycle::decide::KEPT_FOR`).
const EVERY: Duration = Duration::from_secs(300);

/// Where stacks' instances read when idle ones were last kept.
#[derive(Debug, Clone)]
pub struct Keeps {
    session: Session,
    given: Option<String>,
    said: BTreeMap<String, Instant>,
}

impl Keeps {
    /// In the parameter of this name.
    #[must_use]
    pub fn new(session: &Session, given: Option<String>) -> Self {
        Self { session: session.clone(), given, said: BTreeMap::new() }
    }

    /// Says it, if that is due again: in the parameter that was given, or else in that of this stack.
    ///
    /// # Errors
    /// AWS does not take it.
    pub async fn say(&mut self, stack: Option<&str>, now: Timestamp) -> Result<(), Problem> {
        let of_stack = || stack.map(|stack| format!("/tidemark/{stack}/scaler-keeps"));
        let Some(name) = self.given.clone().or_else(of_stack) else { return Ok(()) };
        if self.said.get(&name).is_some_and(|said| said.elapsed() < EVERY) {
            return Ok(());
        }
        let call = self.session.ssm().put_parameter().name(&name).value(now.to_string());
        let call = call.r#type(ParameterType::String).overwrite(true);
        call.send().await.map_err(|e| CallError::new(&e, "ssm:PutParameter", &name))?;
        self.said.insert(name, Instant::now());
        Ok(())
    }
}
