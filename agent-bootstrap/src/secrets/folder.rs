//! A folder laid out as the secrets bucket, for checks without AWS.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aws::{CallError, Fault};
use zeroize::Zeroizing;

use super::encryption::Encryption;
use super::store::{KeyDirectory, Object, SecretStore, check_size};

/// Keys are paths below a folder.
pub struct FolderSecretStore(PathBuf);

impl FolderSecretStore {
    /// The folder that stands for the bucket.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    fn error(&self, operation: &'static str, path: &Path, error: &std::io::Error) -> CallError {
        let fault = match error.kind() {
            ErrorKind::NotFound => Fault::Absent,
            ErrorKind::PermissionDenied => Fault::Denied,
            _ => Fault::Other,
        };
        CallError {
            fault,
            operation,
            resource: path.display().to_string(),
            code: None,
            status: None,
            bucket_region: None,
            detail: error.to_string(),
        }
    }

    /// Without the folder itself nothing is known about what is in it.
    fn bucket(&self, operation: &'static str) -> Result<(), CallError> {
        let found = std::fs::read_dir(&self.0).map(drop);
        found.map_err(|error| self.error(operation, &self.0, &error))
    }

    fn walk(&self, folder: &Path, keys: &mut Vec<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.walk(&path, keys)?;
            } else if let Ok(key) = path.strip_prefix(&self.0) {
                keys.push(key.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }
}

impl SecretStore for FolderSecretStore {
    fn uri(&self, key: &str) -> String {
        self.0.join(key).display().to_string()
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, CallError> {
        self.bucket("read")?;
        let path = self.0.join(key);
        match std::fs::read(&path) {
            Ok(bytes) => {
                check_size(bytes.len(), &self.uri(key))?;
                Ok(Some(Object { bytes: Zeroizing::new(bytes), encryption: Encryption::NotInS3 }))
            }
            // A pipeline may be called `env`: then the folder of that name is no object.
            Err(_) if path.is_dir() => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(self.error("read", &path, &error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        self.bucket("list")?;
        let folder = self.0.join(prefix);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut keys = Vec::new();
        self.walk(&folder, &mut keys).map_err(|error| self.error("list", &folder, &error))?;
        keys.sort();
        Ok(keys)
    }
}

/// Nothing in a folder is encrypted by KMS, so nobody asks.
impl KeyDirectory for FolderSecretStore {
    async fn arn(&self, _name: &str) -> Result<Option<String>, CallError> {
        Ok(None)
    }
}
