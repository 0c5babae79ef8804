//! Asks AWS, the CI, the disk and the clock. Decides nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::client::ApiError;
use agent_api::metrics::MetricsClient;
use aws::session::{Patience, Session};
use aws::{CallError, Fault};
use jiff::Timestamp;

use super::settings::Settings;
use crate::layout::Layout;

/// Someone sits and waits: shorter than what jobs wait.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    attempt: Duration::from_secs(5),
    operation: Duration::from_secs(12),
    attempts: 2,
};

/// Who AWS takes this instance for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The role's or user's ARN.
    pub arn: String,
    /// The region that calls go to.
    pub region: String,
}

/// A KMS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's own ARN, also where an alias was asked for.
    pub arn: String,
    /// `Enabled`, `Disabled`, `PendingDeletion`, …
    pub state: String,
    /// Is it enabled?
    pub usable: bool,
}

/// What reading one object of the bucket came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadObject {
    /// Read.
    Read {
        /// The object's key.
        key: String,
        /// How it is encrypted, for people.
        encryption: String,
    },
    /// The bucket is empty, or none is configured.
    NothingThere,
}

/// Room on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the agents' user may still use.
    pub bytes: u64,
    /// Inodes left; `None` where the file system knows no limit.
    pub inodes: Option<u64>,
}

/// Two clocks at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockAnswer {
    /// Whose the other one is.
    pub of: String,
    /// The other one, exact to a second.
    pub there: Timestamp,
    /// This machine's, in the middle of the question.
    pub here: Timestamp,
}

/// Region and credentials.
///
/// # Errors
/// [`Fault::Invalid`] when no region is known.
pub async fn session(settings: &Settings) -> Result<Session, CallError> {
    let loaded = Session::load(settings.region.as_deref(), PATIENCE).await;
    loaded.map_err(|fault| CallError {
        fault: Fault::Invalid,
        operation: "region",
        resource: "this instance".to_owned(),
        code: None,
        status: None,
        bucket_region: None,
        detail: fault.to_string(),
    })
}

/// Who this instance is to AWS.
///
/// # Errors
/// Why AWS does not say.
pub async fn identity(session: Result<&Session, &CallError>) -> Result<Caller, CallError> {
    let session = session.map_err(Clone::clone)?;
    let answer = session.sts().get_caller_identity().send().await;
    let answer = answer.map_err(|e| CallError::new(&e, "sts:GetCallerIdentity", "this instance"))?;
    Ok(Caller { arn: answer.arn().unwrap_or_default().to_owned(), region: session.region().to_owned() })
}

/// Lists the bucket, one key at most.
///
/// # Errors
/// Why it cannot be listed.
pub async fn bucket(session: Result<&Session, &CallError>, settings: &Settings) -> Result<(), CallError> {
    first_object(session, settings).await.map(|_| ())
}

async fn first_object(
    session: Result<&Session, &CallError>,
    settings: &Settings,
) -> Result<Option<String>, CallError> {
    let session = session.map_err(Clone::clone)?;
    let Some(bucket) = &settings.bucket else { return Ok(None) };
    let answer = in_bucket_region(session, settings).s3().list_objects_v2().bucket(bucket).max_keys(1).send();
    let answer = answer.await.map_err(|e| CallError::new(&e, "s3:ListBucket", format!("s3://{bucket}")))?;
    Ok(answer.contents().first().and_then(|object| object.key()).map(str::to_owned))
}

/// Reads one byte of one object. Only so is it known whether this role may decrypt: a right to use the key only
/// through S3, as the stack's role has it, cannot be tried at KMS itself.
///
/// # Errors
/// [`Fault::DeniedByKey`] when the key is refused.
pub async fn readable_object(
    session: Result<&Session, &CallError>,
    settings: &Settings,
) -> Result<ReadObject, CallError> {
    let Some(key) = first_object(session, settings).await? else { return Ok(ReadObject::NothingThere) };
    let (Some(bucket), Ok(session)) = (&settings.bucket, session) else {
        return Ok(ReadObject::NothingThere);
    };
    let s3 = in_bucket_region(session, settings).s3();
    let answer = s3.get_object().bucket(bucket).key(&key).range("bytes=0-0").send().await;
    let resource = format!("s3://{bucket}/{key}");
    let encryption = match answer {
        Ok(answer) => {
            let kind = answer.server_side_encryption().map(|e| e.as_str().to_owned());
            let key = answer.ssekms_key_id().map(|id| format!(" under {id}")).unwrap_or_default();
            format!("{}{key}", kind.as_deref().unwrap_or("not encrypted"))
        }
        Err(error) => match CallError::new(&error, "s3:GetObject", resource) {
            // An empty object has no first byte, and was decrypted all the same.
            error if error.status == Some(416) => "empty".to_owned(),
            error => return Err(error),
        },
    };
    Ok(ReadObject::Read { key, encryption })
}

