//! Encryption as AWS does it: which key an object gets, and the KMS permissions that other services' calls need.

use anyhow::Result;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::call::{Call, header};
use super::needs::{Need, On};
use super::policies::Bucket;
use super::refusal::Refusal;
use crate::iam::context::Context;

/// S3's header for the kind of encryption.
const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
/// S3's header for the KMS key.
const KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");

/// The key that a written object gets. `--sse aws:kms` without a key is the key `aws/s3`, whatever the bucket's
/// default; without any header the bucket's default decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKey {
    /// Not KMS.
    None,
    /// A KMS key by id, ARN or alias.
    Kms(String),
}

impl ObjectKey {
    /// Reads the upload's headers against the bucket's default.
    pub fn of_upload(headers: &HeaderMap, bucket: &Bucket) -> Self {
        let asked = header(headers, ALGORITHM.as_str());
        let key = match &asked {
            Some(_) => header(headers, KEY.as_str()),
            None => bucket.key.clone(),
        };
        if asked.as_deref().unwrap_or(&bucket.algorithm) == "aws:kms" {
            Self::Kms(key.unwrap_or_else(|| "alias/aws/s3".into()))
        } else {
            Self::None
        }
    }
}

/// Whether an S3 action writes an object under a key of its own.
pub fn writes(action: &str) -> bool {
    matches!(action, "PutObject" | "CopyObject" | "CreateMultipartUpload" | "PostObject")
}

/// The permissions on its key that an upload needs, and the headers that tell moto the key AWS would take.
///
/// # Errors
/// When the key does not exist.
pub async fn upload(
    shared: &Shared,
    call: &Call,
    bucket: &Bucket,
    parts: &mut Parts,
) -> Result<Vec<Need>, Refusal> {
    let ObjectKey::Kms(id) = ObjectKey::of_upload(&parts.headers, bucket) else {
        let algorithm =
            header(&parts.headers, ALGORITHM.as_str()).unwrap_or_else(|| bucket.algorithm.clone());
        set(&mut parts.headers, ALGORITHM, &algorithm);
        return Ok(Vec::new());
    };
    let found = shared.policies.key(&id, &bucket.region).await;
    let key = found.map_err(|error| Refusal::undecided(&error))?.ok_or_else(|| {
        let message = format!("Invalid keyId '{id}'");
        Refusal::other("KMS.NotFoundException", StatusCode::BAD_REQUEST, message)
    })?;
    set(&mut parts.headers, ALGORITHM, "aws:kms");
    set(&mut parts.headers, KEY, &key.arn);
    let mut needs = vec![of_object(call, "kms:GenerateDataKey", &id)];
    if call.action == "CreateMultipartUpload" {
        needs.push(of_object(call, "kms:Decrypt", &id));
    }
    Ok(needs)
}

/// The permission on its key that reading an object needs.
///
/// # Errors
/// When moto does not answer.
pub async fn download(shared: &Shared, call: &Call, path: &str) -> Result<Option<Need>> {
    let (_, headers, _) = shared.upstream.s3(Method::HEAD, path.to_owned()).await?;
    let Some(arn) = header(&headers, KEY.as_str()) else {
        return Ok(None);
    };
    // The managed key is known by its alias: only so has it AWS's policy.
    let managed = shared.policies.key("alias/aws/s3", &call.region).await?;
    let id = if managed.is_some_and(|key| key.arn == arn) { "alias/aws/s3" } else { &arn };
    Ok(Some(of_object(call, "kms:Decrypt", id)))
}

