//! The policies in force, read back from moto and kept until something is written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::ACCOUNT;
use super::answer::text_of;
use super::upstream::Upstream;
use crate::iam::policy::Policy;

/// What a role may do.
#[derive(Debug, Default)]
pub struct Role {
    /// Its ARN, with its path.
    pub arn: String,
    /// Inline and attached policies.
    pub policies: Vec<Policy>,
    /// How many of them are the template's own: the first ones. The others are managed by AWS.
    pub own: usize,
    /// The permissions boundary.
    pub boundary: Option<Policy>,
    /// Who may assume it.
    pub trust: Option<Policy>,
}

/// What decides about a bucket's objects.
#[derive(Debug)]
pub struct Bucket {
    /// Where it lies.
    pub region: String,
    /// Its policy.
    pub policy: Option<Policy>,
    /// The default encryption: `AES256` or `aws:kms`.
    pub algorithm: String,
    /// The default key, for `aws:kms`.
    pub key: Option<String>,
    /// ACLs are off (`BucketOwnerEnforced`).
    pub owner_enforced: bool,
}

/// A KMS key and its policy.
#[derive(Debug)]
pub struct Key {
    /// Its ARN.
    pub arn: String,
    /// Its policy.
    pub policy: Policy,
}

#[derive(Debug, Default)]
struct Kept {
    roles: HashMap<String, Arc<Role>>,
    buckets: HashMap<String, Option<Arc<Bucket>>>,
    keys: HashMap<(String, String), Option<Arc<Key>>>,
}

/// All policies, by what they belong to.
#[derive(Debug)]
pub struct Policies {
    upstream: Upstream,
    kept: Mutex<Kept>,
    /// Counts what was written: an answer that moto gave before a write is not kept after it.
    written: AtomicU64,
}

