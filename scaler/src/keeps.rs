//! The scaler's word that it keeps idle instances. Instances that are idle for very long retire by themselves where no
//! scaler acts; with a floor one acts by leaving them alone, which they cannot tell from a dead one without its word.

use std::time::{Duration, Instant};

use aws::ssm::types::ParameterType;
use aws::{CallError, Session};
use jiff::Timestamp;

use crate::ports::Problem;

/// The word is believed for three times as long (`lifecycle::decide::KEPT_FOR`).
const EVERY: Duration = Duration::from_secs(300);

/// The parameter that says when idle instances were last kept.
#[derive(Debug, Clone)]
pub struct KeepsParameter {
    session: Session,
    name: Option<String>,
    said: Option<Instant>,
}

impl KeepsParameter {
    /// In the parameter of this name; nowhere, if there is none.
    #[must_use]
    pub fn new(session: &Session, name: Option<String>) -> Self {
        Self { session: session.clone(), name, said: None }
    }

    /// Says it, if that is due again.
    ///
    /// # Errors
    /// AWS does not take it.
    pub async fn say(&mut self, now: Timestamp) -> Result<(), Problem> {
        let Some(name) = &self.name else { return Ok(()) };
        if self.said.is_some_and(|said| said.elapsed() < EVERY) {
            return Ok(());
        }
        let call = self.session.ssm().put_parameter().name(name).value(now.to_string());
        let call = call.r#type(ParameterType::String).overwrite(true);
        call.send().await.map_err(|e| CallError::new(&e, "ssm:PutParameter", name))?;
        self.said = Some(Instant::now());
        Ok(())
    }
}
