//! Which permissions a call needs: IAM actions, what they are about, and the condition keys that the call sets.
//! From the Service Authorization Reference; for actions it does not name here, the API's name on `*`.

use http::HeaderMap;

use super::ACCOUNT;
use super::call::{Call, header};
use crate::iam::context::Context;

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// `service:Action`.
    pub action: String,
    /// What it is about.
    pub on: On,
    /// Condition keys of this call.
    pub context: Context,
}

/// What a permission is about; all but ARNs are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// An ARN, or `*`.
    Arn(String),
    /// A bucket or object, with the bucket's policy.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: Option<String>,
    },
    /// An Auto Scaling group by name.
    Group(String),
    /// The group of an instance.
    GroupOf(String),
    /// A KMS key by id, ARN or alias, with its policy.
    Key(String),
    /// A secret by name or ARN.
    Secret(String),
    /// A stack by name or ARN.
    Stack(String),
    /// A role by ARN or name, with its trust policy.
    RoleTrust(String),
}

/// The permissions that a call needs.
#[must_use]
pub fn needs(call: &Call, headers: &HeaderMap) -> Vec<Need> {
    if call.service == "s3" {
        return s3(call, headers);
    }
    let mut context = Context::default();
    context.set_some("cloudwatch:namespace", call.field("Namespace"));
    context.set_some("secretsmanager:SecretId", call.field("SecretId"));
    context.set_some("secretsmanager:VersionStage", call.field("VersionStage"));
    if let Some(fields) = call.json.get("EncryptionContext").and_then(serde_json::Value::as_object) {
        for (name, value) in fields {
            context.set_some(&format!("kms:EncryptionContext:{name}"), value.as_str());
        }
    }
    // An alias in the request is known by its name; the key behind it is the resource.
    if call.service == "kms" {
        let alias = call.field("KeyId").filter(|id| id.contains("alias/"));
        context.set_some(
            "kms:RequestAlias",
            alias.and_then(|id| id.rsplit_once(':').map_or(Some(id), |(_, a)| Some(a))),
        );
    }
    let action = format!("{}:{}", call.service, iam_name(&call.action));
    let mut needs: Vec<Need> = targets(call)
        .into_iter()
        .map(|on| Need { action: action.clone(), on, context: context.clone() })
        .collect();
    if action == "ecr-public:GetAuthorizationToken" {
        needs.push(bearer_token("ecr-public.amazonaws.com"));
    }
    needs
}

/// Tokens of some services are made by STS, on the caller's own right to them.
fn bearer_token(service: &str) -> Need {
    let mut context = Context::default();
    context.set("sts:AWSServiceName", service);
    Need { action: "sts:GetServiceBearerToken".to_owned(), on: On::Arn("*".to_owned()), context }
}

/// IAM's name of an API action.
fn iam_name(action: &str) -> &str {
    match action {
        "Invoke" => "InvokeFunction",
        other => other,
    }
}

fn targets(call: &Call) -> Vec<On> {
    let (region, field) = (&call.region, |name: &str| call.field(name));
    let arn =
        |service: &str, resource: &str| On::Arn(format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}"));
    let everything = || On::Arn("*".into());
    let listed = ["Describe", "List"].iter().any(|verb| call.action.starts_with(verb));
    let one = match call.service.as_str() {
        "autoscaling" if !listed => field("AutoScalingGroupName")
            .map(|name| On::Group(name.into()))
            .or_else(|| field("InstanceId").map(|id| On::GroupOf(id.into()))),
        "cloudformation" => field("StackName").map(|name| On::Stack(name.into())),
        "kms" => key_of(call).map(On::Key),
        "secretsmanager" => field("SecretId")
            .map(|id| On::Secret(id.into()))
            .or_else(|| field("Name").map(|name| arn("secretsmanager", &format!("secret:{name}-??????")))),
        "ssm" => {
            return parameters(call)
                .iter()
                .map(|name| arn("ssm", &format!("parameter/{}", name.trim_start_matches('/'))))
                .collect();
        }
        "logs" => field("logGroupName").map(|group| match call.action.as_str() {
            "CreateLogGroup" => arn("logs", &format!("log-group:{group}")),
            _ => arn(
                "logs",
                &format!("log-group:{group}:log-stream:{}", field("logStreamName").unwrap_or_default()),
            ),
        }),
        "ecr" => field("repositoryName").map(|name| arn("ecr", &format!("repository/{name}"))),
        "dynamodb" => field("TableName").map(|name| arn("dynamodb", &format!("table/{name}"))),
        "sqs" => field("QueueUrl").and_then(|url| url.rsplit('/').next()).map(|name| arn("sqs", name)),
        "lambda" => call.key.as_deref().map(|name| match name.starts_with("arn:") {
            true => On::Arn(name.into()),
            false => arn("lambda", &format!("function:{name}")),
        }),
        "sts" => field("RoleArn").map(|role| On::RoleTrust(role.into())),
        "iam" => field("RoleName").map(|name| On::Arn(format!("arn:aws:iam::{ACCOUNT}:role/{name}"))),
        _ => None,
    };
    vec![one.unwrap_or_else(everything)]
}