fn in_bucket_region(session: &Session, settings: &Settings) -> Session {
    settings.bucket_region.as_deref().map_or_else(|| session.clone(), |region| session.in_region(region))
}

/// Looks the key up, an alias too.
///
/// # Errors
/// Why KMS does not say.
pub async fn key(session: Result<&Session, &CallError>, settings: &Settings) -> Result<Key, CallError> {
    let session = session.map_err(Clone::clone)?;
    let name = settings.kms_key.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Ok(Key { arn: String::new(), state: String::new(), usable: true });
    }
    let answer = in_bucket_region(session, settings).kms().describe_key().key_id(name).send().await;
    let answer = answer.map_err(|e| CallError::new(&e, "kms:DescribeKey", name))?;
    let data = answer.key_metadata();
    Ok(Key {
        arn: data.and_then(|d| d.arn()).unwrap_or(name).to_owned(),
        state: data.and_then(|d| d.key_state()).map_or("unknown", |s| s.as_str()).to_owned(),
        usable: data.is_some_and(|d| d.enabled()),
    })
}

/// Asks the CI for the queue's counts with the agents' token: changes nothing there.
///
/// # Errors
/// What the CI answered.
pub async fn ci(settings: &Settings) -> Result<(), ApiError> {
    let (Some(endpoint), Some(token)) = (&settings.endpoint, &settings.token) else { return Ok(()) };
    let client = MetricsClient::new(endpoint, token.clone(), Duration::from_secs(10))?;
    client.queue(settings.queue.as_deref().unwrap_or("default")).await.map(|_| ())
}

/// The disk that jobs fill first: Docker's where there is one, else the builds'.
pub fn disk(layout: &Layout) -> (PathBuf, Result<Room, String>) {
    let docker = layout.root().join("var/lib/docker");
    let path = if docker.is_dir() { docker } else { existing(&layout.builds()) };
    let room = nix::sys::statvfs::statvfs(&path).map_err(|fault| fault.to_string()).map(|found| Room {
        bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        inodes: (found.files() > 0).then(|| found.files_available()),
    });
    (path, room)
}

/// The nearest folder that is there: before the first job there are no builds.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|folder| folder.is_dir()).unwrap_or(path).to_owned()
}

/// Compares this clock with the `Date` header of AWS's STS, which answers anybody.
///
/// # Errors
/// Why there is nothing to compare with.
pub async fn clock(settings: &Settings, session: Option<&Session>) -> Result<ClockAnswer, String> {
    let url = match (&settings.aws_endpoint, session) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(session)) => format!("https://sts.{}.{}/", session.region(), suffix(session.region())),
        (None, None) => return Err("no region is known".to_owned()),
    };
    // Ignored when this process has one already: which one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().timeout(Duration::from_secs(5)).build().map_err(|e| e.to_string())?;
    let before = Timestamp::now();
    let answer = client.head(&url).send().await.map_err(|e| format!("{url}: {}", e.without_url()))?;
    let here = before + Timestamp::now().duration_since(before) / 2;
    let date = answer.headers().get(reqwest::header::DATE).and_then(|d| d.to_str().ok());
    let there = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok()).ok_or("the answer has no date")?;
    let of = reqwest::Url::parse(&url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or(url);
    Ok(ClockAnswer { of, there: there.timestamp(), here })
}

fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    fn settings(aws_endpoint: Option<String>) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        Settings { aws_endpoint, ..Settings::read(&Layout::below(dir.path()), &|_| None) }
    }

    #[tokio::test]
    async fn the_other_clock_is_the_answers_date() {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(403).insert_header("date", "Sat, 21 Nov 2026 10:00:00 GMT");
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let seen = clock(&settings(Some(server.uri())), None).await.unwrap();
        assert_eq!(seen.there, "2026-11-21T10:00:00Z".parse().unwrap());
        assert!(clock(&settings(None), None).await.is_err());
        assert!(clock(&settings(Some("http://127.0.0.1:1".into())), None).await.is_err());
    }

    #[test]
    fn the_disk_is_measured_even_before_the_first_build() {
        let dir = tempfile::tempdir().unwrap();
        let (path, room) = disk(&Layout::below(dir.path()));
        assert_eq!(path, dir.path());
        assert!(room.unwrap().bytes > 0);
    }
}
