//! Tokens: made at random, kept as SHA-256 digests, compared in constant time.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a token: what is stored and compared.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a token as it came over the wire.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// For the store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same token? The time taken does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The same as a stored digest?
    pub fn matches_bytes(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

/// The digests of tokens that are good for one purpose.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Digest>);

impl Tokens {
    /// One token a line; empty lines and lines from `#` on are for people. `None` when there is no token at all.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let tokens: Vec<_> = lines.map(Digest::of).collect();
        (!tokens.is_empty()).then_some(Self(tokens))
    }

    /// Is this one of them? All are compared, whichever matches.
    pub fn contain(&self, token: &Digest) -> bool {
        self.0.iter().fold(false, |found, known| known.matches(token) | found)
    }
}

/// A new token of 256 random bits.
pub fn fresh() -> SecretString {
    SecretString::from(hex::encode(rand::random::<[u8; 32]>()))
}

/// The digest of a token we made.
pub fn digest(token: &SecretString) -> Digest {
    Digest::of(token.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_of_the_file_is_good_and_nothing_else() {
        let tokens = Tokens::parse("# rotated in May\n old \n\nnew\n").unwrap();
        for (token, good) in
            [("old", true), ("new", true), ("", false), ("# rotated in May", false), ("newer", false)]
        {
            assert_eq!(tokens.contain(&Digest::of(token)), good, "{token:?}");
        }
        assert!(Tokens::parse("\n# nothing\n").is_none());
    }

    #[test]
    fn fresh_tokens_differ() {
        assert!(!digest(&fresh()).matches(&digest(&fresh())));
    }
}
