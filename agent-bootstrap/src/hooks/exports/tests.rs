//! What is printed is evaluated by a real bash here, and must give the exact bytes back.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// Evaluates `text` as the installed hook does and returns the bytes of the variable `V`.
fn through_bash(text: &str) -> Vec<u8> {
    let mut bash = Command::new("bash")
        .args([
            "--noprofile",
            "--norc",
            "-c",
            r#"t="$(cat)" || exit; eval "$t"; printf %s "${V-unset}"; printf ."#,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let mut output = bash.wait_with_output().unwrap().stdout;
    assert_eq!(output.pop(), Some(b'.'));
    output
}

#[test]
fn nasty_values_survive_a_real_bash() {
    let long = "x'\"$`\\\n".repeat(20_000);
    for value in [
        "",
        "a b",
        "it's",
        "\"$HOME\" `id` $(id) \\",
        "line\nline\n\n",
        "\r\n\t",
        "äöü ✓ 🌊",
        "!!",
        "-n",
        "'''",
        &long,
    ] {
        let text = render(&[Change::set("V", value), Change::Unset("OTHER".to_owned())]);
        assert_eq!(through_bash(&text), value.as_bytes(), "{value:?}");
    }
}

#[test]
fn an_unset_is_taken_over() {
    assert_eq!(through_bash(&render(&[Change::set("V", "x"), Change::Unset("V".to_owned())])), b"unset");
}

#[test]
fn names_that_bash_would_not_take_are_told() {
    for good in ["A", "_a1", "PATH", "LD_PRELOAD", "BASH_ENV"] {
        assert_eq!(name_fault(good), None, "{good}");
    }
    for bad in ["", "1A", "A-B", "A B", "Ä", "UID", "SHELLOPTS", "_", "A=B", "A\n"] {
        assert!(name_fault(bad).is_some(), "{bad}");
    }
}

#[test]
fn debug_shows_no_value() {
    assert_eq!(format!("{:?}", Change::set("TOKEN", "hunter2")), "Set(TOKEN)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_value_survives_a_real_bash(value in "[^\u{0}]{0,80}") {
        prop_assert_eq!(through_bash(&render(&[Change::set("V", value.as_str())])), value.as_bytes());
    }
}
