use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::iam::context::Context;
use crate::iam::policy::Principal;

fn agent() -> Principal {
    Principal {
        account: "1".into(),
        arn: "arn:aws:sts::1:assumed-role/agent/i-1".into(),
        role_arn: Some("arn:aws:iam::1:role/agent".into()),
    }
}

fn policy(statements: Value) -> Policy {
    Policy::read("p", &json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
}

fn allow(action: &str, resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

fn deny(action: &str, resource: &str) -> Value {
    json!({"Effect": "Deny", "Action": action, "Resource": resource})
}

fn to(principal: Value, effect: &str) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": "s3:*", "Resource": "*"})
}

const OBJECT: &str = "arn:aws:s3:::secrets/pipe/env";

fn check(
    identity: Value,
    boundary: Option<Value>,
    resource: Option<Value>,
    decides: bool,
) -> Result<(), Denial> {
    let context = Context::from([("aws:SecureTransport", "true")]);
    let principal = agent();
    let request =
        Request { action: "s3:GetObject", resource: OBJECT, principal: &principal, context: &context };
    let (boundary, resource) = (boundary.map(policy), resource.map(policy));
    let policies = Policies {
        identity: &[policy(identity)],
        boundary: boundary.as_ref(),
        resource: resource.as_ref(),
        resource_decides: decides,
    };
    match decide(&request, &policies) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(denial) => Err(denial),
    }
}

/// IAM's policy evaluation logic within one account.
#[test]
fn identity_policies() {
    let not_action = |action: &str| json!({"Effect": "Allow", "NotAction": action, "Resource": "*"});
    let not_resource = |resource: &str| json!({"Effect": "Allow", "Action": "*", "NotResource": resource});
    for (identity, expected) in [
        (json!([]), Err(Denial::NoIdentity)),
        (allow("s3:GetObject", OBJECT), Ok(())),
        (allow("s3:get*", "arn:aws:s3:::secrets/*"), Ok(())),
        (allow("s3:GetObject", "arn:aws:s3:::secrets"), Err(Denial::NoIdentity)),
        (allow("s3:PutObject", "*"), Err(Denial::NoIdentity)),
        (json!([allow("*", "*"), deny("s3:*", "arn:aws:s3:::secrets/*")]), Err(Denial::ByIdentity)),
        (json!([allow("*", "*"), deny("s3:*", "arn:aws:s3:::other/*")]), Ok(())),
        (not_action("iam:*"), Ok(())),
        (not_action("s3:*"), Err(Denial::NoIdentity)),
        (not_resource("arn:aws:s3:::other/*"), Ok(())),
        (not_resource("arn:aws:s3:::secrets/*"), Err(Denial::NoIdentity)),
    ] {
        assert_eq!(check(identity.clone(), None, None, false), expected, "{identity}");
    }
}

#[test]
fn a_boundary_limits_and_grants_nothing() {
    let own = allow("s3:*", "*");
    for (identity, boundary, expected) in [
        (own.clone(), allow("s3:Get*", "*"), Ok(())),
        (own.clone(), allow("ec2:*", "*"), Err(Denial::NoBoundary)),
        (own, json!([allow("*", "*"), deny("s3:*", "*")]), Err(Denial::ByBoundary)),
        (json!([]), allow("*", "*"), Err(Denial::NoIdentity)),
    ] {
        assert_eq!(check(identity, Some(boundary.clone()), None, false), expected, "{boundary}");
    }
}

#[test]
fn resource_policies_grant_and_deny() {
    let (session, role, account) = (
        json!({"AWS": "arn:aws:sts::1:assumed-role/agent/i-1"}),
        json!({"AWS": "arn:aws:iam::1:role/agent"}),
        json!({"AWS": "arn:aws:iam::1:root"}),
    );
    let nothing = json!([]);
    let own = allow("s3:*", "*");
    let narrow = Some(allow("ec2:*", "*"));
    for (identity, boundary, statement, decides, expected) in [
        (&nothing, None, to(role.clone(), "Allow"), false, Ok(())),
        (&nothing, None, to(json!("*"), "Allow"), false, Ok(())),
        (&nothing, None, to(account.clone(), "Allow"), false, Err(Denial::NoIdentity)),
        (&own, None, to(account.clone(), "Allow"), true, Ok(())),
        (&nothing, None, to(account.clone(), "Allow"), true, Err(Denial::NoIdentity)),
        (&own, None, json!([]), true, Err(Denial::NoResource)),
        (&nothing, None, to(role.clone(), "Allow"), true, Ok(())),
        (&own, None, to(json!("*"), "Deny"), false, Err(Denial::ByResource)),
        (&own, None, to(account, "Deny"), false, Err(Denial::ByResource)),
        (&own, None, to(json!({"AWS": "arn:aws:iam::1:role/other"}), "Deny"), false, Ok(())),
        (&own, None, to(json!({"Service": "events.amazonaws.com"}), "Deny"), false, Ok(())),
        (&nothing, narrow.clone(), to(role, "Allow"), false, Err(Denial::NoIdentity)),
        (&nothing, narrow, to(session, "Allow"), false, Ok(())),
    ] {
        let found = check(identity.clone(), boundary, Some(statement.clone()), decides);
        assert_eq!(found, expected, "{identity} {statement}");
    }
}

#[test]
fn conditions_belong_to_their_statement() {
    let plain = json!([
        allow("s3:*", "*"),
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    ]);
    assert_eq!(check(plain, None, None, false), Ok(()));
    let kept = json!({"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": true}, "StringEquals": {"aws:absent": "x"}}});
    assert_eq!(check(kept, None, None, false), Err(Denial::NoIdentity));
}

#[test]
fn malformed_documents_are_refused() {
    for document in [
        json!({}),
        json!({"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}),
        json!({"Statement": {"Effect": "Allow", "Resource": "*"}}),
        json!({"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}}),
        json!({"Statement": {"Effect": "Allow", "Action": {"a": 1}, "Resource": "*"}}),
        json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Sounds": {"a": "b"}}}}),
    ] {
        assert!(Policy::read("p", &document).is_err(), "{document}");
    }
}

proptest! {
    /// An explicit deny wins whatever stands beside it, in any order.
    #[test]
    fn a_deny_wins(at in 0_usize..4, others in prop::collection::vec(prop::sample::select(vec!["*", "s3:*", "ec2:*"]), 4)) {
        let mut statements: Vec<Value> = others.iter().map(|action| allow(action, "*")).collect();
        statements.insert(at, deny("s3:GetObject", "arn:aws:s3:::secrets/*"));
        prop_assert_eq!(check(json!(statements), Some(allow("*", "*")), Some(to(json!("*"), "Allow")), false), Err(Denial::ByIdentity));
    }

    /// What is allowed under a boundary is allowed without it.
    #[test]
    fn a_boundary_never_widens(own in "(s3|ec2):(\\*|Get\\*)", limit in "(s3|ec2|\\*)") {
        let limit = if limit == "*" { limit } else { format!("{limit}:*") };
        let within = check(allow(&own, "*"), Some(allow(&limit, "*")), None, false);
        if within.is_ok() {
            prop_assert_eq!(check(allow(&own, "*"), None, None, false), Ok(()));
        }
    }
}
