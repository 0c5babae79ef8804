use proptest::prelude::*;

use super::*;

fn faults(text: &str) -> String {
    read(text).1.join("\n")
}

#[test]
fn an_empty_document_says_nothing() {
    for text in ["", "# only a comment\n", "{}"] {
        let (document, faults) = read(text);
        assert_eq!(document.queues, [QueueSettings::default()], "{text}");
        assert!(faults.is_empty() && document.interval.is_none(), "{text}");
    }
}

#[test]
fn all_faults_are_told_at_once_each_with_its_path() {
    let text = "
queue: ''
groups: [ci, ci, 7]
endpoint: ci.example
token: abc-the-token-itself
job-source: graphql
agent-tags: ['queue=linux', gpu, '=x', 'os=debian']
agents-per-instance: 0
instance-buffer: -1
idle_instances: 2
max-instances: many
min-instances: 1.5
include-waiting: sometimes
launch-patience: soon
interval: 0
probe-after:
metrics: [true]
time-zone: Europe/Berlyn
frobnicate: {secret: here}
periods:
  - name: office
    when: '* 8-17 * * mon-fri'
    idle-instances: -3
    agents-per-instance: 2
  - name: office
    when: ['* 12 * * fri', '* 25 * * *']
  - when: '* * 31 feb *'
    scale-in: 'no'
  - idle-instances: 1
  - 7
";
    let told = faults(text);
    assert!(!told.contains("abc-the-token"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn a_document_that_is_no_map_says_where() {
    let told: Vec<String> = ["- a\n- b\n", "queue: a\nqueue: b\n", "queue: [a\n", "just words", "token: {}"]
        .map(|text| format!("{text:?}: {}", faults(text)))
        .into();
    insta::assert_snapshot!(told.join("\n"));
    assert!(faults(&" ".repeat(MOST_BYTES + 1)).contains("262144 are the most"));
}

#[test]
fn several_queues_have_names_and_groups_of_their_own() {
    let text = "
interval: 2s
queues:
  - queue: linux
    groups: [a, b]
  - queue: mac
    groups: [c]
    idle-instances: 1
";
    let (document, none) = read(text);
    assert_eq!(none, [""; 0]);
    let names: Vec<_> = document.queues.iter().map(|queue| queue.queue.as_deref()).collect();
    assert_eq!((names, document.interval), (vec![Some("linux"), Some("mac")], Some(Duration::from_secs(2))));
    let text = "
idle-instances: 1
queues:
  - queue: linux
    groups: [a, b]
  - groups: [c]
  - queue: linux
    groups: [b]
  - queue: linux
    endpoint: https://other.example
    min-instance: 1
";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn a_key_that_is_misspelt_finds_the_one_that_is_meant() {
    for (key, meant) in [
        ("idle_instances", Some("idle-instances")),
        ("Max-Instances", Some("max-instances")),
        ("instances-buffer", Some("instance-buffer")),
        ("timezone", Some("time-zone")),
        ("colour", None),
    ] {
        let told = faults(&format!("{key}: 1"));
        match meant {
            Some(meant) => assert!(told.contains(&format!("did you mean `{meant}`?")), "{told}"),
            None => assert!(told.ends_with("docs/scaler.md lists all"), "{told}"),
        }
    }
}

proptest! {
    #[test]
    fn law_any_text_is_a_document_or_has_faults(text in "([a-z-]{1,12}: ?[\\PC\n]{0,12}\n){0,6}") {
        let _ = read(&text);
    }

    #[test]
    fn law_a_fault_names_a_key_that_is_there(value in prop_oneof![Just("-1"), Just("x y"), Just("[]"), Just("{}"), Just("2.5"), Just("~")],
        key in prop::sample::select(vec!["agents-per-instance", "instance-buffer", "idle-instances", "min-instances",
            "max-instances", "include-waiting", "scale-in", "scale-out", "launch-patience", "interval", "metrics"])) {
        let told = faults(&format!("{key}: {value}"));
        let named = told.starts_with(&format!("settings: {key} "));
        prop_assert!(named, "{}", told);
    }
}
