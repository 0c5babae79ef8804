//! The pure parts of the environment hook.

use super::*;
use crate::secrets::bundle::Content;

fn show(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|c| format!("{c:?}")).collect()
}

#[test]
fn the_last_change_of_a_name_counts_and_no_change_is_not_printed() {
    let environment: Environment = [("SAME", "1"), ("BACK", "1"), ("GONE", "1")].into_iter().collect();
    let changes = vec![
        Change::set("A", "1"),
        Change::set("SAME", "1"),
        Change::set("BACK", "2"),
        Change::set("A", "2"),
        Change::set("BACK", "1"),
        Change::Unset("GONE".to_owned()),
        Change::Unset("NEVER".to_owned()),
    ];
    let kept = effective(changes, &environment);
    assert_eq!(show(&kept), ["Set(A)", "Unset(GONE)"]);
    assert_eq!(kept[0], Change::set("A", "2"));
}

#[test]
fn the_summary_counts_names_once() {
    let content = |kind, variables: &[&str]| Content {
        kind,
        object: String::new(),
        variables: variables.iter().map(|v| (*v).to_owned()).collect(),
    };
    let bundle = Bundle {
        contents: vec![
            content("env", &["A", "B"]),
            content("env", &["B", "C"]),
            content("ssh-key", &[]),
            content("git-credentials", &[]),
            content("secret-file", &["X_TOKEN"]),
        ],
        ..Bundle::default()
    };
    let lookup = |name: &str| (name == "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET").then(|| "bucket".to_owned());
    let config = SecretsConfig::of_pipeline(&lookup, None, "app").unwrap();
    assert_eq!(
        summary(&bundle, &config),
        "secrets: 2 env files (3 variables), 1 ssh key, 1 git-credentials, 1 secret file from s3://bucket (pipeline app)"
    );
}
