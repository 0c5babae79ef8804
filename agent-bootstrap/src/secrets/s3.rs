//! Secrets in an S3 bucket, and the KMS keys that encrypt them.

use aws::s3::types::ServerSideEncryption;
use aws::{CallError, Fault};
use zeroize::{Zeroize, Zeroizing};

use super::encryption::Encryption;
use super::store::{KeyDirectory, Object, SecretStore, check_size};

/// The secrets bucket.
pub struct S3SecretStore {
    client: aws::s3::Client,
    bucket: String,
}

impl S3SecretStore {
    /// The bucket, reached in the session's region.
    #[must_use]
    pub fn new(session: &aws::Session, bucket: impl Into<String>) -> Self {
        Self { client: session.s3(), bucket: bucket.into() }
    }
}

impl SecretStore for S3SecretStore {
    fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, CallError> {
        let uri = self.uri(key);
        let answer = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let mut output = match answer {
            Ok(output) => output,
            Err(error) => {
                let error = CallError::new(&error, "s3:GetObject", uri);
                // Any other 404 (a missing bucket, a proxy's page) says nothing about the object.
                return if error.code.as_deref() == Some("NoSuchKey") { Ok(None) } else { Err(error) };
            }
        };
        let announced = output.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        check_size(announced, &uri)?;
        let encryption = encryption(output.server_side_encryption(), output.ssekms_key_id());
        let mut bytes = Zeroizing::new(Vec::with_capacity(announced));
        while let Some(chunk) = output.body.next().await {
            let chunk = chunk.map_err(|error| broken_off(&uri, &error))?;
            check_size(bytes.len() + chunk.len(), &uri)?;
            bytes.extend_from_slice(&chunk);
            // The buffer came from the network stack; ours is the only copy that has to live on.
            if let Ok(mut unique) = chunk.try_into_mut() {
                unique.as_mut().zeroize();
            }
        }
        Ok(Some(Object { bytes, encryption }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| CallError::new(&e, "s3:ListBucket", self.uri(prefix)))?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        Ok(keys)
    }
}

fn encryption(kind: Option<&ServerSideEncryption>, key: Option<&str>) -> Encryption {
    match kind {
        None => Encryption::None,
        Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse) => {
            Encryption::Kms { key: key.map(str::to_owned) }
        }
        Some(other) => Encryption::Other(other.as_str().to_owned()),
    }
}

/// The answer began and did not end, or its checksum is wrong.
fn broken_off(uri: &str, error: &dyn std::error::Error) -> CallError {
    let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
    CallError {
        fault: Fault::Unreachable,
        operation: "s3:GetObject",
        resource: uri.to_owned(),
        code: None,
        status: None,
        bucket_region: None,
        detail: format!("the answer broke off: {error}{cause}"),
    }
}

/// KMS as the directory of keys.
pub struct KmsKeys(aws::kms::Client);

impl KmsKeys {
    /// KMS in the session's region.
    #[must_use]
    pub fn new(session: &aws::Session) -> Self {
        Self(session.kms())
    }
}

impl KeyDirectory for KmsKeys {
    async fn arn(&self, name: &str) -> Result<Option<String>, CallError> {
        match self.0.describe_key().key_id(name).send().await {
            Ok(output) => Ok(output.key_metadata.and_then(|m| m.arn)),
            Err(error) => {
                let error = CallError::new(&error, "kms:DescribeKey", name);
                if error.fault == Fault::Absent { Ok(None) } else { Err(error) }
            }
        }
    }
}
