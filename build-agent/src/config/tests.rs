use std::io::Write as _;

use super::*;

fn load_text(text: &str, environment: &[(&str, &str)]) -> Loaded {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let args = StartArgs { config: Some(file.path().to_owned()), ..StartArgs::default() };
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&args, |name| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

const GOOD: &str = "token=\"t\"\nendpoint=\"http://127.0.0.1:1/v3\"\nbuild-path=\"/b\"\n";

#[test]
fn environment_wins_over_the_file() {
    let text = format!("{GOOD}name=\"from-file\"\nno-pty=true\ntags=\"queue=a, os=linux\"\nspawn=3\n");
    let (settings, warnings) = load_text(&text, &[("BUILDKITE_AGENT_NAME", "from-env")]).unwrap();
    assert_eq!((settings.name.as_str(), settings.pty, settings.spawn), ("from-env", false, 3));
    assert_eq!(settings.tags, ["queue=a", "os=linux"]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn unknown_keys_are_warned_about_once_and_not_fatal() {
    let (_, warnings) = load_text(&format!("{GOOD}frobnicate=1\nfrobnicate=2\n"), &[]).unwrap();
    assert_eq!(warnings, ["setting frobnicate is not known and has no effect"]);
}

#[test]
fn all_faults_at_once() {
    let faults =
        load_text("endpoint=ftp://x\nspawn=many\nno-pty=perhaps\ncancel-signal=9\n", &[]).unwrap_err();
    insta::assert_debug_snapshot!(faults, @r#"
    [
        "token is missing: set it, or BUILDKITE_AGENT_TOKEN, to the registration token of the server",
        "spawn: \"many\" is no number from 1 to 100",
        "endpoint: \"ftp://x\" is no http(s) URL",
        "build-path is missing: set it, or BUILDKITE_BUILD_PATH, to the folder for checkouts",
        "no-pty: \"perhaps\" is neither true nor false",
        "cancel-signal: \"9\" is no signal, for example SIGTERM",
    ]
    "#);
}

#[test]
fn debug_shows_no_token() {
    let (settings, _) = load_text(&GOOD.replace("\"t\"", "\"s3cret-token\""), &[]).unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"));
}
