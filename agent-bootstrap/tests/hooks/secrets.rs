//! Env files, secret files, their order, and how often S3 is asked.

use crate::fake_s3::{MANAGED_KEY, STACK_KEY};
use crate::instance::Instance;

#[test]
fn later_files_win_and_every_byte_arrives() {
    let instance = Instance::new();
    let s3 = &instance.s3;
    s3.put("env", "ROOT=root\nBOTH=root\nMY_VAR=something secret\n");
    s3.put("environment", "BOTH=\"$ROOT environment\"\n");
    s3.put("app/env", "export A=1 B=2\nBOTH='pipeline'\nNASTY='`id` $(id) \"$HOME\" ü\nsecond line'\n");
    s3.put("app/environment", "LAST=$A-$BOTH\n");
    s3.put("secret-files/DB_PASSWORD", "root\n");
    s3.put("app/secret-files/deep/DB_PASSWORD", "with\nlines\n\n");
    s3.put("app/secret-files/README", "not a secret");
    s3.put("other/env", "ROOT=other");
    let ran = instance.hook("environment").passed();
    assert_eq!(ran.get("ROOT"), Some("root"));
    assert_eq!(ran.get("BOTH"), Some("pipeline"));
    assert_eq!(ran.get("MY_VAR"), Some("something secret"));
    assert_eq!((ran.get("A"), ran.get("B")), (Some("1"), Some("2")));
    assert_eq!(ran.get("NASTY"), Some("`id` $(id) \"$HOME\" ü\nsecond line"));
    assert_eq!(ran.get("LAST"), Some("1-pipeline"));
    assert_eq!(ran.get("DB_PASSWORD"), Some("with\nlines\n\n"));
    assert_eq!(ran.get("README"), None);
    assert_eq!(
        ran.stderr.trim(),
        "secrets: 4 env files (7 variables), 2 secret files from s3://acme-secrets (pipeline app)"
    );
}

#[test]
fn everything_takes_twelve_calls_and_one_more_a_secret_file() {
    let instance = Instance::new();
    instance.s3.put("app/env", "A=1\n");
    instance.s3.put("app/secret-files/API_TOKEN", "t0ken-value");
    instance.hook("environment").passed();
    let calls = instance.s3.calls();
    assert_eq!(calls.iter().filter(|c| c.starts_with("GET")).count(), 11, "{calls:?}");
    assert_eq!(calls.iter().filter(|c| c.starts_with("LIST")).count(), 2, "{calls:?}");
    assert_eq!(calls.len(), 13, "{calls:?}");
    assert_eq!(calls[12], "GET app/secret-files/API_TOKEN");
}

#[test]
fn more_than_a_page_of_secret_files_is_read_whole() {
    let instance = Instance::new();
    for number in 0..1005 {
        instance.s3.put(&format!("secret-files/A{number:04}_TOKEN"), format!("value {number}"));
    }
    let ran = instance.hook("environment").passed();
    assert_eq!(ran.get("A0000_TOKEN"), Some("value 0"));
    assert_eq!(ran.get("A1004_TOKEN"), Some("value 1004"));
}

#[test]
fn an_empty_bucket_is_no_failure_and_no_bucket_neither() {
    let mut instance = Instance::new();
    assert!(instance.hook("environment").passed().stderr.contains("secrets: none from s3://acme-secrets"));
    instance.unset("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET");
    assert!(instance.hook("environment").passed().stderr.contains("secrets: none: BUILDKITE_PLUGIN"));
}

#[test]
fn only_changed_variables_are_exported() {
    let mut instance = Instance::new();
    instance.s3.put("env", "SAME=1\nOTHER=2\n");
    instance.set("SAME", "1");
    let output = std::process::Command::new(crate::instance::PROGRAM)
        .args(["hook", "environment", "--root"])
        .arg(instance.root.path())
        .env_clear()
        .envs(&instance.environment)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("export OTHER='2'\n") && !text.contains("SAME"), "{text}");
}

