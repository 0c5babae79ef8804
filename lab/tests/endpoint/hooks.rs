//! The environment hook, as each job runs it, under faults that take time or credentials.

use std::process::Output;

use lab::endpoint::credentials::Credentials;
use lab::endpoint::faults::{Effect, Fault};
use lab::instances::programs;
use serde_json::json;

use crate::stage::{REGION, Stage};

/// `agent-bootstrap hook environment` for a job of `pipeline`, as the role.
async fn hook(stage: &Stage, role: &Credentials, pipeline: &str) -> Output {
    let root = stage.folder.path().join(pipeline);
    std::fs::create_dir(&root).unwrap();
    tokio::process::Command::new(programs().unwrap().join("agent-bootstrap"))
        .args(["hook", "environment"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TIDEMARK_ROOT", &root)
        .env("AWS_ENDPOINT_URL", stage.endpoint.url())
        .env("AWS_REGION", REGION)
        .envs(role.environment())
        .env("BUILDKITE_JOB_ID", format!("job-of-{pipeline}"))
        .env("BUILDKITE_PIPELINE_SLUG", pipeline)
        .env("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET", "secrets")
        .env("BUILDKITE_USE_KMS", "false")
        .output()
        .await
        .unwrap()
}

/// A bucket with `A=1` for all jobs, and a role that may read it.
async fn secrets(stage: &Stage) -> Credentials {
    let s3 = stage.session(stage.endpoint.admin()).await.s3();
    let place =
        aws::s3::types::CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    s3.create_bucket().bucket("secrets").create_bucket_configuration(place).send().await.unwrap();
    let env = aws::s3::primitives::ByteStream::from_static(b"A=1\n");
    s3.put_object().bucket("secrets").key("env").body(env).send().await.unwrap();
    let document = |statement| json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let trust = document(
        json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}),
    );
    let reads =
        document(json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}));
    stage.iam(&[("Action", "CreateRole"), ("RoleName", "agent"), ("AssumeRolePolicyDocument", &trust)]).await;
    let put = [
        ("Action", "PutRolePolicy"),
        ("RoleName", "agent"),
        ("PolicyName", "own"),
        ("PolicyDocument", &reads),
    ];
    stage.iam(&put).await;
    stage.endpoint.mint_session("agent", "i-1")
}

#[tokio::test]
async fn a_hook_waits_for_late_answers_asks_again_where_none_comes_and_stops_when_its_session_is_over() {
    let stage = Stage::up().await;
    let role = secrets(&stage).await;
    let of = |key: &str, effect| Fault {
        resource: format!("secrets/{key}/env"),
        ..Fault::on("s3:GetObject", effect)
    };
    stage.endpoint.faults().add(of("late", Effect::Delay(300)));
    stage.endpoint.faults().add(of("silent", Effect::Hang).times(1));
    stage.endpoint.faults().add(of("over", Effect::Expire));
    let (late, silent, over) =
        tokio::join!(hook(&stage, &role, "late"), hook(&stage, &role, "silent"), hook(&stage, &role, "over"));
    for passed in [late, silent] {
        let exports = String::from_utf8_lossy(&passed.stdout).into_owned();
        assert!(passed.status.success() && exports.contains("export A='1'"), "{passed:?}");
    }
    let reason = String::from_utf8_lossy(&over.stderr).into_owned();
    assert_eq!((over.status.code(), over.stdout.len()), (Some(77), 0), "{reason}");
    assert!(reason.contains("ExpiredToken"), "{reason}");
    stage.down().await;
}
