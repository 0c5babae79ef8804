//! `secrets check`: names, never values; offline on a folder, online on the bucket.

use std::process::{Command, Output};

use crate::instance::{Instance, PROGRAM};

fn check(instance: &Instance, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(PROGRAM)
        .args(["secrets", "check", "--pipeline", "app", "--root"])
        .arg(instance.root.path())
        .args(arguments)
        .env_clear()
        .envs(&instance.environment)
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_folder_is_linted_without_a_network() {
    let mut instance = Instance::new();
    instance.unset("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("app")).unwrap();
    std::fs::write(folder.path().join("env"), "TOKEN=hunter2\n").unwrap();
    let dir = folder.path().to_str().unwrap();
    let (code, text, _) = check(&instance, &["--dir", dir]);
    assert_eq!(code, 0);
    assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");

    std::fs::write(folder.path().join("app/env"), "A=$(hunter2)\nB=hunter2;\n").unwrap();
    std::fs::write(folder.path().join("app/private_ssh_key"), "hunter2").unwrap();
    let (code, text, stderr) = check(&instance, &["--dir", dir, "--json"]);
    assert_eq!(code, 1);
    assert!(!text.contains("hunter2") && !stderr.contains("hunter2"), "{text}{stderr}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["faults"].as_array().unwrap().len(), 3, "{text}");
    assert_eq!(report["objects"][0]["variables"][0], "TOKEN");
    assert!(instance.s3.calls().is_empty());
}

#[test]
fn a_bucket_is_checked_with_its_encryption() {
    let mut instance = Instance::new();
    instance.set("SECRETS_KMS_KEY", "alias/stack");
    instance.s3.put("app/env", "A=1\n");
    let (code, text, _) = check(&instance, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("may decrypt every object") && text.contains(crate::fake_s3::STACK_KEY), "{text}");
    instance.s3.put_as("env", "B=1\n", None);
    let (code, text, _) = check(&instance, &[]);
    assert_eq!(code, 1);
    assert!(text.contains("repair: aws s3 cp s3://acme-secrets/env"), "{text}");
}
