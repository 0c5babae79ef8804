//! What lies in AWS and is needed once: settings by reference, and the agent token.

use aws::{CallError, Session};
use secrecy::{ExposeSecret, SecretString};

use super::settings::TokenSource;
use crate::failure::Failure;

/// Settings larger than this are a mistake (a log, an archive), not settings.
const MOST_BYTES: usize = 256 * 1024;

/// A settings part that is only `s3://bucket/key` or `ssm:/path` stands for what lies there.
///
/// # Errors
/// When it cannot be fetched.
pub async fn resolve(session: &Session, part: String) -> Result<String, Failure> {
    let reference = part.trim();
    if let Some(path) = reference.strip_prefix("s3://").filter(|p| !p.contains(char::is_whitespace)) {
        return s3(session, path).await;
    }
    match reference.strip_prefix("ssm:").filter(|p| !p.contains(char::is_whitespace)) {
        Some(name) => Ok(parameter(session, name).await?.expose_secret().to_owned()),
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

async fn parameter(session: &Session, name: &str) -> Result<SecretString, Failure> {
    let answer = session
        .ssm()
        .get_parameter()
        .name(name)
        .with_decryption(true)
        .send()
        .await
        .map_err(|e| CallError::new(&e, "ssm:GetParameter", name))?;
    let value = answer.parameter.and_then(|p| p.value).unwrap_or_default();
    Ok(SecretString::from(value))
}

/// The registration token of the agents.
///
/// # Errors
/// When it cannot be fetched, or what lies there is no token.
pub async fn agent_token(session: &Session, source: &TokenSource) -> Result<SecretString, Failure> {
    let (text, place) = match source {
        TokenSource::Parameter(name) => (parameter(session, name).await?, name),
        TokenSource::SecretsManager(id) => {
            let answer = session
                .secretsmanager()
                .get_secret_value()
                .secret_id(id)
                .send()
                .await
                .map_err(|e| CallError::new(&e, "secretsmanager:GetSecretValue", id))?;
            (SecretString::from(answer.secret_string.unwrap_or_default()), id)
        }
    };
    token_in(text.expose_secret()).map_err(|detail| {
        Failure::config(format!("agent token: {place} {detail}; put the token there and boot again"))
    })
}

/// The token in a secret's text: the text itself, or the key `token` of a JSON object.
fn token_in(text: &str) -> Result<SecretString, &'static str> {
    let text = text.trim();
    let token = match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(map)) => match map.get("token").and_then(|t| t.as_str()) {
            Some(token) => token.trim().to_owned(),
            None => return Err("is JSON without a text under the key `token`"),
        },
        _ => text.to_owned(),
    };
    if token.is_empty() {
        return Err("is empty");
    }
    // The token goes into a quoted line of the agent's configuration.
    if token.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '\\') {
        return Err("holds blanks, quotes or line breaks, which no agent token does");
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_plain_or_under_its_key() {
        for (text, expected) in [
            ("abc\n", Ok("abc")),
            (r#"{"token":"abc"}"#, Ok("abc")),
            ("12345", Ok("12345")),
            (r#"{"tokn":"abc"}"#, Err("is JSON without a text under the key `token`")),
            ("  ", Err("is empty")),
            ("a\nb", Err("holds blanks, quotes or line breaks, which no agent token does")),
            ("a\"b", Err("holds blanks, quotes or line breaks, which no agent token does")),
        ] {
            let token = token_in(text);
            let seen = token.as_ref().map(|t| t.expose_secret()).map_err(|e| *e);
            assert_eq!(seen, expected, "{text}");
        }
    }
}
