//! `doctor` and `secrets check` on an instance, under its role: what works, and what each fault is called.

use std::time::Duration;

use lab::endpoint::faults::{Effect, Fault};
use serde_json::Value;

use crate::scene::Scene;

#[tokio::test]
async fn tells_what_a_job_here_depends_on() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
    // After a job the instance has booted for certain.
    let (status, log) = scene.run("app", "true").await;
    assert_eq!(status, 0, "{log}");
    an_empty_bucket(&scene).await;
    scene.upload_under_own_key("env", "ROOT=from-the-root\n").await;
    all_is_well(&scene).await;
    faults_of_aws(&scene).await;
    the_token_is_refused(&scene).await;
    scene.lab.stop().await.unwrap();
}

async fn an_empty_bucket(scene: &Scene) {
    let said = scene.on_instance(&["secrets", "check", "--pipeline", "app"]).await;
    assert!(said.success && said.stdout.contains("nothing: a job would get no secrets"), "{}", said.stdout);
    assert!(said.stdout.contains("whether this role may decrypt shows with the first upload"));
    let report = report(scene).await;
    is(&report, "decrypt", "warn", "upload a secret (aws s3 cp env s3://");
}

async fn all_is_well(scene: &Scene) {
    let said = scene.on_instance(&["secrets", "check", "--pipeline", "app"]).await;
    assert!(said.success && said.stdout.contains("may decrypt every object listed"), "{}", said.stdout);
    let report = report(scene).await;
    let key = scene.stack.output("SecretsKeyArn").unwrap();
    for (name, words) in [
        ("identity", scene.stack.output("InstanceRoleName").unwrap()),
        ("bucket", "can be listed"),
        ("kms", key),
        ("decrypt", "/env can be read (aws:kms"),
        ("ci", "takes the token (queue default)"),
        ("clock", "127.0.0.1"),
    ] {
        is(&report, name, "ok", words);
    }
    // How full it is is this machine's affair.
    let disk = check(&report, "disk");
    assert!(disk["verdict"] != "fail" && disk.to_string().contains("inodes free"), "{disk}");
}

/// What AWS refuses, the check that shows it, and its fix.
async fn faults_of_aws(scene: &Scene) {
    let rows: [(&str, Effect, &str, &str, &str); 6] = [
        ("sts:GetCallerIdentity", Effect::Drop, "identity", "fail", "check the way to AWS"),
        ("s3:ListObjectsV2", Effect::Deny, "bucket", "fail", "let the role call s3:ListBucket"),
        ("s3:ListObjectsV2", Effect::Fail, "bucket", "fail", "check the way to S3"),
        ("s3:GetObject", Effect::Deny, "decrypt", "fail", "let the role call s3:GetObject"),
        ("kms:DescribeKey", Effect::Deny, "kms", "warn", "let the role call kms:DescribeKey"),
        ("kms:DescribeKey", Effect::Hang, "kms", "warn", "check the way to KMS"),
    ];
    for (action, effect, check, verdict, fix) in rows {
        let number = scene.lab.endpoint().faults().add(Fault::on(action, effect));
        let report = tokio::time::timeout(Duration::from_secs(40), report(scene)).await.unwrap();
        assert!(scene.lab.endpoint().faults().remove(number));
        is(&report, check, verdict, fix);
    }
    let original = scene.deny_decrypt().await;
    is(&report(scene).await, "decrypt", "fail", "let the role call kms:Decrypt on that key");
    scene.put_key_policy(&original).await;
}

async fn the_token_is_refused(scene: &Scene) {
    let instance = scene.lab.instances().folder(&scene.group().members[0].id);
    let config = instance.join("etc/buildkite-agent/buildkite-agent.cfg");
    let text = std::fs::read_to_string(&config).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("token=")).unwrap();
    std::fs::write(&config, text.replace(token, "\"not-the-token\"")).unwrap();
    is(&report(scene).await, "ci", "fail", "token");
}

async fn report(scene: &Scene) -> Value {
    let said = scene.on_instance(&["doctor", "--json"]).await;
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{} {}", said.stdout, said.stderr))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

fn is(report: &Value, name: &str, verdict: &str, words: &str) {
    let check = check(report, name);
    assert_eq!(check["verdict"], verdict, "{check}");
    assert!(check.to_string().contains(words), "{words}: {check}");
}
