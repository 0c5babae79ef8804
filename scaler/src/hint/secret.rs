//! What hints are signed with, read again when it may have been changed.

use std::time::{Duration, Instant};

use aws::{Session, StoredToken};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;

use super::signature::{NotGenuine, is_signed, verify};
use crate::ports::Problem;

/// Where the secret comes from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// `HINT_SECRET`.
    Given(SecretString),
    /// `HINT_SECRET_ARN`, in Secrets Manager.
    Stored(StoredToken),
}

/// Forged hints make it be read no more often than this.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The secret.
#[derive(Debug)]
pub struct HintSecret {
    source: SecretSource,
    session: Session,
    kept: Mutex<Option<(SecretString, Instant)>>,
}

impl HintSecret {
    /// Fetched with the first hint.
    #[must_use]
    pub fn new(source: SecretSource, session: &Session) -> Self {
        Self { source, session: session.clone(), kept: Mutex::default() }
    }

    /// Verifies a signature. One that is not by the secret may be by its successor: then that is fetched, every
    /// ten seconds at most.
    ///
    /// # Errors
    /// The secret cannot be had.
    pub async fn verify(
        &self,
        header: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Result<(), NotGenuine>, Problem> {
        if !is_signed(header) {
            return Ok(Err(NotGenuine::Unsigned));
        }
        let mut kept = self.kept.lock().await;
        let (secret, since) = match &*kept {
            Some(kept) => kept.clone(),
            None => kept.insert((self.fetch().await?, Instant::now())).clone(),
        };
        let verdict = verify(&secret, header, body, now);
        let may_be_old = matches!(self.source, SecretSource::Stored(_)) && since.elapsed() >= READ_AGAIN;
        if verdict != Err(NotGenuine::Forged) || !may_be_old {
            return Ok(verdict);
        }
        let (secret, _) = kept.insert((self.fetch().await?, Instant::now()));
        Ok(verify(secret, header, body, now))
    }

    async fn fetch(&self) -> Result<SecretString, Problem> {
        match &self.source {
            SecretSource::Given(secret) => Ok(secret.clone()),
            SecretSource::Stored(stored) => stored.fetch(&self.session).await.map_err(|error| match error {
                aws::StoredTokenError::Call(error) => error.into(),
                aws::StoredTokenError::NoToken { place, fault } => Problem::new(
                    78,
                    format!("hint secret: {place} {fault}; store the CI's webhook secret there"),
                ),
            }),
        }
    }
}
