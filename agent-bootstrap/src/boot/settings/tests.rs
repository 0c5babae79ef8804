use super::*;
use jiff::SignedDuration;
use proptest::prelude::*;

const STACK: &str = r#"
stack: "ci"
queue: "default"
agent-endpoint: "http://127.0.0.1:1/v3/"
agent-token: "arn:aws:secretsmanager:us-east-1:123456789012:secret:t-AbCdEf"
agents-per-instance: 2
agent-tags: "docker=true,size=large"
secrets-bucket: "b"
secrets-region: "us-east-1"
secrets-kms-key: ""
secrets-require-key: false
ecr-login: true
terminating-hook: "terminating"
"#;

fn with(user: &str) -> Result<Settings, Faults> {
    read(&[STACK.to_owned(), user.to_owned()])
}

#[test]
fn the_stacks_part_reads_as_the_template_writes_it() {
    let settings = with("").unwrap();
    assert_eq!((settings.stack.as_str(), settings.queue.as_str()), ("ci", "default"));
    assert_eq!(settings.agents.endpoint, "http://127.0.0.1:1/v3");
    assert_eq!(settings.agents.count, 2);
    assert_eq!(settings.agents.tags, ["docker=true", "size=large"]);
    assert_eq!((settings.watch.idle_period, settings.watch.fail_safe_after), (Stay::Auto, Stay::Auto));
    assert_eq!(settings.watch.update_check, SignedDuration::from_secs(60));
    assert_eq!(settings.watch.update_concurrency, 1);
    assert_eq!(settings.watch.terminating_hook.as_deref(), Some("terminating"));
    let names: Vec<&str> = settings.hooks_env.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "AWS_ECR_LOGIN",
            "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET",
            "BUILDKITE_PLUGIN_S3_SECRETS_REGION",
            "SECRETS_REQUIRE_KEY"
        ]
    );
}

#[test]
fn the_digest_tells_settings_apart_and_not_their_form() {
    let digest = |user: &str| with(user).unwrap().digest;
    let plain = digest("idle-period: 5m\nhooks-env: {A: 1, B: 2}");
    assert_eq!(plain.len(), 64);
    for same in [
        "# a comment\nhooks-env:\n  B: 2\n  A: 1\nidle-period: \"5m\"\n",
        "{idle-period: 5m, hooks-env: {A: 1, B: 2}, scaler: {interval: 1}, scaler-x: 2}",
    ] {
        assert_eq!(digest(same), plain, "{same}");
    }
    for other in ["", "idle-period: 6m\nhooks-env: {A: 1, B: 2}", "idle-period: 5m\nhooks-env: {A: 1}"] {
        assert_ne!(digest(other), plain, "{other}");
    }
}

#[test]
fn later_parts_win_key_by_key() {
    let settings = with(
        "agents-per-instance: 4\nidle-period: 3s\npoll-interval: 200ms\nscaler: {interval: 1}\n\
        agent-tags: {os: linux, n: 3}\nhooks-env: {SECRETS_FOR_FORKS: all, N: 5}\nsecrets-env-format: [a, b]",
    )
    .unwrap();
    assert_eq!(settings.agents.count, 4);
    assert_eq!(settings.queue, "default");
    assert_eq!(settings.agents.tags, ["n=3", "os=linux"]);
    assert_eq!(settings.watch.idle_period, Stay::For(SignedDuration::from_secs(3)));
    assert_eq!(settings.watch.poll_interval, SignedDuration::from_millis(200));
    assert_eq!(settings.hooks_env["SECRETS_FOR_FORKS"], "all");
    assert_eq!(settings.hooks_env["N"], "5");
    assert_eq!(settings.hooks_env["SECRETS_ENV_FORMAT"], "a,b");
}

#[test]
fn never_is_a_period_of_its_own() {
    let watch = with("idle-period: never").unwrap().watch;
    assert_eq!((watch.idle_period, watch.fail_safe_after), (Stay::Never, Stay::Auto));
    assert!(with("poll-interval: never").is_err());
    assert!(with("update-check: 0s").is_err());
    assert_eq!((watch.max_age, watch.after_job), (None, false));
    assert!(with("max-age: 0").unwrap_err().to_string().contains("`never` sets no limit"));
    assert_eq!(with("max-age: 24h").unwrap().watch.max_age, Some(SignedDuration::from_hours(24)));
    assert!(with("disconnect-after-job: true").unwrap().watch.after_job);
}

#[test]
fn auto_is_what_holds_where_nothing_is_said() {
    let named = with("idle-period: auto\nfail-safe-after: auto").unwrap().watch;
    assert_eq!(named, with("").unwrap().watch);
    let faults = with("idle-period: automatic\nfail-safe-after: -3s\nmax-age: auto").unwrap_err().to_string();
    insta::assert_snapshot!(faults, @"`max-age` is neither a duration (such as 90s, 5m, 2h) nor `never`; `idle-period` is neither a duration (such as 90s, 5m, 2h), nor `auto`, nor `never`; `fail-safe-after` is neither a duration (such as 90s, 5m, 2h), nor `auto`, nor `never`");
}

#[test]
fn all_faults_are_told_at_once_with_their_names() {
    let faults = read(&[
        "queue: \"a b\"\nagents-per-instance: 0\nidle-perod: 5m\nagent-token: s3cr3t-token".to_owned(),
        "agent-tags: \"a\\nb=1\"\nheartbeat-interval: -3s\nhooks-env: {\"A=B\": 1}".to_owned(),
        "- a list".to_owned(),
        "queue: [unclosed".to_owned(),
    ])
    .unwrap_err();
    let names: Vec<&str> = faults.0.iter().map(|f| f.name.as_str()).collect();
    for name in [
        "settings part 3",
        "settings part 4",
        "stack",
        "queue",
        "agents-per-instance",
        "agent-token",
        "agent-tags",
        "heartbeat-interval",
        "hooks-env.A=B",
        "idle-perod",
    ] {
        assert!(names.contains(&name), "{name} missing in {names:?}");
    }
    let text = faults.to_string();
    assert!(text.contains("did you mean `idle-period`?"), "{text}");
    assert!(!text.contains("s3cr3t-token"), "{text}");
}

#[test]
fn no_part_at_all_is_a_fault() {
    assert!(read(&[]).unwrap_err().to_string().contains("holds no part"));
}

proptest! {
    #[test]
    fn any_text_gives_settings_or_faults(text in "(?s).{0,200}") {
        let _ = with(&text);
    }

    #[test]
    fn no_text_breaks_out_of_its_line(tag in "(?s).{0,30}") {
        let part = serde_json::json!({ "agent-tags": [tag] }).to_string();
        if let Ok(settings) = with(&part) {
            for tag in settings.agents.tags {
                prop_assert!(!tag.contains(['\n', '\r', '"', '\\', ',', '\0']));
            }
        }
    }
}
