//! Permissions decided as AWS decides them, on objects in a real moto.

use crate::stage::{REGION, Stage};
use lab::endpoint::credentials::Credentials;
use serde_json::{Value, json};

/// A stage with a bucket `secrets` under its own key, and a role `agent` that may do what `statements` say.
struct Account {
    stage: Stage,
    key: String,
    agent: Credentials,
}

impl Account {
    async fn open(statements: Value) -> Self {
        let stage = Stage::up().await;
        let session = stage.session(stage.endpoint.admin()).await;
        let created = session.kms().create_key().send().await.unwrap();
        let key = created.key_metadata().unwrap().arn().unwrap().to_owned();
        bucket_under_key(&session.s3(), &key).await;
        let trust = trust(&json!({"Service": "ec2.amazonaws.com"}));
        let create = [("Action", "CreateRole"), ("RoleName", "agent"), ("AssumeRolePolicyDocument", &trust)];
        stage.iam(&create).await;
        let agent = stage.endpoint.mint_session("agent", "i-1");
        let account = Self { stage, key, agent };
        account.allow(statements).await;
        account
    }

    /// Gives the role these statements instead of what it had.
    async fn allow(&self, statements: Value) {
        let document = document(statements);
        let put = [
            ("Action", "PutRolePolicy"),
            ("RoleName", "agent"),
            ("PolicyName", "own"),
            ("PolicyDocument", &document),
        ];
        self.stage.iam(&put).await;
    }

    /// Uploads `text` with `aws s3 cp`, with these options, as the lab's user.
    async fn upload(&self, key: &str, options: &[&str]) -> crate::stage::Output {
        let file = self.stage.folder.path().join("file");
        std::fs::write(&file, "A=1\n").unwrap();
        let (from, to) = (file.to_string_lossy(), format!("s3://secrets/{key}"));
        let mut args = vec!["s3", "cp", &*from, &*to];
        args.extend(options);
        self.stage.aws(self.stage.endpoint.admin(), &args).await
    }