#[test]
fn shell_programs_run_only_where_the_settings_say_so() {
    let mut instance = Instance::new();
    instance.s3.put("app/env", "for n in 1 2; do X=$((n * 21)); done\nY=\"$(printf hi)\"\nunset GONE\n");
    instance.set("GONE", "still here");
    instance
        .hook("environment")
        .failed(78, &["s3://acme-secrets/app/env line 1", "SECRETS_ENV_FORMAT=shell"]);
    instance.set("SECRETS_ENV_FORMAT", "web,app");
    let ran = instance.hook("environment").passed();
    assert_eq!((ran.get("X"), ran.get("Y"), ran.get("GONE")), (Some("42"), Some("hi"), None));
    // With a settings file a job cannot decide this any more.
    instance.settings("SECRETS_ENV_FORMAT=typed\n");
    let ran = instance.hook("environment").failed(78, &["line 1"]);
    assert!(ran.stderr.contains("SECRETS_ENV_FORMAT of this job is ignored"), "{}", ran.stderr);
}

#[test]
fn forks_get_no_secrets_unless_the_instance_allows_it() {
    let mut instance = Instance::new();
    instance.s3.put("env", "A=1\n");
    instance.set("BUILDKITE_PULL_REQUEST", "7");
    instance.set("BUILDKITE_PULL_REQUEST_REPO", "git://git.example/acme/app.git");
    assert_eq!(instance.hook("environment").passed().get("A"), Some("1"), "same repository: no fork");

    instance.set("BUILDKITE_PULL_REQUEST_REPO", "https://git.example/mallory/app.git");
    let before = instance.s3.calls().len();
    let ran = instance.hook("environment").passed();
    assert_eq!(ran.get("A"), None);
    assert_eq!(instance.s3.calls().len(), before, "nothing is even fetched");
    assert_eq!(
        ran.stderr.trim(),
        "secrets: none: pull request 7 comes from another repository (https://git.example/mallory/app.git), \
         and SECRETS_FOR_FORKS is none"
    );
    instance.settings("SECRETS_FOR_FORKS=none\n").set("SECRETS_FOR_FORKS", "all");
    assert_eq!(instance.hook("environment").passed().get("A"), None, "a pull request cannot allow itself");
    instance.settings("# nothing said\n");
    assert_eq!(instance.hook("environment").passed().get("A"), None, "nor where the settings say nothing");
    instance.settings("SECRETS_FOR_FORKS=all\n");
    assert_eq!(instance.hook("environment").passed().get("A"), Some("1"));
}

#[test]
fn a_job_cannot_move_itself_into_another_pipelines_folder() {
    let mut instance = Instance::new();
    instance.s3.put("app/env", "WHOSE=app\n");
    instance.s3.put("other/env", "WHOSE=other\n");
    instance.set("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET_PREFIX", "other");
    assert_eq!(
        instance.hook("environment").passed().get("WHOSE"),
        Some("other"),
        "without settings: as the plugin"
    );
    instance.settings("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET=acme-secrets\n");
    assert_eq!(instance.hook("environment").passed().get("WHOSE"), Some("app"));
    instance.set("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET", "somebody-elses");
    assert_eq!(
        instance.hook("environment").passed().get("WHOSE"),
        Some("app"),
        "the instance's bucket stands"
    );
}

#[test]
fn encryption_decides_and_the_repairing_line_is_printed() {
    let mut instance = Instance::new();
    instance.s3.put_as("app/env", "A=1\n", Some("AES256"));
    instance.hook("environment").failed(
        78,
        &["AES256", "repair: aws s3 cp s3://acme-secrets/app/env s3://acme-secrets/app/env --sse aws:kms"],
    );
    instance.set("BUILDKITE_USE_KMS", "false");
    assert_eq!(instance.hook("environment").passed().get("A"), Some("1"), "a job may do without");

    instance.set("BUILDKITE_USE_KMS", "true").set("SECRETS_KMS_KEY", "alias/stack");
    instance.s3.put_as("app/env", "A=1\n", Some(MANAGED_KEY));
    assert_eq!(instance.hook("environment").passed().get("A"), Some("1"), "aws/s3 is accepted");
    instance.set("SECRETS_REQUIRE_KEY", "true");
    instance.hook("environment").failed(78, &[MANAGED_KEY, "--sse-kms-key-id alias/stack"]);
    instance.s3.put_as("app/env", "A=1\n", Some(STACK_KEY));
    assert_eq!(instance.hook("environment").passed().get("A"), Some("1"));
    instance.set("BUILDKITE_USE_KMS", "false");
    instance.s3.put_as("app/env", "A=1\n", None);
    instance.hook("environment").failed(78, &["not encrypted"]);
}
