//! The program's words and exit codes without any service. Its being here also makes `cargo nextest` build the program,
//! which the journeys run.

#![expect(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::process::{Command, Output};

fn image_builder(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-builder"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap()
}

#[test]
fn settings_that_are_absent_or_wrong_are_told_in_lines() {
    let folder = tempfile::tempdir().unwrap();
    let output = image_builder(folder.path(), &["worker", "--once"]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("image-builder: configuration ./config/config.yml: No such file"), "{said}");
    assert!(said.contains("image-builder config init"), "{said}");
    std::fs::write(folder.path().join("c.yml"), "templates: {templatesRepo: -x}\n").unwrap();
    let output = image_builder(folder.path(), &["check", "--config", "c.yml"]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.lines().all(|line| line.starts_with("image-builder: configuration: ")), "{said}");
}

#[test]
fn k15_config_init_writes_what_the_other_verbs_read() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "config",
        "init",
        "--awsRegion",
        "eu-west-1",
        "--templatesRepo",
        "https://github.com/acme/templates.git",
        "--auditTrailBucket",
        "kiln-audit",
        "--buildRequestQueue",
        "https://sqs.eu-west-1.amazonaws.com/1/q",
    ];
    let output = image_builder(folder.path(), &flags);
    assert!(output.status.success(), "{output:?}");
    assert!(folder.path().join("config/config.yml").exists());
    let output = image_builder(folder.path(), &["config", "show"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("kiln-audit") && shown.contains("eu-west-1"),
        "{output:?}"
    );
    let output = image_builder(folder.path(), &["config", "init", "--awsRegion", "eu-west-1"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_cannot_be_built_is_not_submitted() {
    let folder = tempfile::tempdir().unwrap();
    for (template, sha) in [("../x.json", "0123456"), ("a.json", "main"), ("a.json", "-f")] {
        let output = image_builder(folder.path(), &["submit", "--", template, sha]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