/// The key of a KMS call; a ciphertext of moto's begins with its key's id.
fn key_of(call: &Call) -> Option<String> {
    use base64::Engine;
    if let Some(id) = call.field("KeyId").or_else(|| call.field("TargetKeyId")) {
        return Some(id.to_owned());
    }
    let sealed = base64::engine::general_purpose::STANDARD.decode(call.field("CiphertextBlob")?).ok()?;
    String::from_utf8(sealed.get(..36)?.to_vec()).ok()
}

fn parameters(call: &Call) -> Vec<String> {
    let listed = call.json.get("Names").and_then(serde_json::Value::as_array);
    match listed {
        Some(names) => names.iter().filter_map(serde_json::Value::as_str).map(str::to_owned).collect(),
        None => vec![call.field("Name").or_else(|| call.field("Path")).unwrap_or("*").to_owned()],
    }
}

fn s3(call: &Call, headers: &HeaderMap) -> Vec<Need> {
    let mut context = Context::default();
    for name in [
        "x-amz-acl",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-storage-class",
    ] {
        context.set_some(&format!("s3:{name}"), header(headers, name));
    }
    for name in ["prefix", "delimiter", "max-keys"] {
        context.set_some(&format!("s3:{name}"), call.params.get(name));
    }
    let need = |action: &str, bucket: &str, key: Option<&str>| Need {
        action: format!("s3:{action}"),
        on: On::S3 { bucket: bucket.to_owned(), key: key.map(str::to_owned) },
        context: context.clone(),
    };
    let Some(bucket) = call.bucket.as_deref() else {
        return vec![Need { action: "s3:ListAllMyBuckets".into(), on: On::Arn("*".into()), context }];
    };
    let key = call.key.as_deref();
    let mut found = vec![need(
        s3_name(&call.action),
        bucket,
        if call.action == "DeleteObjects" { Some("*") } else { key },
    )];
    if let Some(source) = header(headers, "x-amz-copy-source") {
        let source = percent_encoding::percent_decode_str(source.trim_start_matches('/')).decode_utf8_lossy();
        if let Some((bucket, key)) = source.split_once('/') {
            let key = key.split_once("?versionId=").map_or(key, |(key, _)| key);
            found.push(need("GetObject", bucket, Some(key)));
        }
    }
    if s3_name(&call.action) == "PutObject" {
        for (name, action) in [("x-amz-acl", "PutObjectAcl"), ("x-amz-tagging", "PutObjectTagging")] {
            if headers.contains_key(name) {
                found.push(need(action, bucket, key));
            }
        }
    }
    found
}

/// IAM's name of an S3 API action.
fn s3_name(action: &str) -> &str {
    match action {
        "HeadObject" => "GetObject",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "ListBucket",
        "ListObjectVersions" => "ListBucketVersions",
        "DeleteObjects" => "DeleteObject",
        "CopyObject"
        | "UploadPart"
        | "UploadPartCopy"
        | "CreateMultipartUpload"
        | "CompleteMultipartUpload"
        | "PostObject" => "PutObject",
        "ListParts" => "ListMultipartUploadParts",
        "ListMultipartUploads" => "ListBucketMultipartUploads",
        "GetBucketEncryption" => "GetEncryptionConfiguration",
        "PutBucketEncryption" | "DeleteBucketEncryption" => "PutEncryptionConfiguration",
        "GetPublicAccessBlock" => "GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => "PutBucketPublicAccessBlock",
        "GetBucketLifecycleConfiguration" => "GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => "PutLifecycleConfiguration",
        "GetBucketNotificationConfiguration" => "GetBucketNotification",
        "PutBucketNotificationConfiguration" => "PutBucketNotification",
        "DeleteBucketOwnershipControls" => "PutBucketOwnershipControls",
        other => other,
    }
}
