//! S3's actions by method, path and query (the API's REST forms, path style).

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::autoscaling::Params;

/// What an S3 request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The API action.
    pub action: &'static str,
    /// The bucket, unless all buckets are listed.
    pub bucket: Option<String>,
    /// The object's key, decoded.
    pub key: Option<String>,
}

/// Sub-resources of a bucket: the query parameter, and the actions of GET, PUT and DELETE.
const BUCKET: [(&str, [&str; 3]); 14] = [
    ("policy", ["GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"]),
    ("encryption", ["GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption"]),
    (
        "ownershipControls",
        ["GetBucketOwnershipControls", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls"],
    ),
    ("publicAccessBlock", ["GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock"]),
    ("tagging", ["GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"]),
    (
        "lifecycle",
        ["GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"],
    ),
    ("versioning", ["GetBucketVersioning", "PutBucketVersioning", ""]),
    ("location", ["GetBucketLocation", "", ""]),
    ("acl", ["GetBucketAcl", "PutBucketAcl", ""]),
    ("logging", ["GetBucketLogging", "PutBucketLogging", ""]),
    ("notification", ["GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", ""]),
    ("policyStatus", ["GetBucketPolicyStatus", "", ""]),
    ("versions", ["ListObjectVersions", "", ""]),
    ("uploads", ["ListMultipartUploads", "", ""]),
];

/// Reads an S3 request.
pub fn route(method: &Method, path: &str, query: &Params, headers: &HeaderMap) -> Route {
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let has = |name: &str| query.contains_key(name);
    let action = if bucket.is_empty() {
        "ListBuckets"
    } else if key.is_empty() {
        bucket_action(method, &has)
    } else {
        object_action(method, &has, headers)
    };
    Route {
        action,
        bucket: (!bucket.is_empty()).then(|| bucket.to_owned()),
        key: (!key.is_empty()).then(|| percent_decode_str(key).decode_utf8_lossy().into_owned()),
    }
}

fn bucket_action(method: &Method, has: &dyn Fn(&str) -> bool) -> &'static str {
    let column = match *method {
        Method::PUT => 1,
        Method::DELETE => 2,
        _ => 0,
    };
    if let Some((_, actions)) = BUCKET.iter().find(|(name, _)| has(name))
        && !actions[column].is_empty()
    {
        return actions[column];
    }
    match *method {
        Method::HEAD => "HeadBucket",
        Method::PUT => "CreateBucket",
        Method::DELETE => "DeleteBucket",
        Method::POST => "DeleteObjects",
        _ if has("list-type") => "ListObjectsV2",
        _ => "ListObjects",
    }
}

fn object_action(method: &Method, has: &dyn Fn(&str) -> bool, headers: &HeaderMap) -> &'static str {
    let copied = headers.contains_key("x-amz-copy-source");
    match *method {
        Method::GET if has("acl") => "GetObjectAcl",
        Method::GET if has("tagging") => "GetObjectTagging",
        Method::GET if has("uploadId") => "ListParts",
        Method::GET if has("attributes") => "GetObjectAttributes",
        Method::HEAD => "HeadObject",
        Method::PUT if has("uploadId") && copied => "UploadPartCopy",
        Method::PUT if has("uploadId") => "UploadPart",
        Method::PUT if has("acl") => "PutObjectAcl",
        Method::PUT if has("tagging") => "PutObjectTagging",
        Method::PUT if copied => "CopyObject",
        Method::PUT => "PutObject",
        Method::POST if has("uploads") => "CreateMultipartUpload",
        Method::POST if has("uploadId") => "CompleteMultipartUpload",
        Method::POST => "PostObject",
        Method::DELETE if has("uploadId") => "AbortMultipartUpload",
        Method::DELETE if has("tagging") => "DeleteObjectTagging",
        Method::DELETE => "DeleteObject",
        _ => "GetObject",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_path_and_query_name_the_action() {
        for (method, path, query, action) in [
            (Method::GET, "/", "", "ListBuckets"),
            (Method::GET, "/b?", "list-type", "ListObjectsV2"),
            (Method::GET, "/b/", "policy", "GetBucketPolicy"),
            (Method::PUT, "/b", "policy", "PutBucketPolicy"),
            (Method::PUT, "/b", "", "CreateBucket"),
            (Method::HEAD, "/b", "", "HeadBucket"),
            (Method::HEAD, "/b/k", "", "HeadObject"),
            (Method::PUT, "/b/k/l", "", "PutObject"),
            (Method::PUT, "/b/k", "uploadId", "UploadPart"),
            (Method::DELETE, "/b/k", "", "DeleteObject"),
            (Method::POST, "/b", "delete", "DeleteObjects"),
        ] {
            let query: Params = [(query.to_owned(), String::new())].into();
            let found = route(&method, path, &query, &HeaderMap::new());
            assert_eq!(found.action, action, "{method} {path}");
        }
    }
}
