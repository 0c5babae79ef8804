//! What is read, what is refused, and that bash reads the same.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

const KNOWN: [(&str, &str); 2] = [("HOME", "/home/ci"), ("JOB", "from the job")];

fn known(name: &str) -> Option<String> {
    KNOWN.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
}

fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    parse(text.as_bytes(), &known)
        .map(|all| all.into_iter().map(|a| (a.name, a.value.to_string())).collect())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn reads(text: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(read(text), Ok(expected), "{text:?}");
}

/// What a real bash makes of a file: the variables that are named, or nothing if it complains.
fn bash(text: &str, names: &[String]) -> Option<Vec<(String, String)>> {
    let show = names.iter().map(|n| format!("printf '%s\\0' \"${{{n}-}}\";")).collect::<String>();
    // `A=x :` is a value to us and a command to bash: it must find none, and so complain.
    let no_commands = "PATH=/nonexistent; enable -n : [; set -a";
    let mut bash = Command::new("bash")
        .args([
            "--noprofile",
            "--norc",
            "-p",
            "-c",
            &format!("{no_commands}; . /dev/stdin || exit 1; {show}"),
        ])
        .env_clear()
        .envs(KNOWN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    if !output.status.success() || !output.stderr.is_empty() {
        return None;
    }
    let values = String::from_utf8(output.stdout).unwrap();
    Some(names.iter().cloned().zip(values.split('\0').map(str::to_owned)).collect())
}

#[test]
fn files_as_users_write_them() {
    reads("", &[]);
    reads("# comment\n\n   \n\t# another\nA=1", &[("A", "1")]);
    reads("export A=1 B=2\n", &[("A", "1"), ("B", "2")]);
    reads("A=1 B='two three' # why\n", &[("A", "1"), ("B", "two three")]);
    reads("MY_VAR=something secret\n", &[("MY_VAR", "something secret")]);
    reads("export MY_VAR=something   very secret  # really\n", &[("MY_VAR", "something   very secret")]);
    reads("JAVA=-Xmx1g -Dfoo=bar\n", &[("JAVA", "-Xmx1g -Dfoo=bar")]);
    reads("A=x#y\nB=\nC=''\n", &[("A", "x#y"), ("B", ""), ("C", "")]);
    reads("A='one\ntwo\n'\nB=\"x\ny\"", &[("A", "one\ntwo\n"), ("B", "x\ny")]);
    reads("A=1\nexport A\nexport A # again\n", &[("A", "1")]);
    reads("A=a\\\nb\nB=\"c\\\nd\"\nC=1 \\\nD=2\n", &[("A", "ab"), ("B", "cd"), ("C", "1"), ("D", "2")]);
    reads(r#"A="q\"\\\$\`\n""#, &[("A", "q\"\\$`\\n")]);
    reads(r"A=it\'s\ me\;", &[("A", "it's me;")]);
    reads(r#"A='a'"b"c\d"#, &[("A", "abcd")]);
    reads("A='`id` $(id) $B'", &[("A", "`id` $(id) $B")]);
    reads("A=~/x:~\nB='~'/y\n", &[("A", "/home/ci/x:/home/ci"), ("B", "~/y")]);
    reads("A=\\\n~/x:\\\n~\n", &[("A", "/home/ci/x:/home/ci")]);
    reads(
        "JSON='{\"a\": [1, 2]}'\nURL=https://u:p@h/?a=b#c\n",
        &[("JSON", "{\"a\": [1, 2]}"), ("URL", "https://u:p@h/?a=b#c")],
    );
}

#[test]
fn earlier_variables_are_expanded() {
    reads("A=x\nB=$A$A-${A}y\n", &[("A", "x"), ("B", "xx-xy")]);
    reads("A='a  b'\nB=$A\nC=\"$JOB!\"\n", &[("A", "a  b"), ("B", "a  b"), ("C", "from the job!")]);
    reads("A='$B'\nC=$A\n", &[("A", "$B"), ("C", "$B")]);
    reads("A=1\nA=${A}2\n", &[("A", "1"), ("A", "12")]);
    reads("A=5$\nB=\"$ 1\"\nC=$%\n", &[("A", "5$"), ("B", "$ 1"), ("C", "$%")]);
}

/// Text, line of the (only) fault, a word of it, and whether it looks like a program.
const REFUSED: [(&str, usize, &str, bool); 38] = [
    ("A=1;B=2\n", 1, "unquoted ;", true),
    ("A=a&b\n", 1, "unquoted &", true),
    ("X=1\nA=a|b\n", 2, "unquoted |", true),
    ("A=<x\n", 1, "unquoted <", true),
    ("A=x>y\n", 1, "unquoted >", true),
    ("A=(1 2)\n", 1, "unquoted (", true),
    ("A=1)\n", 1, "unquoted )", true),
    ("A=`id`\n", 1, "unquoted `", true),
    ("A=\"`id`\"\n", 1, "backtick", true),
    ("A=$(id)\n", 1, "runs a command", true),
    ("A=\"$(id)\"\n", 1, "runs a command", true),
    ("A=$((1+1))\n", 1, "runs a command", true),
    ("A=${B:-x}\n", 1, "more than a name", true),
    ("A=$1\n", 1, "running shell", true),
    ("A=\"pa$$word\"\n", 1, "running shell", true),
    ("A=pa$word\n", 1, "not set", false),
    ("A=$'x'\n", 1, "quote of bash's own", false),
    ("A=\"x\n\nB=2\n", 1, "never closed", false),
    ("A='it's'\n", 1, "never closed", false),
    ("A=\"x\" y\n", 1, "after the closing quote", false),
    ("A=x \"y\"\n", 1, "within a value", false),
    ("B=1\nA=x $B\n", 2, "within a value", false),
    ("export A=1 B=$A\n", 1, "not set", false),
    ("A=x y B=1\n", 1, "an assignment after", false),
    ("A= x\n", 1, "space after =", false),
    ("A =x\n", 1, "space before =", false),
    ("=x\n", 1, "no name", false),
    ("1A=x\n", 1, "no assignment", true),
    ("A-B=x\n", 1, "no assignment", true),
    ("UID=0\n", 1, "name UID", false),
    ("A=1\necho hi\n", 2, "no assignment", true),
    ("set -e\n", 1, "no assignment", true),
    ("export A\n", 1, "no assignment", true),
    ("A=1\nA+=2\n", 2, "appends", true),
    ("A=~root\n", 1, "unquoted ~", false),
    ("A=1\nB=$\\\nA\n", 2, "continued line end", false),
    ("A=1\nB=\"$A\\\nA\"\n", 2, "continued line end", false),
    ("export A={1,2}\n", 1, "braces", false),
];

#[test]
fn everything_else_is_refused_with_its_line_and_a_fix() {
    for (text, line, words, is_program) in REFUSED {
        let faults = parse(text.as_bytes(), &known).expect_err(text);
        let fault = &faults[0];
        assert_eq!((fault.line, fault.is_program), (line, is_program), "{text:?}: {fault}");
        assert!(fault.problem.contains(words) && !fault.fix.is_empty(), "{text:?}: {fault}");
    }
}

#[test]
fn all_faults_are_told_and_no_value_is() {
    let faults = read("A=1\nhunter2 x\nB=`hunter2`\nC=3\nD='hunter2\n").unwrap_err();
    insta::assert_snapshot!(faults, @r"
    line 2: this is no assignment: write NAME='value', or make it a comment with #
    line 3: an unquoted `: put the value in single quotes: NAME='value'
    line 5: a single quote that is never closed: close it, or put the value in double quotes
    ");
}

#[test]
fn bytes_that_are_no_text() {
    let fault = |bytes: &[u8]| parse(bytes, &known).unwrap_err()[0].to_string();
    assert!(fault(b"A=1\nB=x\0y\n").starts_with("line 2: a NUL byte"));
    assert!(fault(b"A=1\n\nB=\xff\n").starts_with("line 3: bytes that are not UTF-8"));
    assert!(fault(b"\xff\xfeA\0=\0").starts_with("line 1: the file is UTF-16"));
    assert!(fault(b"A=1\r\nB=2\n").contains("carriage return"));
    reads("\u{feff}A=1\r\nB='x\r\ny'\r\n", &[("A", "1"), ("B", "x\ny")]);
    reads("A=1\nB='x\r\ny'\n", &[("A", "1"), ("B", "x\r\ny")]);
    let long = "x".repeat(1_000_000);
    reads(&format!("A={long}\nB='{long}'\n"), &[("A", &long), ("B", &long)]);
}

/// Pieces that make lines with quotes in quotes, escapes, expansions and comments.
fn line() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B=",
        "=",
        " ",
        "\t",
        "'",
        "\"",
        "\\",
        "\\\n",
        "\n",
        "$",
        "$A",
        "${A}",
        "$HOME",
        "~",
        "~/",
        ":",
        "#",
        " #",
        "ü",
        "{",
        "}",
        ",",
        "..",
        "*",
        "!",
        "%",
        "[",
        "]",
        "^",
        "\\\"",
        "'x y'",
        "\"x $A y\"",
        "\\$",
        "\\`",
        "-",
        "/",
    ]);
    let start =
        prop::sample::select(vec!["A=", "B=", "export A=", "export B=", "A=1 B=", "export A=1 B=", "C=", ""]);
    (start, prop::collection::vec(piece, 0..8))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_both_accept_both_read_alike(lines in prop::collection::vec(line(), 1..4)) {
        let text = lines.join("\n");
        // Bash must find nothing to complain of: then the two must agree, byte for byte.
        if let Ok(ours) = read(&text) {
            let mut last = std::collections::BTreeMap::new();
            last.extend(ours);
            // `export A=x y` is one value to us; bash exports y besides, without a word.
            let is_name = |word: &str| crate::hooks::exports::is_identifier(word);
            let exports_more = |value: &String| value.split([' ', '\t']).skip(1).any(is_name);
            prop_assume!(!(text.contains("export ") && last.values().any(exports_more)));
            let names: Vec<String> = last.keys().cloned().collect();
            if let Some(theirs) = bash(&text, &names) {
                prop_assert_eq!(last.into_iter().collect::<Vec<_>>(), theirs, "{:?}", text);
            }
        }
    }

    #[test]
    fn any_value_survives_quoting_and_reading(value in "[^\u{0}\r]{0,200}") {
        let text = format!("V={}\n", crate::hooks::exports::quote(&value));
        prop_assert_eq!(read(&text).unwrap(), vec![("V".to_owned(), value)]);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, &known);
    }
}
