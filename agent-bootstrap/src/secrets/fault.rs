//! Failed calls, told so that somebody can act: step, object, what to do next.

use aws::{CallError, Fault};

use crate::failure::Failure;

/// A failed call to the secrets bucket.
#[must_use]
pub fn of_call(error: &CallError) -> Failure {
    let (code, advice) = advice(error);
    let message =
        format!("secrets: {} of {}: {}; {advice}", error.operation, error.resource, one_line(&error.detail));
    Failure { code, message }
}

/// A failed call to KMS about the key of an object.
#[must_use]
pub fn of_key(error: &CallError, object: &str) -> Failure {
    let next = match error.fault {
        Fault::Denied | Fault::DeniedByKey => "allow the instance role kms:DescribeKey on this key",
        Fault::Throttled | Fault::Unreachable => "run the job again; does the instance reach KMS?",
        _ => "check SECRETS_KMS_KEY",
    };
    let detail = one_line(&error.detail);
    Failure {
        code: error.fault.exit_code(),
        message: format!("secrets: {} of {} for {object}: {detail}; {next}", error.operation, error.resource),
    }
}

/// Exit code and the next action.
fn advice(error: &CallError) -> (u8, String) {
    if error.is_no_such_bucket() {
        return (78, "the bucket does not exist: check BUILDKITE_PLUGIN_S3_SECRETS_BUCKET".to_owned());
    }
    if let Some(region) = elsewhere(error) {
        return (78, format!("the bucket lies in {region}: set BUILDKITE_PLUGIN_S3_SECRETS_REGION={region}"));
    }
    if error.code.as_deref() == Some("TooLarge") {
        return (1, "keep large files elsewhere and fetch them in the job".to_owned());
    }
    let advice = match error.fault {
        Fault::Denied => {
            "allow the instance role s3:GetObject on the bucket's objects and s3:ListBucket on the bucket; \
             no job runs with half its secrets"
        }
        Fault::DeniedByKey => {
            "the role may read the object but not use its KMS key: allow kms:Decrypt on that key, in the role's \
             and in the key's policy"
        }
        Fault::Throttled => "S3 or KMS asks to slow down: run the job again",
        Fault::Unreachable => "no usable answer: run the job again; does the instance reach S3?",
        Fault::Absent | Fault::Invalid | Fault::Other => "check bucket and region of the secrets",
    };
    (error.fault.exit_code(), advice.to_owned())
}

/// Another region that S3 named. S3 adds the header to many answers, so only these two kinds mean it.
fn elsewhere(error: &CallError) -> Option<&str> {
    let code = error.code.as_deref().unwrap_or_default();
    let moved = matches!(error.status, Some(301 | 307))
        || matches!(
            code,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
        );
    error.bucket_region.as_deref().filter(|_| moved)
}

/// Answers come from the network: no line breaks, no terminal control.
fn one_line(detail: &str) -> String {
    detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: Fault, code: Option<&str>, status: Option<u16>, region: Option<&str>) -> CallError {
        CallError {
            fault,
            operation: "s3:GetObject",
            resource: "s3://b/app/env".to_owned(),
            code: code.map(str::to_owned),
            status,
            bucket_region: region.map(str::to_owned),
            detail: "AWS's\nown words".to_owned(),
        }
    }

    #[test]
    fn every_fault_has_its_exit_code_and_its_advice() {
        let cases = [
            (error(Fault::Absent, Some("NoSuchBucket"), Some(404), None), 78, "does not exist"),
            (error(Fault::Absent, None, Some(404), None), 1, "check bucket"),
            (error(Fault::Denied, Some("AccessDenied"), Some(403), Some("us-east-1")), 77, "s3:ListBucket"),
            (error(Fault::DeniedByKey, Some("AccessDenied"), Some(403), None), 77, "kms:Decrypt"),
            (error(Fault::Throttled, Some("SlowDown"), Some(503), None), 75, "slow down"),
            (error(Fault::Unreachable, None, None, None), 69, "reach S3"),
            (error(Fault::Invalid, Some("TooLarge"), None, None), 1, "large files"),
            (
                error(Fault::Other, Some("PermanentRedirect"), Some(301), Some("eu-west-1")),
                78,
                "BUILDKITE_PLUGIN_S3_SECRETS_REGION=eu-west-1",
            ),
            (
                error(Fault::Invalid, Some("AuthorizationHeaderMalformed"), Some(400), Some("eu-west-1")),
                78,
                "lies in eu-west-1",
            ),
        ];
        for (error, code, words) in cases {
            let failure = of_call(&error);
            assert_eq!(failure.code, code, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
            assert!(
                !failure.message.contains('\n') && failure.message.contains("s3://b/app/env"),
                "{failure}"
            );
        }
    }
}
