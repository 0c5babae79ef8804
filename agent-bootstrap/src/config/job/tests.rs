//! The configuration as a table: environment and settings file in, config or faults out.

use std::collections::BTreeMap;

use super::*;

const JOB: [(&str, &str); 3] = [("BUILDKITE_JOB_ID", "j1"), (SLUG, "app"), (BUCKET, "acme-secrets")];

fn read(extra: &[(&str, &str)], file: Option<&[(&str, &str)]>) -> Result<JobConfig, Vec<Fault>> {
    let all: BTreeMap<&str, &str> = JOB.iter().chain(extra).copied().collect();
    let file = file.map(|f| f.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    JobConfig::read(&|name| all.get(name).map(|v| (*v).to_owned()), file)
}

fn secrets_of(extra: &[(&str, &str)], file: Option<&[(&str, &str)]>) -> SecretsConfig {
    read(extra, file).unwrap().secrets.unwrap()
}

#[test]
fn the_environment_alone_is_enough() {
    let config = read(&[(REGION, "eu-west-1"), (PREFIX, "teams/app"), (KMS_KEY, "alias/k")], None).unwrap();
    let secrets = config.secrets.unwrap();
    assert_eq!((secrets.bucket.as_str(), secrets.region.as_deref()), ("acme-secrets", Some("eu-west-1")));
    assert_eq!(secrets.pipeline, "teams/app");
    let policy = encryption::Policy { use_kms: true, key: Some("alias/k".to_owned()), require_key: false };
    assert_eq!(secrets.encryption, policy);
    assert_eq!(secrets.env_format, EnvFormat::Typed);
    assert!(!config.forks_allowed && config.pull_request.is_none());
}

#[test]
fn a_settings_file_adds_defaults_and_guards() {
    let file: &[(&str, &str)] = &[(BUCKET, "stack-secrets"), (REGION, "us-west-2"), (USE_KMS, "true")];
    let hostile = [
        (PREFIX, "other"),
        (FOR_FORKS, "all"),
        (ENV_FORMAT, "shell"),
        (KMS_KEY, "alias/mine"),
        (USE_KMS, "false"),
        (REGION, "eu-west-1"),
    ];
    let config = read(&hostile, Some(file)).unwrap();
    let mut ignored = config.ignored.clone();
    ignored.sort_unstable();
    let mut expected = vec![BUCKET, REGION, PREFIX, FOR_FORKS, ENV_FORMAT, KMS_KEY];
    expected.sort_unstable();
    assert_eq!(ignored, expected);
    assert!(!config.forks_allowed);
    let secrets = config.secrets.unwrap();
    assert_eq!((secrets.bucket.as_str(), secrets.region.as_deref()), ("stack-secrets", Some("us-west-2")));
    assert_eq!((secrets.pipeline.as_str(), secrets.env_format), ("app", EnvFormat::Typed));
    assert!(!secrets.encryption.use_kms, "BUILDKITE_USE_KMS is a job's own affair");
    assert_eq!(secrets.encryption.key, None);

    let own = secrets_of(&[], Some(&[(FOR_FORKS, "none")]));
    assert_eq!(own.bucket, "acme-secrets", "where the instance has no bucket, a job may bring one");
}

#[test]
fn shell_format_may_name_pipelines() {
    for (setting, expected) in [
        ("typed", EnvFormat::Typed),
        ("shell", EnvFormat::Shell),
        ("web, app", EnvFormat::Shell),
        ("web,apple", EnvFormat::Typed),
    ] {
        assert_eq!(secrets_of(&[(ENV_FORMAT, setting)], None).env_format, expected, "{setting}");
    }
}

#[test]
fn faults_name_their_setting() {
    let cases: [(&[(&str, &str)], &str); 11] = [
        (&[(SLUG, "")], SLUG),
        (&[(SLUG, "a/b")], SLUG),
        (&[(SLUG, "..")], SLUG),
        (&[(SLUG, "a\u{7}")], SLUG),
        (&[(PREFIX, "a//b")], PREFIX),
        (&[(PREFIX, "../x")], PREFIX),
        (&[(BUCKET, "Not A Bucket")], BUCKET),
        (&[(JOB_ID, "../x")], JOB_ID),
        (&[(FOR_FORKS, "yes")], FOR_FORKS),
        (&[(USE_KMS, "perhaps")], USE_KMS),
        (&[(REQUIRE_KEY, "true")], REQUIRE_KEY),
    ];
    for (extra, name) in cases {
        let faults = read(extra, None).unwrap_err();
        assert_eq!(faults.iter().map(|f| f.name).collect::<Vec<_>>(), [name], "{extra:?}");
        assert!(!faults[0].detail.contains('\u{7}'));
    }
}

#[test]
fn pull_requests_are_told_by_number_or_repository() {
    let of = |extra: &[(&str, &str)]| read(extra, None).unwrap().pull_request;
    assert_eq!(of(&[("BUILDKITE_PULL_REQUEST", "false")]), None);
    assert_eq!(of(&[("BUILDKITE_PULL_REQUEST", "")]), None);
    assert!(of(&[("BUILDKITE_PULL_REQUEST", "7")]).is_some());
    assert!(of(&[("BUILDKITE_PULL_REQUEST", "false"), ("BUILDKITE_PULL_REQUEST_REPO", "u")]).is_some());
}
