//! The audit bucket. Nothing in it is ever written over: two builds of one template, second and commit get keys of their
//! own.

use aws::s3::Client;
use aws::s3::primitives::ByteStream;
use aws::{CallError, Fault, Session};

use crate::audit::{Audit, details, reader};
use crate::problem::Problem;

/// As many builds of one template may begin in one second.
const MOST_ALIKE: u32 = 100;

/// The bucket.
#[derive(Debug, Clone)]
pub struct AuditBucket {
    client: Client,
    bucket: String,
}

impl AuditBucket {
    /// The bucket of this name.
    #[must_use]
    pub fn new(session: &Session, bucket: &str) -> Self {
        Self { client: session.s3(), bucket: bucket.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bucket
    }

    /// The first free key of this audit, or the one where this execution has its audit already.
    ///
    /// # Errors
    /// The bucket is not there, or may not be written.
    pub async fn write(&self, audit: &Audit, details: &details::Details) -> Result<String, Problem> {
        let (wanted, yaml) = (audit.key(), audit.to_yaml());
        for number in 1..=MOST_ALIKE {
            let key = numbered(&wanted, number);
            if self.put_new(&key, &yaml, "application/yaml").await? || self.is_of(&key, audit).await? {
                let json = serde_json::to_string_pretty(details).unwrap_or_default();
                self.put_new(&details::key_of(&key), &json, "application/json").await?;
                return Ok(key);
            }
        }
        Err(Problem::new(1, format!("audit: s3://{}/{wanted} and {MOST_ALIKE} more are taken", self.bucket)))
    }

    /// Was this audit written by the same execution, before its worker died?
    async fn is_of(&self, key: &str, audit: &Audit) -> Result<bool, Problem> {
        let answer = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let body = match answer {
            Ok(answer) => answer.body.collect().await.map(|bytes| bytes.to_vec()).unwrap_or_default(),
            // Without the right to read, an audit of the same key is somebody else's: ours gets a key of its own.
            Err(error) => match CallError::new(&error, "s3:GetObject", key).fault {
                Fault::Denied | Fault::Absent => return Ok(false),
                _ => return Err(self.failed(&CallError::new(&error, "s3:GetObject", self.place(key)))),
            },
        };
        let past = reader::read(&String::from_utf8_lossy(&body));
        Ok(past.is_ok_and(|past| past.execution == audit.execution.as_str()))
    }

    /// Writes an object if there is none; false where there is one.
    async fn put_new(&self, key: &str, text: &str, kind: &str) -> Result<bool, Problem> {
        let call = self.client.put_object().bucket(&self.bucket).key(key).if_none_match("*");
        let body = ByteStream::from(text.as_bytes().to_vec());
        match call.content_type(kind).body(body).send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let error = CallError::new(&error, "s3:PutObject", self.place(key));
                if error.status == Some(412) { Ok(false) } else { Err(self.failed(&error)) }
            }
        }
    }

    /// Writes what [`crate::check`] writes.
    ///
    /// # Errors
    /// The bucket is not there, or may not be written.
    pub async fn probe(&self, key: &str) -> Result<(), Problem> {
        self.put_new(key, "connectivity test\n", "text/plain").await.map(drop)
    }

    fn place(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn failed(&self, error: &CallError) -> Problem {
        let hint = if error.is_no_such_bucket() { "; check executionDigest.bucketName" } else { "" };
        Problem::new(error.fault.exit_code(), format!("audit: {error}{hint}"))
    }
}

/// Pure: the key of the nth audit that would have this key.
fn numbered(key: &str, number: u32) -> String {
    match (number, key.strip_suffix(".yml")) {
        (2.., Some(stem)) => format!("{stem}-{number}.yml"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_audits_that_would_be_the_same_are_numbered() {
        let keys: Vec<_> = (1..=3).map(|number| numbered("builds/a.json/t/0123456.yml", number)).collect();
        let expected =
            ["builds/a.json/t/0123456.yml", "builds/a.json/t/0123456-2.yml", "builds/a.json/t/0123456-3.yml"];
        assert_eq!(keys, expected);
        assert_eq!(details::key_of(&keys[1]), "builds/a.json/t/0123456-2.details.json");
    }
}
