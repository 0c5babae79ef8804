//! Is a webhook genuine? Pure: `now` is a parameter.
//!
//! The header is Buildkite's: `X-Buildkite-Signature: timestamp=1700000000,signature=<hex>`, an HMAC-SHA256 over
//! `<timestamp>.<body>`. The time is signed along, so that what somebody recorded is good for minutes only.

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header's name, as HTTP/2 and Lambda write it.
pub const HEADER: &str = "x-buildkite-signature";

/// How far the signed time may lie from ours, in both directions.
pub const OLDEST: SignedDuration = SignedDuration::from_mins(5);

/// A header with both parts has some hundred characters.
const LONGEST_HEADER: usize = 256;

/// Why a webhook is not believed. Whoever sent it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    /// There is no signature that could be verified.
    #[error("it has no signature of the form timestamp=…,signature=…")]
    Unsigned,
    /// Somebody else signed it, or changed it.
    #[error("its signature is not by the secret")]
    Forged,
    /// It is too old, or from the future.
    #[error("it was signed more than five minutes away from now")]
    Stale,
}

/// Verifies the header's signature of `body`.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    secret: &SecretString,
    header: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), NotGenuine> {
    let (timestamp, signature) = header.and_then(parts).ok_or(NotGenuine::Unsigned)?;
    let mac = mac(secret, timestamp, body).ok_or(NotGenuine::Forged)?;
    // In constant time.
    mac.verify_slice(&signature).map_err(|_| NotGenuine::Forged)?;
    let signed = timestamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let near = signed.is_some_and(|signed| now.duration_since(signed).abs() <= OLDEST);
    if near { Ok(()) } else { Err(NotGenuine::Stale) }
}

/// Has the header the form of a signature?
#[must_use]
pub fn is_signed(header: Option<&str>) -> bool {
    header.and_then(parts).is_some()
}

/// The header with which `body` is sent.
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8], now: Timestamp) -> String {
    let timestamp = now.as_second().to_string();
    let signature = mac(secret, &timestamp, body).map(|mac| hex::encode(mac.finalize().into_bytes()));
    format!("timestamp={timestamp},signature={}", signature.unwrap_or_default())
}

