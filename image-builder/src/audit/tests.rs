//! K10, K11, K12. The files in `fixtures` are the output of PHP's spyc (eeb9f7c) of the same values; `made.php` beside
//! them is the program that made them.

use jiff::Timestamp;
use proptest::prelude::*;

use super::emitter::{Node, emit};
use super::reader::{PastBuild, read};
use super::*;

const BODY: &str =
    "{\n  \"templatename\": \"web/base.json\",\n  \"sha\": \"0123456789abcdef0123456789abcdef01234567\"\n}";

fn audit(end: End) -> Audit {
    Audit {
        execution: ExecutionId("60a248ca3d5f0a1b2".to_owned()),
        started: at(1_700_000_000_123_456),
        queue_url: "https://sqs.eu-west-1.amazonaws.com/111122223333/kiln-KilnBuildRequestQueue-ABCDEFGHIJKL"
            .to_owned(),
        message: Some(AuditedMessage {
            body: BODY.to_owned(),
            md5: "00112233445566778899aabbccddeeff".to_owned(),
            id: "11111111-2222-3333-4444-555555555555".to_owned(),
        }),
        template: "web/base.json".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        end,
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

fn built() -> End {
    let image = AuditedImage { id: "ami-0abc1234".to_owned(), region: "eu-west-1".to_owned() };
    End::Built { image, at: at(1_700_000_123_456_789) }
}

#[test]
fn k10_the_key_is_kilns() {
    assert_eq!(audit(built()).key(), "builds/web/base.json/2023-11-14T22-13-20/0123456.yml");
}

#[test]
fn the_key_of_a_bad_message_stays_below_builds() {
    for (template, commit, key) in [
        ("", "", "builds/_/2023-11-14T22-13-20/_.yml"),
        ("../../x", "-f", "builds/_/_/x/2023-11-14T22-13-20/-f.yml"),
        ("a//b\n", "main", "builds/a/_/b_/2023-11-14T22-13-20/main.yml"),
        ("x", "../../../y", "builds/x/2023-11-14T22-13-20/_______.yml"),
    ] {
        let audit = Audit { template: template.to_owned(), commit: commit.to_owned(), ..audit(End::Failed) };
        assert_eq!(audit.key(), key);
    }
}

#[test]
fn k11_an_image_s_audit_is_byte_for_byte_what_kiln_wrote() {
    assert_eq!(audit(built()).to_yaml(), include_str!("fixtures/built.yml"));
}

#[test]
fn k11_a_failure_s_audit_is_byte_for_byte_what_kiln_wrote() {
    assert_eq!(audit(End::Failed).to_yaml(), include_str!("fixtures/failed.yml"));
    let mut one_line = audit(End::Failed);
    one_line.message.as_mut().unwrap().body = r#"{"templateName":"a.json","sha":"0123456"}"#.to_owned();
    assert_eq!(one_line.to_yaml(), include_str!("fixtures/one_line.yml"));
}

#[test]
fn k11_every_rule_of_quoting_is_spyc_s() {
    let texts = [
        "",
        "0",
        "12",
        "-1.5e3",
        "1e",
        ".5",
        "+7",
        "0x1A",
        " 12",
        "yes",
        "No",
        "oN",
        "~",
        "null",
        "NULL",
        "true",
        "y",
        "N",
        "a: b",
        "a:",
        "a - b",
        "-a",
        "*a",
        "#",
        "<a>",
        "[x]",
        "{x}",
        "a&b",
        "!x",
        "a!b",
        "it's",
        "it's \"so\"",
        "\"q\"",
        "two  spaces",
        " lead",
        "trail ",
        "a\nb",
        "a\n",
        "\n",
        "\n\n",
        "it's\nso",
        "https://sqs.eu-west-1.amazonaws.com/111122223333/some-long-queue-name",
        "the quick brown fox jumps over the lazy dog and runs away from it",
        "0123456789012345678901234567890123456789 a",
        "0123456789012345678901234567890123456789",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bb cc dd ee ff gg hh ii jj kk ll mm nn",
        "12345678901234567890123456789012345678901234567890",
        "grün ist die Farbe der Hoffnung und auch des Gräses hier",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d ",
    ];
    let nested: Vec<_> =
        texts.iter().enumerate().map(|(n, text)| (format!("k{n}"), Node::text(*text))).collect();
    let mut keys = nested.clone();
    keys.push(("nested".to_owned(), Node::Map(nested)));
    assert_eq!(emit(&keys), include_str!("fixtures/quoting.yml"));
}

#[test]
fn k11_numbers_have_fourteen_digits_as_php_s() {
    let numbers = [
        0.0,
        1.0,
        0.5,
        1_700_000_000.0,
        1_700_000_000.123_456,
        1_700_000_000.123_5,
        1_700_000_000.5,
        123.333_3,
        1_700_000_123.456_8 - 1_700_000_000.123_5,
        0.000_123,
        0.000_012_34,
        1e-7,
        12_345_678_901_234.0,
        1e14,
        1.5e15,
        123_456_789_012_345.6,
        0.1 + 0.2,
        3.000_000_000_000_001,
        7200.25,
    ];
    let keys: Vec<_> =
        numbers.iter().enumerate().map(|(n, number)| (format!("k{n}"), Node::Seconds(*number))).collect();
    assert_eq!(emit(&keys), include_str!("fixtures/numbers.yml"));
}

#[test]
fn k12_all_generations_are_read() {
    let expected = PastBuild {
        execution: "60a248ca3d5f0a1b2".to_owned(),
        started: at(1_700_000_000_123_500),
        ended: Some(at(1_700_000_123_456_800)),
        queue: "https://sqs.eu-west-1.amazonaws.com/111122223333/kiln-KilnBuildRequestQueue-ABCDEFGHIJKL"
            .to_owned(),
        message: Some(BODY.to_owned()),
        template: "web/base.json".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        image: Some(AuditedImage { id: "ami-0abc1234".to_owned(), region: "eu-west-1".to_owned() }),
        failed: false,
    };
    assert_eq!(read(include_str!("fixtures/built.yml")).unwrap(), expected);
    assert_eq!(read(include_str!("fixtures/generation_3_3.yml")).unwrap(), expected);
    let by_name = PastBuild { queue: "kiln-builds".to_owned(), ..expected.clone() };
    assert_eq!(read(include_str!("fixtures/generation_3_2.yml")).unwrap(), by_name);
    let failed = PastBuild { ended: None, image: None, failed: true, ..expected };
    assert_eq!(read(include_str!("fixtures/failed.yml")).unwrap(), failed);
    for no_audit in [
        "",
        "a",
        "[1]",
        "executionUuid: x",
        "startTimestamp: 1",
        "startTimestamp: x\nexecutionUuid: y",
        ": :\n -",
    ] {
        read(no_audit).unwrap_err();
    }
}

#[test]
fn an_execution_s_id_is_as_php_made_them() {
    let id = ExecutionId::new(at(1_700_000_000_123_456));
    assert_eq!(id.as_str().len(), 17);
    assert!(id.as_str().starts_with("6553f1001e240"), "{id}");
    assert_eq!(ExecutionId::parse(id.as_str()).unwrap().at(), Some(at(1_700_000_000_123_456)));
    assert_eq!(ExecutionId::parse("6553f100"), None);
    assert_ne!(id, ExecutionId::new(at(1_700_000_000_123_456)));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        body in "[ -~\n]{0,80}",
        template in "[a-z0-9/. '#:-]{1,70}",
        micros in 1_000_000_000_000_000_i64..4_000_000_000_000_000,
    ) {
        let mut written = audit(built());
        written.message.as_mut().unwrap().body = body;
        written.template = template;
        written.started = at(micros);
        if let Ok(past) = read(&written.to_yaml()) {
            prop_assert_eq!(past.execution.as_str(), written.execution.as_str());
            // Fourteen digits hold a tenth of a millisecond.
            let off = past.started.as_microsecond() - micros;
            prop_assert!(off.abs() <= 51, "{off}");
            prop_assert_eq!(past.image.unwrap().id, "ami-0abc1234");
        }
    }
}
