//! Bad input and failed calls: each stops the job with its own code and one line, and exports nothing.

use crate::fake_s3::Refusal;
use crate::instance::Instance;

#[test]
fn a_slug_that_is_none_stops_before_any_fetch() {
    for (slug, words) in [
        (None, "not set or empty"),
        (Some(""), "not set or empty"),
        (Some("a/b"), "slash"),
        (Some(".."), "'..'"),
        (Some("a\nb"), "control characters"),
    ] {
        let mut instance = Instance::new();
        match slug {
            Some(slug) => instance.set("BUILDKITE_PIPELINE_SLUG", slug),
            None => instance.unset("BUILDKITE_PIPELINE_SLUG"),
        };
        let ran = instance.hook("environment").failed(78, &["BUILDKITE_PIPELINE_SLUG", words]);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(instance.s3.calls().is_empty(), "{slug:?}");
    }
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once() {
    let mut instance = Instance::new();
    instance
        .set("BUILDKITE_PIPELINE_SLUG", "a/b")
        .set("SECRETS_FOR_FORKS", "some")
        .set("BUILDKITE_USE_KMS", "maybe");
    instance
        .hook("environment")
        .failed(78, &["BUILDKITE_PIPELINE_SLUG", "SECRETS_FOR_FORKS", "BUILDKITE_USE_KMS"]);
}

#[test]
fn absent_denied_denied_by_key_throttled_and_elsewhere_stay_apart() {
    let kms = "User is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/k";
    let cases = [
        (
            "*",
            Refusal(404, "NoSuchBucket", "The specified bucket does not exist"),
            78,
            "the bucket does not exist",
        ),
        ("app/env", Refusal(403, "AccessDenied", "Access Denied"), 77, "s3:GetObject"),
        ("app/env", Refusal(403, "AccessDenied", kms), 77, "kms:Decrypt on that key"),
        ("app/env", Refusal(503, "SlowDown", "Reduce your request rate"), 75, "slow down"),
        (
            "app/env",
            Refusal(500, "InternalError", "We encountered an internal error"),
            69,
            "s3://acme-secrets/app/env",
        ),
        ("app/secret-files/", Refusal(403, "AccessDenied", "Access Denied"), 77, "s3:ListBucket"),
        ("app/env", Refusal(404, "Gone", "a proxy's page"), 1, "s3://acme-secrets/app/env"),
    ];
    for (key, refusal, code, words) in cases {
        let instance = Instance::new();
        instance.s3.put("env", "A=1\n");
        instance.s3.refuse(key, refusal);
        instance.hook("environment").failed(code, &["secrets: ", words]);
        assert!(!instance.job_folder().exists(), "nothing is left");
    }
}

#[test]
fn another_region_is_named() {
    let instance = Instance::new();
    instance.s3.contents.lock().unwrap().region_header = Some("eu-west-1");
    instance.s3.refuse("*", Refusal(301, "PermanentRedirect", "use the specified endpoint"));
    instance.hook("environment").failed(78, &["BUILDKITE_PLUGIN_S3_SECRETS_REGION=eu-west-1"]);
}

#[test]
fn an_endpoint_that_is_down_is_unavailable() {
    let mut instance = Instance::new();
    // Nobody listens on the port `discard`. One that was bound and closed again may be another test's at once.
    instance.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    instance
        .hook("environment")
        .failed(69, &["secrets: s3:GetObject of s3://acme-secrets/app/private_ssh_key"]);
}

#[test]
fn bad_files_stop_the_job_and_nothing_of_them_is_run_or_shown() {
    let marker = tempfile::tempdir().unwrap();
    let touched = marker.path().join("touched");
    let run = format!("A=1\nhunter2$(touch {0})\nB=`touch {0}`; touch {0}\n", touched.display());
    let long = format!("BIG={}\n", "x".repeat(1_000_000));
    let cases: &[(&str, &[u8], &str)] = &[
        ("env", run.as_bytes(), "s3://acme-secrets/env line 2"),
        ("env", b"A=1\nB='hunter2\n", "line 2: a single quote"),
        ("env", b"A=1\0hunter2\n", "NUL"),
        ("env", b"A=\xff\xfehunter2\n", "UTF-8"),
        ("env", long.as_bytes(), "BIG has 1000000 bytes"),
        ("secret-files/X_TOKEN", b"hunter2\0", "NUL"),
        ("secret-files/my-X_TOKEN", b"hunter2", "rename the object"),
        ("private_ssh_key", b"hunter2", "s3://acme-secrets/private_ssh_key"),
    ];
    for (key, bytes, words) in cases {
        let instance = Instance::new();
        instance.s3.put(key, bytes);
        let ran = instance.hook("environment").failed(78, &[words]);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert!(!touched.exists());
}

#[test]
fn an_object_beyond_all_sense_is_not_swallowed() {
    let instance = Instance::new();
    instance.s3.put("env", vec![b'#'; 5 * 1024 * 1024]);
    instance.hook("environment").failed(1, &["s3://acme-secrets/env", "4194304 bytes"]);
}

#[test]
fn windows_files_are_read() {
    let instance = Instance::new();
    instance.s3.put("env", "\u{feff}A=1\r\nB='two\r\nlines'\r\n");
    let ran = instance.hook("environment").passed();
    assert_eq!((ran.get("A"), ran.get("B")), (Some("1"), Some("two\nlines")));
}

#[test]
fn pre_exit_without_a_job_and_without_an_environment_hook_is_harmless() {
    let mut instance = Instance::new();
    instance.hook("pre-exit").passed();
    instance.unset("BUILDKITE_JOB_ID");
    instance.hook("pre-exit").passed();
    instance.set("BUILDKITE_JOB_ID", "../../etc");
    instance.hook("pre-exit").passed();
    instance.hook("environment").failed(78, &["BUILDKITE_JOB_ID"]);
}
