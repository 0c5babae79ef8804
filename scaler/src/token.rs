//! The CI's agent token: read once, and again when the CI refuses it, because tokens are rotated.

use aws::{CallError, Session};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::config::TokenSource;
use crate::tick::Problem;

/// A secret may be kept as JSON, as the console does for key and value pairs.
#[derive(Deserialize)]
struct KeyAndValue {
    token: String,
}

/// Fetches the token from its source.
///
/// # Errors
/// AWS's refusal with the secret's name, or an empty secret.
pub async fn fetch(source: &TokenSource, session: &Session) -> Result<SecretString, Problem> {
    let (text, object) = match source {
        TokenSource::Given(token) => return Ok(token.clone()),
        TokenSource::SecretsManager(id) => {
            let answer = session
                .secretsmanager()
                .get_secret_value()
                .secret_id(id)
                .send()
                .await
                .map_err(|e| CallError::new(&e, "secretsmanager:GetSecretValue", id))?;
            (answer.secret_string().unwrap_or_default().to_owned(), id)
        }
        TokenSource::Parameter(name) => {
            let answer = session
                .ssm()
                .get_parameter()
                .name(name)
                .with_decryption(true)
                .send()
                .await
                .map_err(|e| CallError::new(&e, "ssm:GetParameter", name))?;
            (answer.parameter().and_then(|p| p.value()).unwrap_or_default().to_owned(), name)
        }
    };
    let text = SecretString::from(text);
    let token = plain(&text);
    if token.expose_secret().is_empty() {
        return Err(Problem::new(
            78,
            format!("agent token {object} is empty: store the CI's agent token in it"),
        ));
    }
    Ok(token)
}

/// The token itself, or the value of `token` in a JSON object.
fn plain(text: &SecretString) -> SecretString {
    serde_json::from_str::<KeyAndValue>(text.expose_secret())
        .map_or_else(|_| text.expose_secret().trim().into(), |pair| pair.token.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_plain_text_or_json() {
        for (text, token) in [("abc\n", "abc"), (r#"{"token":"abc"}"#, "abc"), ("", "")] {
            assert_eq!(plain(&text.into()).expose_secret(), token);
        }
    }
}