impl Policies {
    /// Nothing kept yet.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, kept: Mutex::default(), written: AtomicU64::new(0) }
    }

    /// Forgets everything: some policy may have changed.
    pub fn forget(&self) {
        self.written.fetch_add(1, Ordering::SeqCst);
        *self.lock() = Kept::default();
    }

    /// A role's policies; a role that does not exist has none.
    ///
    /// # Errors
    /// When moto does not answer or a policy is malformed.
    pub async fn role(&self, name: &str) -> Result<Arc<Role>> {
        if let Some(role) = self.lock().roles.get(name) {
            return Ok(Arc::clone(role));
        }
        let before = self.written.load(Ordering::SeqCst);
        let role = Arc::new(self.read_role(name).await?);
        self.keep(before, |kept| kept.roles.insert(name.to_owned(), Arc::clone(&role)));
        Ok(role)
    }

    /// A bucket's policy and encryption; none when there is no such bucket.
    ///
    /// # Errors
    /// As [`Policies::role`].
    pub async fn bucket(&self, name: &str) -> Result<Option<Arc<Bucket>>> {
        if let Some(bucket) = self.lock().buckets.get(name) {
            return Ok(bucket.clone());
        }
        let before = self.written.load(Ordering::SeqCst);
        let bucket = self.read_bucket(name).await?.map(Arc::new);
        self.keep(before, |kept| kept.buckets.insert(name.to_owned(), bucket.clone()));
        Ok(bucket)
    }

    /// A key by id, ARN or alias; none when there is no such key.
    ///
    /// # Errors
    /// As [`Policies::role`].
    pub async fn key(&self, id: &str, region: &str) -> Result<Option<Arc<Key>>> {
        let place = (region.to_owned(), id.to_owned());
        if let Some(key) = self.lock().keys.get(&place) {
            return Ok(key.clone());
        }
        let before = self.written.load(Ordering::SeqCst);
        let key = self.read_key(id, region).await?.map(Arc::new);
        self.keep(before, |kept| kept.keys.insert(place, key.clone()));
        Ok(key)
    }

    fn keep<T>(&self, before: u64, insert: impl FnOnce(&mut Kept) -> T) {
        let mut kept = self.lock();
        if self.written.load(Ordering::SeqCst) == before {
            insert(&mut kept);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn iam(&self, action: &str, params: &[(&str, &str)]) -> Result<Value> {
        let mut form = vec![("Action", action), ("Version", "2010-05-08")];
        form.extend(params);
        let answer = self.upstream.query("iam", "us-east-1", &form).await?;
        Ok(answer[format!("{action}Response")][format!("{action}Result")].clone())
    }

    async fn read_role(&self, name: &str) -> Result<Role> {
        let of_role = [("RoleName", name)];
        let Ok(found) = self.iam("GetRole", &of_role).await else {
            return Ok(Role::default());
        };
        let found = &found["Role"];
        let mut role = Role {
            arn: text(&found["Arn"]).to_owned(),
            trust: Some(document(name, text(&found["AssumeRolePolicyDocument"]))?),
            ..Role::default()
        };
        let inline = self.iam("ListRolePolicies", &of_role).await?;
        for policy in texts(&inline["PolicyNames"]) {
            let read = [("RoleName", name), ("PolicyName", policy)];
            let read = self.iam("GetRolePolicy", &read).await?;
            role.policies.push(document(policy, text(&read["PolicyDocument"]))?);
        }
        let attached = self.iam("ListAttachedRolePolicies", &of_role).await?;
        let arns = attached["AttachedPolicies"].as_array().into_iter().flatten();
        let (of_aws, own): (Vec<&str>, Vec<&str>) =
            arns.map(|policy| text(&policy["PolicyArn"])).partition(|arn| arn.contains("::aws:policy/"));
        for arn in own {
            role.policies.push(self.managed(arn).await?);
        }
        role.own = role.policies.len();
        for arn in of_aws {
            role.policies.push(self.managed(arn).await?);
        }
        if let Some(arn) = found["PermissionsBoundary"]["PermissionsBoundaryArn"].as_str() {
            role.boundary = Some(self.managed(arn).await?);
        }
        Ok(role)
    }

    async fn managed(&self, arn: &str) -> Result<Policy> {
        let policy = self.iam("GetPolicy", &[("PolicyArn", arn)]).await?;
        let version = text(&policy["Policy"]["DefaultVersionId"]).to_owned();
        let read = [("PolicyArn", arn), ("VersionId", &version)];
        let read = self.iam("GetPolicyVersion", &read).await?;
        let name = arn.rsplit('/').next().unwrap_or(arn);
        document(name, text(&read["PolicyVersion"]["Document"]))
    }

    async fn read_bucket(&self, name: &str) -> Result<Option<Bucket>> {
        let ask = |what: &'static str| self.upstream.s3(Method::GET, format!("/{name}?{what}"));
        let (status, headers, _) = self.upstream.s3(Method::HEAD, format!("/{name}")).await?;
        if !status.is_success() {
            return Ok(None);
        }
        let region =
            headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok()).unwrap_or("us-east-1");
        let (status, _, body) = ask("policy").await?;
        let policy = match status.is_success() {
            true => Some(document(name, &String::from_utf8_lossy(&body))?),
            false => None,
        };
        let (_, _, body) = ask("encryption").await?;
        let encryption = String::from_utf8_lossy(&body).into_owned();
        let (_, _, body) = ask("ownershipControls").await?;
        let ownership = text_of(&String::from_utf8_lossy(&body), "ObjectOwnership");
        Ok(Some(Bucket {
            region: region.to_owned(),
            policy,
            algorithm: text_of(&encryption, "SSEAlgorithm").unwrap_or_else(|| "AES256".into()),
            key: text_of(&encryption, "KMSMasterKeyID"),
            // What AWS gives a bucket that does not say: since April 2023 ACLs are off.
            owner_enforced: ownership.is_none_or(|ownership| ownership == "BucketOwnerEnforced"),
        }))
    }

    async fn read_key(&self, id: &str, region: &str) -> Result<Option<Key>> {
        let asked = json!({"KeyId": id});
        let found = match self.upstream.json("kms", region, "TrentService.DescribeKey", &asked).await {
            Ok(found) => found,
            Err(error) if error.to_string().contains("NotFoundException") => return Ok(None),
            Err(error) => return Err(error),
        };
        let arn = text(&found["KeyMetadata"]["Arn"]).to_owned();
        if let Some(service) = id.strip_prefix("alias/aws/") {
            let policy = Policy::read(id, &aws_managed(service, region)).map_err(|fault| anyhow!(fault))?;
            return Ok(Some(Key { arn, policy }));
        }
        let asked = json!({"KeyId": arn, "PolicyName": "default"});
        let read = self.upstream.json("kms", region, "TrentService.GetKeyPolicy", &asked).await?;
        let policy = document(&arn, text(&read["Policy"]))?;
        Ok(Some(Key { arn, policy }))
    }
}

/// The policy of the keys `aws/s3`, `aws/ssm`, …: everybody in the account, through that service.
fn aws_managed(service: &str, region: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Resource": "*",
         "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
         "Condition": {"StringEquals": {
            "kms:CallerAccount": ACCOUNT,
            "kms:ViaService": format!("{service}.{region}.amazonaws.com")}}},
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Resource": "*",
         "Action": ["kms:Describe*", "kms:Get*", "kms:List*"]}
    ]})
}

/// A policy document as IAM hands it out (percent-encoded), or as plain JSON.
fn document(name: &str, document: &str) -> Result<Policy> {
    let decoded = if document.starts_with('%') {
        percent_decode_str(document).decode_utf8_lossy()
    } else {
        document.into()
    };
    let value: Value = serde_json::from_str(&decoded).with_context(|| format!("read the policy {name}"))?;
    Policy::read(name, &value).map_err(|fault| anyhow!("read the policy {name}: {fault}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
