//! What lies in AWS and is needed once: settings by reference, and the agent token.

use aws::stored_token::parameter;
use aws::{CallError, Session, StoredToken, StoredTokenError};
use secrecy::{ExposeSecret, SecretString};

use crate::failure::Failure;

/// Settings larger than this are a mistake (a log, an archive), not settings.
const MOST_BYTES: usize = 256 * 1024;

/// Where a settings part by reference lies.
enum Reference<'a> {
    S3(&'a str),
    Parameter(&'a str),
}

fn reference(part: &str) -> Option<Reference<'_>> {
    let part = part.trim();
    if part.contains(char::is_whitespace) {
        return None;
    }
    let s3 = part.strip_prefix("s3://").map(Reference::S3);
    s3.or_else(|| part.strip_prefix("ssm:").map(Reference::Parameter))
}

/// Does a settings part only say where the settings lie?
#[must_use]
pub fn is_reference(part: &str) -> bool {
    reference(part).is_some()
}

/// A settings part that is only `s3://bucket/key` or `ssm:/path` stands for what lies there.
///
/// # Errors
/// When it cannot be fetched.
pub async fn resolve(session: &Session, part: String) -> Result<String, Failure> {
    match reference(&part) {
        Some(Reference::S3(path)) => s3(session, path).await,
        Some(Reference::Parameter(name)) => Ok(parameter(session, name).await?.expose_secret().to_owned()),
        None => Ok(part),
    }
}

async fn s3(session: &Session, path: &str) -> Result<String, Failure> {
    let (bucket, key) = path
        .split_once('/')
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .ok_or_else(|| Failure::config(format!("settings: s3://{path} names no bucket and key")))?;
    let object = session
        .s3()
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .map_err(|e| CallError::new(&e, "s3:GetObject", format!("s3://{path}")))?;
    if object.content_length().is_some_and(|n| usize::try_from(n).map_or(true, |n| n > MOST_BYTES)) {
        return Err(Failure::config(format!("settings: s3://{path} is larger than {MOST_BYTES} bytes")));
    }
    let bytes = object
        .body
        .collect()
        .await
        .map_err(|e| Failure::unavailable(format!("settings: s3://{path} broke off: {e}; boot again")))?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Failure::config(format!("settings: s3://{path} is no UTF-8 text")))
}

/// The registration token of the agents.
///
/// # Errors
/// When it cannot be fetched, or what lies there is no token.
pub async fn agent_token(session: &Session, stored: &StoredToken) -> Result<SecretString, Failure> {
    stored.fetch(session).await.map_err(|error| match error {
        StoredTokenError::Call(error) => error.into(),
        StoredTokenError::NoToken { .. } => Failure::config(format!("{error}, and boot again")),
    })
}
