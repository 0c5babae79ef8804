//! What S3 does and moto does not: regions, switched-off ACLs, keys' permissions, and who may learn that a key is
//! missing.

use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::answer::{Answer, escape};
use super::authorize::Asked;
use super::call::{self, Call};
use super::encryption;
use super::needs::{Need, On};
use super::policies::Bucket;
use super::refusal::Refusal;
use crate::iam::context::Context;

/// What to do with an S3 call once its own permissions are there.
pub(super) enum Next {
    /// Pass it to moto, with the headers set.
    Pass,
    /// Answer so.
    Answer(Answer),
}

/// Checks an S3 call before it goes to moto, and sets the encryption headers that AWS would imply.
///
/// # Errors
/// The refusal that AWS answers.
pub(super) async fn before(asked: &Asked<'_>, needs: &[Need], parts: &mut Parts) -> Result<Next, Refusal> {
    let (shared, call) = (asked.shared, asked.call);
    let bucket = match &call.bucket {
        Some(name) => shared.policies.bucket(name).await.map_err(|error| Refusal::undecided(&error))?,
        None => None,
    };
    // moto says NoSuchBucket, or makes the bucket; which of the lab's callers may do that is decided all the same.
    let Some(bucket) = bucket else {
        if call.bucket.is_none() || call.action == "CreateBucket" {
            for need in needs {
                asked.check(need).await?;
            }
        }
        return Ok(Next::Pass);
    };
    if bucket.region != call.region && call.action != "GetBucketLocation" {
        return Ok(Next::Answer(elsewhere(call, &bucket)));
    }
    for need in needs {
        asked.check(need).await?;
    }
    acl(call, &bucket, parts)?;
    if encryption::writes(&call.action) {
        for need in encryption::upload(shared, call, &bucket, parts).await? {
            asked.check(&need).await?;
        }
    }
    let source = call::header(&parts.headers, "x-amz-copy-source");
    let read = match (call.action.as_str(), source) {
        ("GetObject", _) => Some(parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()),
        ("CopyObject" | "UploadPartCopy", Some(source)) => {
            Some(format!("/{}", source.trim_start_matches('/')))
        }
        _ => None,
    };
    if let Some(path) = read {
        let need =
            encryption::download(shared, call, &path).await.map_err(|error| Refusal::undecided(&error))?;
        if let Some(need) = need {
            asked.check(&need).await?;
        }
    }
    Ok(Next::Pass)
}

/// A missing object is 404 only for those who may list the bucket.
///
/// # Errors
/// The refusal for the others.
pub(super) async fn after(asked: &Asked<'_>, answer: Answer) -> Result<Answer, Refusal> {
    let call = asked.call;
    let reads = matches!(
        call.action.as_str(),
        "GetObject" | "HeadObject" | "GetObjectTagging" | "GetObjectAttributes"
    );
    if let (StatusCode::NOT_FOUND, true, Some(bucket)) = (answer.status, reads, &call.bucket) {
        let exists = asked.shared.policies.bucket(bucket).await.ok().flatten().is_some();
        if exists {
            let list = Need {
                action: "s3:ListBucket".into(),
                on: On::S3 { bucket: bucket.clone(), key: None },
                context: Context::default(),
            };
            asked.check(&list).await?;
        }
    }
    Ok(answer)
}

/// A bucket whose ACLs are off takes only `bucket-owner-full-control`.
fn acl(call: &Call, bucket: &Bucket, parts: &Parts) -> Result<(), Refusal> {
    let named = call::header(&parts.headers, "x-amz-acl");
    let sets = matches!(call.action.as_str(), "PutObjectAcl" | "PutBucketAcl");
    let fits = match named.as_deref() {
        None => !sets,
        Some(acl) => acl == "bucket-owner-full-control",
    };
    if bucket.owner_enforced && !fits {
        let message = "The bucket does not allow ACLs";
        return Err(Refusal::other("AccessControlListNotSupported", StatusCode::BAD_REQUEST, message));
    }
    Ok(())
}

fn elsewhere(call: &Call, bucket: &Bucket) -> Answer {
    let name = call.bucket.as_deref().unwrap_or_default();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>PermanentRedirect</Code><Message>The bucket you are \
         attempting to access must be addressed using the specified endpoint. Please send all future requests to this \
         endpoint.</Message><Endpoint>{0}.s3.{1}.amazonaws.com</Endpoint><Bucket>{0}</Bucket></Error>",
        escape(name),
        bucket.region
    );
    let mut answer = Answer::new(StatusCode::MOVED_PERMANENTLY, "application/xml", body);
    if let Ok(region) = HeaderValue::from_str(&bucket.region) {
        answer.headers.insert("x-amz-bucket-region", region);
    }
    answer
}
