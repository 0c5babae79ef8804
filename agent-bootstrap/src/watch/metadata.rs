//! What the instance metadata tells `watch`.

use aws::{CallError, Imds};
use lifecycle::AwsState;

/// The metadata of this instance.
pub trait Metadata {
    /// The lifecycle state that the group aims at; `None` where there is none (yet).
    ///
    /// # Errors
    /// When the service does not answer.
    fn target_state(&self) -> impl Future<Output = Result<Option<AwsState>, CallError>>;
}

/// The instance metadata service.
#[derive(Debug, Clone)]
pub struct ImdsMetadata(pub Imds);

impl Metadata for ImdsMetadata {
    async fn target_state(&self) -> Result<Option<AwsState>, CallError> {
        let text = self.0.get("meta-data/autoscaling/target-lifecycle-state").await?;
        Ok(text.map(|name| AwsState::from(name.as_str())))
    }
}
