//! How secrets must be encrypted at rest, and the line that repairs an object that is not.

use std::collections::BTreeMap;

/// What is asked of every object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Objects must have `aws:kms` (`BUILDKITE_USE_KMS`).
    pub use_kms: bool,
    /// The stack's key: ARN, id or alias (`SECRETS_KMS_KEY`).
    pub key: Option<String>,
    /// Only that key will do, not `aws/s3` either, and `BUILDKITE_USE_KMS=false` changes nothing
    /// (`SECRETS_REQUIRE_KEY`).
    pub require_key: bool,
}

/// What S3 says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Not in S3: there is nothing to ask for.
    NotInS3,
    /// No word about encryption.
    None,
    /// `aws:kms` (or its two-layer form) under a key's ARN.
    Kms {
        /// The key's ARN.
        key: Option<String>,
    },
    /// Another kind, for example `AES256`.
    Other(String),
}

/// ARNs of key names that were asked for; `None` where there is no such key.
pub type KnownKeys = BTreeMap<String, Option<String>>;

/// The key that S3 uses for `aws:kms` when the upload and the bucket name none.
pub const MANAGED_KEY: &str = "alias/aws/s3";

/// The decision about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The object may be used.
    Accepted,
    /// Undecided until the ARN of this key is known.
    Describe(String),
    /// The object may not be used: what it has, in words.
    Wrong(String),
}

/// May an object with this encryption be used?
#[must_use]
pub fn decide(policy: &Policy, encryption: &Encryption, known: &KnownKeys) -> Verdict {
    if !policy.use_kms && !policy.require_key {
        return Verdict::Accepted;
    }
    let object_key = match encryption {
        Encryption::NotInS3 => return Verdict::Accepted,
        Encryption::None => return Verdict::Wrong("it is not encrypted with aws:kms".to_owned()),
        Encryption::Other(kind) => {
            return Verdict::Wrong(format!("it is encrypted with {kind}, not with aws:kms"));
        }
        Encryption::Kms { key } => key.as_deref().unwrap_or_default(),
    };
    let Some(configured) = &policy.key else { return Verdict::Accepted };
    match names_key(configured, object_key, known) {
        Err(name) => return Verdict::Describe(name),
        Ok(true) => return Verdict::Accepted,
        Ok(false) => {}
    }
    let other = format!("it is encrypted with the key {object_key}, not with {configured}");
    if policy.require_key {
        return Verdict::Wrong(other);
    }
    match known.get(MANAGED_KEY) {
        None => Verdict::Describe(MANAGED_KEY.to_owned()),
        Some(Some(arn)) if arn == object_key => Verdict::Accepted,
        Some(_) => Verdict::Wrong(other),
    }
}

/// Is `arn` the key that `name` stands for? The error is a name whose ARN must be asked for first.
fn names_key(name: &str, arn: &str, known: &KnownKeys) -> Result<bool, String> {
    if name == arn {
        return Ok(true);
    }
    let is_alias = name.starts_with("alias/") || name.contains(":alias/");
    if is_alias {
        let resolved = known.get(name).ok_or_else(|| name.to_owned())?;
        return Ok(resolved.as_deref() == Some(arn));
    }
    Ok(!name.starts_with("arn:") && arn.rsplit_once(":key/").is_some_and(|(_, id)| id == name))
}

/// The command that encrypts an object as the policy asks, where it lies.
#[must_use]
pub fn repair(policy: &Policy, uri: &str) -> String {
    let uri = shell_word(uri);
    let key =
        policy.key.as_deref().map(|k| format!(" --sse-kms-key-id {}", shell_word(k))).unwrap_or_default();
    format!("aws s3 cp {uri} {uri} --sse aws:kms{key}")
}

