//! The port to wherever secrets lie.

use std::future::Future;

use aws::CallError;
use zeroize::Zeroizing;

use super::encryption::Encryption;

/// Longest object that is read, in bytes. Secrets are small; a mistaken upload must not fill the memory.
pub const LARGEST_OBJECT: usize = 4 * 1024 * 1024;

/// An object and how it is encrypted where it lies.
pub struct Object {
    /// Its content.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its encryption at rest.
    pub encryption: Encryption,
}

/// A bucket of secrets, or a folder laid out as one.
pub trait SecretStore {
    /// Where a key lies, for people: `s3://bucket/key`.
    fn uri(&self, key: &str) -> String;

    /// Reads an object. `None` means that it certainly does not exist; a missing bucket is an error.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Object>, CallError>>;

    /// All keys that start with `prefix`, in order, however many pages they take.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, CallError>>;
}

/// The port to the keys that encrypt objects.
pub trait KeyDirectory {
    /// The ARN of the key that `name` (ARN, id or alias) stands for; `None` when there is no such key.
    fn arn(&self, name: &str) -> impl Future<Output = Result<Option<String>, CallError>>;
}

/// Refuses an object of more than [`LARGEST_OBJECT`] bytes.
///
/// # Errors
/// [`aws::Fault::Invalid`] with code `TooLarge`.
pub fn check_size(bytes: usize, uri: &str) -> Result<(), CallError> {
    if bytes <= LARGEST_OBJECT {
        return Ok(());
    }
    Err(CallError {
        fault: aws::Fault::Invalid,
        operation: "s3:GetObject",
        resource: uri.to_owned(),
        code: Some("TooLarge".to_owned()),
        status: None,
        bucket_region: None,
        detail: format!("it has more than {LARGEST_OBJECT} bytes, too many for a secret"),
    })
}
