use super::*;
use crate::doctor::report::{Report, Verdict};

fn error(fault: Fault, code: &str) -> CallError {
    CallError {
        fault,
        operation: "s3:ListBucket",
        resource: "s3://b".into(),
        code: Some(code.into()),
        status: None,
        bucket_region: None,
        detail: code.into(),
    }
}

fn verdicts(checks: Vec<Check>) -> Vec<Verdict> {
    checks.into_iter().map(|check| check.verdict).collect()
}

use Verdict::{Fail, Ok as Good, Warn};

#[test]
fn every_fault_of_the_bucket_has_its_own_fix() {
    let moved =
        CallError { bucket_region: Some("eu-west-1".into()), ..error(Fault::Other, "PermanentRedirect") };
    let checks = vec![
        bucket(Some("b"), Ok(())),
        bucket(None, Ok(())),
        bucket(Some("b"), Err(error(Fault::Absent, "NoSuchBucket"))),
        bucket(Some("b"), Err(error(Fault::Denied, "AccessDenied"))),
        bucket(Some("b"), Err(error(Fault::Unreachable, "timeout"))),
        bucket(Some("b"), Err(moved)),
    ];
    insta::assert_snapshot!(Report { checks }.text());
}

#[test]
fn kms_and_decrypting_are_told_apart() {
    let key_of =
        |usable, state: &str| Key { arn: "arn:aws:kms:r:1:key/k".into(), state: state.into(), usable };
    let read = ReadObject::Read { key: "env".into(), encryption: "aws:kms under k".into() };
    let checks = vec![
        key(None, Ok(key_of(true, ""))),
        key(Some("alias/ci"), Ok(key_of(true, "Enabled"))),
        key(Some("alias/ci"), Ok(key_of(false, "PendingDeletion"))),
        key(Some("alias/ci"), Err(error(Fault::Absent, "NotFoundException"))),
        key(Some("alias/ci"), Err(error(Fault::Denied, "AccessDeniedException"))),
        decrypt(Some("b"), Ok(read)),
        decrypt(Some("b"), Ok(ReadObject::NothingThere)),
        decrypt(Some("b"), Err(error(Fault::DeniedByKey, "AccessDenied"))),
        decrypt(Some("b"), Err(error(Fault::Denied, "AccessDenied"))),
        decrypt(None, Ok(ReadObject::NothingThere)),
    ];
    insta::assert_snapshot!(Report { checks }.text());
}

#[test]
fn the_ci_is_reached_refuses_or_is_not_there() {
    let call = "GET metrics/queue";
    let refused = ApiError::Unauthorized { call, message: "no".into() };
    let limited = ApiError::Throttled { call, message: "slow".into(), retry_after: None };
    let checks = vec![
        ci(Some("http://ci/v3"), Some("linux"), Ok(())),
        ci(None, None, Ok(())),
        ci(Some("http://ci/v3"), None, Err(refused)),
        ci(Some("http://ci/v3"), None, Err(limited)),
        ci(Some("http://ci/v3"), None, Err(ApiError::Timeout { call })),
    ];
    assert_eq!(verdicts(checks), [Good, Fail, Fail, Warn, Fail]);
}

#[test]
fn identity_says_what_to_do_by_the_kind_of_fault() {
    for (fault, word) in
        [(Fault::Denied, "role"), (Fault::Unreachable, "route"), (Fault::Invalid, "AWS_REGION")]
    {
        let check = identity(Err(error(fault, "x")));
        assert_eq!(check.verdict, Fail);
        assert!(check.fix.unwrap().contains(word), "{fault:?}");
    }
    let caller = Caller { arn: "arn:aws:sts::1:r".into(), region: "eu-west-1".into() };
    assert_eq!(identity(Ok(caller)).found, "arn:aws:sts::1:r in eu-west-1");
}

#[test]
fn disk_fails_where_the_stacks_own_check_would() {
    let path = std::path::Path::new("/var/lib/docker");
    for (gib, inodes, expected) in [
        (4, Some(1_000_000), Fail),
        (50, Some(249_999), Fail),
        (7, Some(1_000_000), Warn),
        (50, Some(300_000), Warn),
        (50, Some(1_000_000), Good),
        (50, None, Good),
    ] {
        let room = Room { bytes: gib << 30, inodes };
        assert_eq!(disk(path, Ok(&room)).verdict, expected, "{gib} GiB {inodes:?}");
    }
    assert_eq!(disk(path, Err(&"gone".to_owned())).verdict, Warn);
}

#[test]
fn clocks_may_differ_by_seconds_and_not_by_minutes() {
    let here: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    for (seconds, expected) in
        [(0, Good), (29, Good), (-29, Good), (31, Warn), (-200, Warn), (301, Fail), (-4000, Fail)]
    {
        let there = here - jiff::SignedDuration::from_secs(seconds);
        let check = clock(Ok(ClockAnswer { of: "sts".into(), there, here }), here);
        assert_eq!(check.verdict, expected, "{seconds} s: {}", check.found);
        assert!(check.found.contains(if seconds < 0 { "behind" } else { "ahead" }));
    }
    assert_eq!(clock(Err("no answer".into()), here).verdict, Warn);
}

#[test]
fn docker_and_its_credential_helper() {
    let answers = [
        (DockerAnswer::Version("26".into()), Good),
        (DockerAnswer::NoProgram, Warn),
        (DockerAnswer::Failed("permission denied".into()), Fail),
    ];
    for (answer, expected) in answers {
        assert_eq!(docker(answer).verdict, expected);
    }
    assert_eq!(verdicts(vec![helper(None), helper(Some("/usr/bin/x".into()))]), [Warn, Good]);
}