    /// Reads an object as the role.
    async fn read(&self, key: &str) -> Result<String, String> {
        let s3 = self.stage.session(&self.agent).await.s3();
        match s3.get_object().bucket("secrets").key(key).send().await {
            Ok(object) => Ok(String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    async fn key_of(&self, key: &str) -> String {
        let s3 = self.stage.session(self.stage.endpoint.admin()).await.s3();
        let head = s3.head_object().bucket("secrets").key(key).send().await.unwrap();
        head.ssekms_key_id().unwrap().to_owned()
    }
}

async fn bucket_under_key(s3: &aws::s3::Client, key: &str) {
    use aws::s3::types as t;
    let place = t::CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    s3.create_bucket().bucket("secrets").create_bucket_configuration(place).send().await.unwrap();
    let default = t::ServerSideEncryptionByDefault::builder()
        .sse_algorithm(t::ServerSideEncryption::AwsKms)
        .kms_master_key_id(key)
        .build()
        .unwrap();
    let rule =
        t::ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
    let encryption = t::ServerSideEncryptionConfiguration::builder().rules(rule).build().unwrap();
    let put = s3.put_bucket_encryption().bucket("secrets");
    put.server_side_encryption_configuration(encryption).send().await.unwrap();
}

/// What an SDK call was refused with.
fn refusal<T, E: std::fmt::Debug>(result: Result<T, E>) -> String {
    format!("{:?}", result.err().expect("it is refused"))
}

fn document(statements: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn trust(principal: &Value) -> String {
    document(json!([{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]))
}

fn read_bucket() -> Vec<Value> {
    vec![
        json!({"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::secrets"}),
        json!({"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectAcl"], "Resource": "arn:aws:s3:::secrets/*"}),
    ]
}

#[tokio::test]
async fn an_object_is_read_only_with_its_key() {
    let account = Account::open(json!(read_bucket())).await;
    account.upload("env", &["--sse", "aws:kms", "--sse-kms-key-id", &account.key]).await.ok();
    let denied = account.read("env").await.unwrap_err();
    let expected = format!("kms:Decrypt on resource: {} because no identity-based policy", account.key);
    assert!(denied.contains("AccessDenied") && denied.contains(&expected), "{denied}");

    let mut statements = read_bucket();
    statements
        .push(json!({"Sid": "Key", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": account.key,
        "Condition": {"StringEquals": {"kms:ViaService": format!("s3.{REGION}.amazonaws.com")}}}));
    account.allow(json!(statements)).await;
    assert_eq!(account.read("env").await.unwrap(), "A=1\n");

    // The key works only through S3, and a missing object is 404 only for those who may list.
    let kms = account.stage.session(&account.agent).await.kms();
    let sealed =
        aws::kms::primitives::Blob::new([account.key.rsplit('/').next().unwrap().as_bytes(), b"x"].concat());
    let direct = refusal(kms.decrypt().ciphertext_blob(sealed).send().await);
    assert!(direct.contains("AccessDeniedException") && direct.contains("kms:Decrypt"), "{direct}");
    let absent = account.read("absent").await.unwrap_err();
    assert!(absent.contains("NoSuchKey"), "{absent}");
    account.allow(json!(statements[1..])).await;
    let absent = account.read("absent").await.unwrap_err();
    assert!(absent.contains("s3:ListBucket"), "{absent}");

    let unused = account.stage.endpoint.unused_allows().await.unwrap();
    let unused: Vec<_> =
        unused.iter().map(|allow| (allow.statement.as_str(), allow.action.as_str())).collect();
    assert_eq!(unused, [("Read", "s3:GetObjectAcl")]);
    account.stage.down().await;
}

#[tokio::test]
async fn sse_kms_without_a_key_is_the_key_of_s3() {
    let account = Account::open(json!(read_bucket())).await;
    account.upload("by-default", &[]).await.ok();
    assert_eq!(account.key_of("by-default").await, account.key);
    account.upload("by-s3", &["--sse", "aws:kms"]).await.ok();
    let managed = account.key_of("by-s3").await;
    assert!(managed.starts_with("arn:aws:kms:") && managed != account.key, "{managed}");
    // Its policy lets everybody in the account use it through S3: no KMS permission is needed.
    assert_eq!(account.read("by-s3").await.unwrap(), "A=1\n");
    account.stage.down().await;
}

#[tokio::test]
async fn a_bucket_policy_binds_the_labs_user_too() {
    let account = Account::open(json!(read_bucket())).await;
    let session = account.stage.session(account.stage.endpoint.admin()).await;
    let key = "s3:x-amz-server-side-encryption-aws-kms-key-id";
    let policy = document(json!([
        {"Sid": "Plain", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::secrets/*"],
         "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "OtherKey", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::secrets/*",
         "Condition": {"Null": {key: "false"}, "StringNotEquals": {key: account.key}}},
    ]));
    session.s3().put_bucket_policy().bucket("secrets").policy(&policy).send().await.unwrap();
    let read = session.s3().get_bucket_policy().bucket("secrets").send().await.unwrap();
    assert_eq!(read.policy(), Some(policy.as_str()));
    account.upload("a", &["--sse", "aws:kms"]).await.ok();
    account.upload("a", &["--sse", "aws:kms", "--sse-kms-key-id", &account.key]).await.ok();
    let created = session.kms().create_key().send().await.unwrap();
    let other = created.key_metadata().unwrap().arn().unwrap();
    let refused = account.upload("a", &["--sse", "aws:kms", "--sse-kms-key-id", other]).await;
    assert!(refused.err().contains("with an explicit deny in a resource-based policy"), "{}", refused.err());
    // Without ownership controls a bucket has its ACLs switched off.
    let acl = account.upload("a", &["--acl", "private"]).await;
    assert!(acl.err().contains("AccessControlListNotSupported"), "{}", acl.err());
    account.stage.down().await;
}

#[tokio::test]
async fn secrets_parameters_metrics_and_groups_are_scoped() {
    let account = Account::open(json!(read_bucket())).await;
    let admin = account.stage.session(account.stage.endpoint.admin()).await;
    let made =
        admin.secretsmanager().create_secret().name("token").secret_string("t0k").kms_key_id(&account.key);
    let secret = made.send().await.unwrap().arn().unwrap().to_owned();
    let put = admin.ssm().put_parameter().name("/tidemark/token").value("p4r").key_id(&account.key);
    put.r#type(aws::ssm::types::ParameterType::SecureString).send().await.unwrap();
    let ssm = format!("arn:aws:ssm:{REGION}:123456789012:parameter/tidemark/*");
    let mut statements = vec![
        json!({"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret}),
        json!({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": ssm}),
        json!({"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*",
               "Condition": {"StringEquals": {"cloudwatch:namespace": "Buildkite"}}}),
    ];
    account.allow(json!(statements)).await;
    let agent = account.stage.session(&account.agent).await;
    let secret = || agent.secretsmanager().get_secret_value().secret_id("token").send();
    let parameter = || agent.ssm().get_parameter().name("/tidemark/token").with_decryption(true).send();
    for denied in [refusal(secret().await), refusal(parameter().await)] {
        assert!(denied.contains("AccessDeniedException") && denied.contains("kms:Decrypt"), "{denied}");
    }
    statements.push(json!({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": account.key}));
    account.allow(json!(statements)).await;
    assert_eq!(secret().await.unwrap().secret_string(), Some("t0k"));
    assert_eq!(parameter().await.unwrap().parameter().unwrap().value(), Some("p4r"));

    let datum = || aws::cloudwatch::types::MetricDatum::builder().metric_name("x").value(1.0).build();
    let metric =
        |namespace| agent.cloudwatch().put_metric_data().namespace(namespace).metric_data(datum()).send();
    metric("Buildkite").await.unwrap();
    assert!(refusal(metric("Other").await).contains("AccessDenied"));
    let scale = agent.autoscaling().set_desired_capacity().auto_scaling_group_name("ci").desired_capacity(1);
    let denied = refusal(scale.send().await);
    assert!(denied.contains("autoScalingGroupName/ci because no identity-based policy"), "{denied}");
    account.stage.down().await;
}

#[tokio::test]
async fn a_role_is_assumed_by_those_it_trusts() {
    let account = Account::open(json!(read_bucket())).await;
    let sts = account.stage.session(account.stage.endpoint.admin()).await.sts();
    let assume = || {
        let role = sts.assume_role().role_arn("arn:aws:iam::123456789012:role/agent");
        role.role_session_name("me").send()
    };
    assert!(refusal(assume().await).contains("AccessDenied"));
    let trust = trust(&json!({"AWS": "arn:aws:iam::123456789012:root"}));
    let update = [("Action", "UpdateAssumeRolePolicy"), ("RoleName", "agent"), ("PolicyDocument", &trust)];
    account.stage.iam(&update).await;
    let assumed = assume().await.unwrap();
    assert!(assumed.credentials().unwrap().access_key_id().starts_with("ASIA"));
    account.stage.down().await;
}

#[tokio::test]
async fn a_bucket_of_another_region_is_elsewhere() {
    let stage = Stage::up().await;
    let session = stage.session(stage.endpoint.admin()).await;
    session.in_region("us-east-1").s3().create_bucket().bucket("far").send().await.unwrap();
    let refused = session.s3().list_objects_v2().bucket("far").send().await.unwrap_err();
    let response = refused.raw_response().unwrap();
    assert_eq!(response.status().as_u16(), 301);
    assert_eq!(response.headers().get("x-amz-bucket-region"), Some("us-east-1"));
    stage.down().await;
}
