//! Whether a scaler lives that keeps idle instances: it says so in a parameter of the stack, every five minutes as long
//! as it keeps any. Nothing else tells a floor that is wanted from instances that a dead scaler left behind.

use aws::stored_token::parameter;
use aws::{Fault, Session};
use jiff::Timestamp;
use lifecycle::Refusal;
use secrecy::ExposeSecret as _;

/// A scaler's word.
pub trait ScalerWord {
    /// When a scaler last said that it keeps idle instances; none where no scaler ever did.
    ///
    /// # Errors
    /// When that cannot be found out: the instance stays.
    fn kept_at(&self) -> impl Future<Output = Result<Option<Timestamp>, Refusal>>;
}

/// The parameter `/tidemark/<stack>/scaler-keeps`.
#[derive(Debug, Clone)]
pub struct StackParameter {
    session: Session,
    name: String,
}

impl StackParameter {
    /// That of this stack.
    #[must_use]
    pub fn new(session: &Session, stack: &str) -> Self {
        Self { session: session.clone(), name: format!("/tidemark/{stack}/scaler-keeps") }
    }
}

impl ScalerWord for StackParameter {
    async fn kept_at(&self) -> Result<Option<Timestamp>, Refusal> {
        match parameter(&self.session, &self.name).await {
            Ok(text) => {
                let text = text.expose_secret().trim();
                text.parse().map(Some).map_err(|_| Refusal::Failed(format!("{} holds no time", self.name)))
            }
            Err(error) if error.fault == Fault::Absent => Ok(None),
            Err(error) => Err(Refusal::Failed(error.to_string())),
        }
    }
}