/// Quoted only where a shell would not take it as it stands.
fn shell_word(word: &str) -> String {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/:._-@+=".contains(&b));
    if plain { word.to_owned() } else { crate::hooks::exports::quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = "arn:aws:kms:us-east-1:123456789012:key/aaaa";
    const MANAGED: &str = "arn:aws:kms:us-east-1:123456789012:key/mmmm";
    const OTHER: &str = "arn:aws:kms:us-east-1:123456789012:key/oooo";

    fn kms(key: &str) -> Encryption {
        Encryption::Kms { key: Some(key.to_owned()) }
    }

    fn policy(use_kms: bool, key: Option<&str>, require_key: bool) -> Policy {
        Policy { use_kms, key: key.map(str::to_owned), require_key }
    }

    fn known() -> KnownKeys {
        KnownKeys::from([
            (MANAGED_KEY.to_owned(), Some(MANAGED.to_owned())),
            ("alias/stack".to_owned(), Some(STACK.to_owned())),
            ("alias/gone".to_owned(), None),
        ])
    }

    #[test]
    fn each_policy_meets_each_encryption() {
        let aes = Encryption::Other("AES256".to_owned());
        let none = Encryption::None;
        // use_kms, key, require_key, encryption, accepted
        let cases: &[(bool, Option<&str>, bool, &Encryption, bool)] = &[
            (true, None, false, &kms(OTHER), true),
            (true, None, false, &Encryption::Kms { key: None }, true),
            (true, None, false, &aes, false),
            (true, None, false, &none, false),
            (false, None, false, &aes, true),
            (false, None, false, &none, true),
            (false, Some(STACK), false, &kms(OTHER), true),
            (true, Some(STACK), false, &kms(STACK), true),
            (true, Some(STACK), false, &kms(MANAGED), true),
            (true, Some(STACK), false, &kms(OTHER), false),
            (true, Some(STACK), false, &aes, false),
            (true, Some(STACK), true, &kms(STACK), true),
            (true, Some(STACK), true, &kms(MANAGED), false),
            (false, Some(STACK), true, &aes, false),
            (true, Some("aaaa"), true, &kms(STACK), true),
            (true, Some("aaa"), true, &kms(STACK), false),
            (true, Some("alias/stack"), true, &kms(STACK), true),
            (true, Some("alias/stack"), true, &kms(OTHER), false),
            (true, Some("alias/gone"), true, &kms(STACK), false),
            (true, Some(STACK), true, &Encryption::NotInS3, true),
        ];
        for (use_kms, key, require_key, encryption, accepted) in cases {
            let verdict = decide(&policy(*use_kms, *key, *require_key), encryption, &known());
            let what = format!("{use_kms} {key:?} {require_key} {encryption:?}: {verdict:?}");
            assert_eq!(verdict == Verdict::Accepted, *accepted, "{what}");
            assert!(!matches!(verdict, Verdict::Describe(_)), "{what}");
        }
    }

    #[test]
    fn keys_are_described_only_when_needed() {
        let none = KnownKeys::new();
        let describe = |name: &str| Verdict::Describe(name.to_owned());
        assert_eq!(decide(&policy(true, Some(STACK), false), &kms(STACK), &none), Verdict::Accepted);
        assert_eq!(decide(&policy(true, Some(STACK), false), &kms(OTHER), &none), describe(MANAGED_KEY));
        assert_eq!(
            decide(&policy(true, Some("alias/stack"), true), &kms(STACK), &none),
            describe("alias/stack")
        );
        let aes = Encryption::Other("AES256".to_owned());
        assert!(matches!(decide(&policy(true, Some("alias/stack"), true), &aes, &none), Verdict::Wrong(_)));
    }

    #[test]
    fn the_repairing_line_can_be_pasted() {
        assert_eq!(
            repair(&policy(true, Some(STACK), false), "s3://b/app/env"),
            format!("aws s3 cp s3://b/app/env s3://b/app/env --sse aws:kms --sse-kms-key-id {STACK}")
        );
        assert_eq!(
            repair(&policy(true, None, false), "s3://b/it's/env"),
            r"aws s3 cp 's3://b/it'\''s/env' 's3://b/it'\''s/env' --sse aws:kms"
        );
    }
}
