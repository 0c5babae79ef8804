//! The CI's agent token where a stack keeps it: a secret of Secrets Manager or an SSM parameter, as plain text or as
//! a JSON object with the key `token` (what the console makes of key and value pairs).

use secrecy::{ExposeSecret, SecretString};

use crate::fault::CallError;
use crate::session::Session;

/// Where the token lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredToken {
    /// ARN or name of a secret in Secrets Manager.
    SecretsManager(String),
    /// Name of an SSM parameter, encrypted or not.
    Parameter(String),
}

/// The token could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredTokenError {
    /// AWS did not give what lies there.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What lies there is no token.
    #[error("{place} {fault}; store the CI's agent token there")]
    NoToken {
        /// Name or ARN.
        place: String,
        /// What it is instead, without a word of it.
        fault: &'static str,
    },
}

impl StoredToken {
    /// Fetches the token.
    ///
    /// # Errors
    /// AWS's refusal with the object's name, or what is wrong with the text.
    pub async fn fetch(&self, session: &Session) -> Result<SecretString, StoredTokenError> {
        let (text, place) = match self {
            Self::SecretsManager(id) => (secret(session, id).await?, id),
            Self::Parameter(name) => (parameter(session, name).await?, name),
        };
        token_in(&text).map_err(|fault| StoredTokenError::NoToken { place: place.clone(), fault })
    }
}

async fn secret(session: &Session, id: &str) -> Result<SecretString, CallError> {
    let answer = session
        .secretsmanager()
        .get_secret_value()
        .secret_id(id)
        .send()
        .await
        .map_err(|e| CallError::new(&e, "secretsmanager:GetSecretValue", id))?;
    Ok(answer.secret_string.unwrap_or_default().into())
}

/// The decrypted value of an SSM parameter.
///
/// # Errors
/// AWS's refusal with the parameter's name.
pub async fn parameter(session: &Session, name: &str) -> Result<SecretString, CallError> {
    let answer = session
        .ssm()
        .get_parameter()
        .name(name)
        .with_decryption(true)
        .send()
        .await
        .map_err(|e| CallError::new(&e, "ssm:GetParameter", name))?;
    Ok(answer.parameter.and_then(|p| p.value).unwrap_or_default().into())
}

/// The token in a stored text: the text itself, or the key `token` of a JSON object.
fn token_in(text: &SecretString) -> Result<SecretString, &'static str> {
    let text = text.expose_secret().trim();
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
    // It goes into a header of HTTP and into a quoted line of the agent's configuration.
    if token.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '\\') {
        return Err("holds blanks, quotes or line breaks, which no agent token does");
    }
    Ok(token.into())
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
            let token = token_in(&text.into());
            let seen = token.as_ref().map(ExposeSecret::expose_secret).map_err(|e| *e);
            assert_eq!(seen, expected, "{text}");
        }
    }
}