/// None without a secret: what everybody knows signs nothing.
fn mac(secret: &SecretString, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let secret = secret.expose_secret().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| !secret.is_empty())?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// Timestamp, as it was signed, and signature; each once and nothing else.
fn parts(header: &str) -> Option<(&str, Vec<u8>)> {
    let (mut timestamp, mut signature) = (None, None);
    for part in header.get(..).filter(|header| header.len() <= LONGEST_HEADER)?.split(',') {
        let (key, value) = part.trim().split_once('=')?;
        let place = match key {
            "timestamp" => &mut timestamp,
            "signature" => &mut signature,
            _ => return None,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    let timestamp = timestamp
        .filter(|text| (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let signature = hex::decode(signature?).ok().filter(|bytes| bytes.len() == 32)?;
    Some((timestamp, signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By `printf '1700000000.{"event":"job.scheduled"}' | openssl dgst -sha256 -hmac webhook-secret`.
    const SIGNED: &str =
        "timestamp=1700000000,signature=3290e5dfcb38f9c6c3969c8012ae4a0bdc638e27613145e29c42d213a020f5f6";
    const BODY: &[u8] = br#"{"event":"job.scheduled"}"#;

    fn secret() -> SecretString {
        "webhook-secret".to_owned().into()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn verified(header: &str, body: &[u8]) -> Result<(), NotGenuine> {
        verify(&secret(), Some(header), body, at(1_700_000_000))
    }

    #[test]
    fn what_openssl_signs_is_genuine_for_five_minutes() {
        assert_eq!(sign(&secret(), BODY, at(1_700_000_000)), SIGNED);
        for (second, expected) in [
            (1_700_000_000, Ok(())),
            (1_700_000_300, Ok(())),
            (1_699_999_700, Ok(())),
            (1_700_000_301, Err(NotGenuine::Stale)),
            (1_699_999_699, Err(NotGenuine::Stale)),
        ] {
            assert_eq!(verify(&secret(), Some(SIGNED), BODY, at(second)), expected, "{second}");
        }
        assert_eq!(
            verify(&"other".to_owned().into(), Some(SIGNED), BODY, at(1_700_000_000)),
            Err(NotGenuine::Forged)
        );
    }

    #[test]
    fn nothing_else_is_a_signature() {
        let signature = SIGNED.split_once(",signature=").unwrap().1;
        let upper = signature.to_uppercase();
        let cases = [
            (SIGNED.to_owned(), Ok(())),
            (format!("signature={signature}, timestamp=1700000000"), Ok(())),
            (format!("timestamp=1700000000,signature={upper}"), Ok(())),
            (String::new(), Err(NotGenuine::Unsigned)),
            ("webhook-secret".to_owned(), Err(NotGenuine::Unsigned)),
            ("timestamp=1700000000".to_owned(), Err(NotGenuine::Unsigned)),
            (format!("signature={signature}"), Err(NotGenuine::Unsigned)),
            ("timestamp=1700000000,signature=".to_owned(), Err(NotGenuine::Unsigned)),
            (format!("timestamp=1700000000,signature={}", &signature[2..]), Err(NotGenuine::Unsigned)),
            (format!("{SIGNED},signature={signature}"), Err(NotGenuine::Unsigned)),
            (format!("{SIGNED},version=2"), Err(NotGenuine::Unsigned)),
            (format!("timestamp=-1700000000,signature={signature}"), Err(NotGenuine::Unsigned)),
            (format!("timestamp=1700000001,signature={signature}"), Err(NotGenuine::Forged)),
            (format!("timestamp=01700000000,signature={signature}"), Err(NotGenuine::Forged)),
            (format!("{SIGNED}{}", " ".repeat(300)), Err(NotGenuine::Unsigned)),
        ];
        for (header, expected) in cases {
            assert_eq!(verified(&header, BODY), expected, "{header}");
        }
        assert_eq!(verify(&secret(), None, BODY, at(1_700_000_000)), Err(NotGenuine::Unsigned));
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        let empty: SecretString = String::new().into();
        let now = at(1_700_000_000);
        let own =
            Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(b"1700000000.").chain_update(BODY);
        let header = format!("timestamp=1700000000,signature={}", hex::encode(own.finalize().into_bytes()));
        assert_eq!(verify(&empty, Some(&header), BODY, now), Err(NotGenuine::Forged));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_refused(
            body in proptest::collection::vec(any::<u8>(), 1..300),
            place in any::<prop::sample::Index>(),
            change in 1u8..,
            second in 0i64..4_000_000_000,
        ) {
            let header = sign(&secret(), &body, at(second));
            prop_assert_eq!(verify(&secret(), Some(&header), &body, at(second)), Ok(()));
            let mut changed = body.clone();
            changed[place.index(body.len())] ^= change;
            prop_assert_eq!(verify(&secret(), Some(&header), &changed, at(second)), Err(NotGenuine::Forged));
            let mut header = header.into_bytes();
            let at_byte = place.index(header.len());
            header[at_byte] ^= change;
            if let Ok(changed) = String::from_utf8(header) {
                // The case of hexadecimal digits says nothing, that of the names before them does.
                let own = sign(&secret(), &body, at(second));
                let (names, _) = own.split_at(own.len() - 64);
                let same = changed.to_lowercase() == own && changed.starts_with(names);
                prop_assert_eq!(verify(&secret(), Some(&changed), &body, at(second)).is_ok(), same);
            }
        }

        #[test]
        fn no_header_breaks_it(header in "\\PC{0,300}", body in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(verify(&secret(), Some(&header), &body, at(1_700_000_000)).is_err());
        }
    }
}