/// The permissions on their keys that calls of other services need.
///
/// # Errors
/// When moto does not answer.
pub async fn implied(shared: &Shared, call: &Call) -> Result<Vec<Need>> {
    match (call.service.as_str(), call.action.as_str()) {
        ("secretsmanager", "GetSecretValue" | "PutSecretValue" | "UpdateSecret") => {
            secret(shared, call).await
        }
        ("secretsmanager", "CreateSecret") => {
            let customer = call.field("KmsKeyId").filter(|key| !key.contains("alias/aws/"));
            let actions = ["kms:GenerateDataKey", "kms:Decrypt"];
            Ok(customer
                .map_or_else(Vec::new, |key| actions.map(|action| via(call, action, key, None)).into()))
        }
        ("ssm", "GetParameter" | "GetParameters") if call.json["WithDecryption"] == true => {
            parameters(shared, call).await
        }
        ("ssm", "PutParameter") if call.field("Type") == Some("SecureString") => {
            let customer = call.field("KeyId").filter(|key| !key.contains("alias/aws/"));
            Ok(customer.map(|key| via(call, "kms:Encrypt", key, None)).into_iter().collect())
        }
        _ => Ok(Vec::new()),
    }
}

async fn secret(shared: &Shared, call: &Call) -> Result<Vec<Need>> {
    let asked = json!({"SecretId": call.field("SecretId")});
    let found =
        shared.upstream.json("secretsmanager", &call.region, "secretsmanager.DescribeSecret", &asked).await;
    let found = found.unwrap_or_default();
    let Some(key) = found["KmsKeyId"].as_str().filter(|key| !key.contains("alias/aws/")) else {
        return Ok(Vec::new());
    };
    let bound = found["ARN"].as_str().map(|arn| ("SecretARN", arn));
    let actions: &[&str] = match call.action.as_str() {
        "GetSecretValue" => &["kms:Decrypt"],
        _ => &["kms:GenerateDataKey", "kms:Decrypt"],
    };
    Ok(actions.iter().map(|action| via(call, action, key, bound)).collect())
}

async fn parameters(shared: &Shared, call: &Call) -> Result<Vec<Need>> {
    let names = call.json.get("Names").cloned().unwrap_or_else(|| json!([call.field("Name")]));
    let asked = json!({"ParameterFilters": [{"Key": "Name", "Values": names}]});
    let found = shared.upstream.json("ssm", &call.region, "AmazonSSM.DescribeParameters", &asked).await?;
    let listed = found["Parameters"].as_array().into_iter().flatten();
    Ok(listed
        .filter(|parameter| parameter["Type"] == "SecureString")
        .filter_map(|parameter| parameter["KeyId"].as_str())
        .filter(|key| !key.contains("alias/aws/"))
        .map(|key| via(call, "kms:Decrypt", key, None))
        .collect())
}

fn of_object(call: &Call, action: &str, key: &str) -> Need {
    let object = format!(
        "arn:aws:s3:::{}/{}",
        call.bucket.as_deref().unwrap_or_default(),
        call.key.as_deref().unwrap_or_default()
    );
    via(call, action, key, Some(("aws:s3:arn", &object)))
}

/// A permission on a key that the call's service uses in the caller's name.
fn via(call: &Call, action: &str, key: &str, bound: Option<(&str, &str)>) -> Need {
    let mut context = Context::default();
    context.set("kms:ViaService", format!("{}.{}.amazonaws.com", call.service, call.region));
    if let Some((name, value)) = bound {
        context.set(&format!("kms:EncryptionContext:{name}"), value);
        context.set_all("kms:EncryptionContextKeys", vec![name.to_owned()]);
    }
    Need { action: action.to_owned(), on: On::Key(key.to_owned()), context }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a JSON body asks for something that a policy may depend on, so that kept policies are forgotten.
pub fn changes_policies(call: &Call) -> bool {
    let reads = ["Get", "List", "Describe", "Head", "Simulate"];
    match call.service.as_str() {
        "iam" | "cloudformation" => !reads.iter().any(|verb| call.action.starts_with(verb)),
        "kms" => {
            ["PutKeyPolicy", "CreateAlias", "UpdateAlias", "DeleteAlias", "ScheduleKeyDeletion", "CreateKey"]
                .contains(&call.action.as_str())
        }
        "s3" => call.key.is_none() && !reads.iter().any(|verb| call.action.starts_with(verb)),
        _ => call.json != Value::Null && call.action.ends_with("ResourcePolicy"),
    }
}
