use proptest::prelude::*;

use super::*;

fn context() -> Context {
    let mut context = Context::from([
        ("aws:SecureTransport", "true"),
        ("aws:SourceIp", "127.0.0.1"),
        ("aws:SourceArn", "arn:aws:events:eu-west-1:1:rule/tick"),
        ("aws:CurrentTime", "2026-11-21T10:00:00Z"),
        ("s3:prefix", "pipe/"),
        ("s3:max-keys", "10"),
        ("aws:username", "ann"),
        ("kms:ViaService", "s3.eu-west-1.amazonaws.com"),
    ]);
    context.set_all("aws:TagKeys", vec!["queue".into(), "stack".into()]);
    context
}

/// Operator, key, values, whether it holds: IAM's reference pages on condition operators and on conditions with
/// several keys or values.
const TABLE: &[(&str, &str, &[&str], bool)] = &[
    ("StringEquals", "s3:prefix", &["pipe/"], true),
    ("StringEquals", "S3:PREFIX", &["pipe/"], true),
    ("StringEquals", "s3:prefix", &["PIPE/"], false),
    ("StringEquals", "s3:prefix", &["other", "pipe/"], true),
    ("StringEquals", "s3:prefix", &["pipe*"], false),
    ("StringEquals", "aws:username", &["${aws:username}"], true),
    ("StringEqualsIgnoreCase", "s3:prefix", &["PIPE/"], true),
    ("StringNotEquals", "s3:prefix", &["other", "pipe/"], false),
    ("StringNotEquals", "s3:prefix", &["other", "another"], true),
    ("StringLike", "s3:prefix", &["p?pe*"], true),
    ("StringNotLike", "s3:prefix", &["pipe*"], false),
    // An absent key fails a positive test and passes a negated one.
    ("StringEquals", "s3:absent", &["x"], false),
    ("StringNotEquals", "s3:absent", &["x"], true),
    ("StringLike", "s3:absent", &["*"], false),
    ("StringEqualsIfExists", "s3:absent", &["x"], true),
    ("StringEqualsIfExists", "s3:prefix", &["x"], false),
    ("Bool", "s3:absent", &["false"], false),
    ("BoolIfExists", "s3:absent", &["false"], true),
    ("Null", "s3:absent", &["true"], true),
    ("Null", "s3:absent", &["false"], false),
    ("Null", "s3:prefix", &["false"], true),
    ("Null", "s3:prefix", &["true"], false),
    ("Bool", "aws:SecureTransport", &["true"], true),
    ("Bool", "aws:SecureTransport", &["false"], false),
    ("ArnEquals", "aws:SourceArn", &["arn:aws:events:*:1:rule/*"], true),
    ("ArnLike", "aws:SourceArn", &["arn:aws:events:*:1:rule/t?ck"], true),
    ("ArnLike", "aws:SourceArn", &["arn:aws:sqs:*"], false),
    ("ArnNotLike", "aws:SourceArn", &["arn:aws:sqs:*"], true),
    ("NumericLessThanEquals", "s3:max-keys", &["10"], true),
    ("NumericLessThan", "s3:max-keys", &["10"], false),
    ("NumericGreaterThan", "s3:max-keys", &["nonsense"], false),
    ("NumericNotEquals", "s3:max-keys", &["11"], true),
    ("DateGreaterThan", "aws:CurrentTime", &["2026-01-01"], true),
    ("DateLessThan", "aws:CurrentTime", &["1767225600"], false),
    ("IpAddress", "aws:SourceIp", &["127.0.0.0/8"], true),
    ("IpAddress", "aws:SourceIp", &["10.0.0.0/8", "127.0.0.1"], true),
    ("NotIpAddress", "aws:SourceIp", &["127.0.0.0/8"], false),
    ("IpAddress", "aws:SourceIp", &["::1/128"], false),
    ("IpAddress", "aws:SourceIp", &["0.0.0.0/0"], true),
    ("ForAllValues:StringEquals", "aws:TagKeys", &["queue", "stack", "x"], true),
    ("ForAllValues:StringEquals", "aws:TagKeys", &["queue"], false),
    ("ForAllValues:StringEquals", "aws:absent", &["queue"], true),
    ("ForAnyValue:StringEquals", "aws:TagKeys", &["queue"], true),
    ("ForAnyValue:StringEquals", "aws:TagKeys", &["x"], false),
    ("ForAnyValue:StringEquals", "aws:absent", &["queue"], false),
    ("ForAllValues:StringNotEquals", "aws:TagKeys", &["queue"], false),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", &["queue"], true),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", &["queue", "stack"], false),
    ("StringLike", "kms:ViaService", &["s3.*.amazonaws.com"], true),
];

#[test]
fn operators_mean_what_iam_documents() {
    for (operator, key, values, expected) in TABLE {
        let values = values.iter().map(ToString::to_string).collect();
        let condition = Condition::read(operator, key, values).unwrap();
        assert_eq!(condition.holds(&context(), true), *expected, "{operator} {key} {condition:?}");
    }
}

#[test]
fn unknown_operators_are_refused() {
    for operator in ["StringMatches", "ForSomeValues:StringEquals", "stringequals", ""] {
        assert_eq!(Condition::read(operator, "aws:x", vec![]), None, "{operator}");
    }
}

#[test]
fn variables_are_text_in_old_policies() {
    let condition = Condition::read("StringEquals", "aws:username", vec!["${aws:username}".into()]).unwrap();
    assert!(!condition.holds(&context(), false));
}

proptest! {
    #[test]
    fn a_negated_operator_is_the_opposite_where_the_key_is_there(
        value in "[a-c*]{0,3}",
        wanted in prop::collection::vec("[a-c*?]{0,3}", 1..4),
        pair in prop::sample::select(vec![("StringEquals", "StringNotEquals"), ("StringLike", "StringNotLike")]),
    ) {
        let mut context = Context::default();
        context.set("k", value);
        let plain = Condition::read(pair.0, "k", wanted.clone()).unwrap();
        let negated = Condition::read(pair.1, "k", wanted).unwrap();
        prop_assert_ne!(plain.holds(&context, true), negated.holds(&context, true));
    }

    #[test]
    fn no_network_panics(network in "[0-9a-f:./]{0,20}", address in "[0-9a-f:.]{0,20}") {
        let _ = in_network(&network, &address);
    }
}
