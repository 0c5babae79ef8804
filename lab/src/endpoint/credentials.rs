//! Access keys and the identities behind them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};

use super::caller::Caller;

/// How long a session lasts unless it is asked for otherwise.
pub const SESSION: SignedDuration = SignedDuration::from_hours(1);

/// An access key, with a token and an end if it belongs to a session.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `AKIA…` for the lab's user, `ASIA…` for a session.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: SecretString,
    /// The session's token.
    pub session_token: Option<SecretString>,
    /// When the session ends.
    pub expires: Option<Timestamp>,
}

impl Credentials {
    /// The variables that AWS's programs read them from. Holds secrets: for a child's environment only.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.expose_secret().to_owned()),
        ];
        if let Some(token) = &self.session_token {
            variables.push(("AWS_SESSION_TOKEN", token.expose_secret().to_owned()));
        }
        variables
    }
}

/// Why a caller could not be told from its access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// No such key, a token of another session, or none where one is needed.
    Invalid,
    /// The session is over.
    Expired,
}

#[derive(Debug)]
struct Identity {
    caller: Caller,
    token: Option<SecretString>,
    expires: Option<Timestamp>,
}

/// All access keys that the endpoint knows.
#[derive(Debug, Default)]
pub struct Identities {
    known: Mutex<HashMap<String, Identity>>,
}

impl Identities {
    /// Makes a key for `caller`; with `expires`, a session's.
    pub fn issue(&self, caller: Caller, expires: Option<Timestamp>) -> Credentials {
        let prefix = if expires.is_some() { "ASIA" } else { "AKIA" };
        let credentials = Credentials {
            access_key_id: format!("{prefix}{}", random(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
            secret_access_key: random(40, SECRET).into(),
            session_token: expires.map(|_| random(120, SECRET).into()),
            expires,
        };
        self.lock().insert(
            credentials.access_key_id.clone(),
            Identity { caller, token: credentials.session_token.clone(), expires },
        );
        credentials
    }

    /// The caller behind a key at the time `now`.
    ///
    /// # Errors
    /// When there is no such key or session.
    pub fn caller(&self, key: &str, token: Option<&str>, now: Timestamp) -> Result<Caller, Unknown> {
        let known = self.lock();
        let identity = known.get(key).ok_or(Unknown::Invalid)?;
        if identity.token.as_ref().map(ExposeSecret::expose_secret) != token {
            return Err(Unknown::Invalid);
        }
        if identity.expires.is_some_and(|end| end <= now) {
            return Err(Unknown::Expired);
        }
        Ok(identity.caller.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Identity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECRET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A token nobody guesses.
pub(super) fn random_token() -> String {
    random(40, SECRET)
}

/// `length` random characters of `alphabet`.
fn random(length: usize, alphabet: &[u8]) -> String {
    let mut source = rand::rng();
    (0..length).map(|_| char::from(alphabet[source.random_range(0..alphabet.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_with_its_token_until_it_expires() {
        let identities = Identities::default();
        let end = Timestamp::UNIX_EPOCH + SESSION;
        let role = Caller::Role { role: "agent".into(), session: "i-1".into() };
        let session = identities.issue(role.clone(), Some(end));
        let key = session.access_key_id.as_str();
        let token = session.session_token.as_ref().map(ExposeSecret::expose_secret);
        let before = Timestamp::UNIX_EPOCH;
        assert_eq!(identities.caller(key, token, before), Ok(role));
        assert_eq!(identities.caller(key, token, end), Err(Unknown::Expired));
        assert_eq!(identities.caller(key, None, before), Err(Unknown::Invalid));
        assert_eq!(identities.caller(key, Some("x"), before), Err(Unknown::Invalid));
        assert_eq!(identities.caller("AKIAOTHER", None, before), Err(Unknown::Invalid));
    }

    #[test]
    fn debug_shows_no_secret() {
        let made = Identities::default().issue(Caller::Admin, None);
        assert!(!format!("{made:?}").contains(made.secret_access_key.expose_secret()));
    }
}
