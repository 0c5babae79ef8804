//! What went wrong with an AWS call, in the few kinds that callers decide by.

use std::error::Error;
use std::fmt::Write as _;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The kinds of failure that lead to different decisions. Only [`Fault::Absent`] may ever mean "there is none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The object, parameter or group does not exist.
    Absent,
    /// The caller may not do this.
    Denied,
    /// The caller may read the object, but not use the KMS key that encrypts it; or the key is disabled or gone.
    DeniedByKey,
    /// Asked too often; trying later will do.
    Throttled,
    /// No answer: refused, timed out, no such host, or an answer that no AWS service gives (5xx).
    Unreachable,
    /// The request itself is wrong: it will fail again.
    Invalid,
    /// None of these.
    Other,
}

impl Fault {
    /// May the same call succeed later without anybody changing anything?
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Throttled | Self::Unreachable)
    }

    /// The exit code of DESIGN §3.5.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Denied | Self::DeniedByKey => 77,
            Self::Throttled => 75,
            Self::Unreachable => 69,
            Self::Absent | Self::Invalid | Self::Other => 1,
        }
    }
}

/// A failed AWS call: which operation, on what, how, and AWS's own words. Never holds what was sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} on {resource}: {detail}")]
pub struct CallError {
    /// The kind that callers decide by.
    pub fault: Fault,
    /// For example `s3:GetObject`.
    pub operation: &'static str,
    /// For example `s3://bucket/key`.
    pub resource: String,
    /// AWS's error code, for example `NoSuchKey`.
    pub code: Option<String>,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// S3's word on where the bucket really is, when it lies in another region.
    pub bucket_region: Option<String>,
    /// Code, message and cause in one line, for people.
    pub detail: String,
}

impl CallError {
    /// Classifies an SDK error. `operation` is IAM's name of the action, `resource` an ARN, URI or name.
    pub fn new<E>(
        error: &SdkError<E, HttpResponse>,
        operation: &'static str,
        resource: impl Into<String>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let response = error.raw_response();
        let status = response.map(|r| r.status().as_u16());
        let bucket_region = response.and_then(|r| r.headers().get("x-amz-bucket-region")).map(str::to_owned);
        let service = error.as_service_error();
        let code = service.and_then(|e| e.code()).map(str::to_owned);
        let message = service.and_then(|e| e.message()).unwrap_or_default();
        let fault = match error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => unanswered(error),
            SdkError::ConstructionFailure(_) => no_request(error),
            _ => classify(code.as_deref(), status, message),
        };
        let detail = describe(code.as_deref(), status, message, error);
        Self { fault, operation, resource: resource.into(), code, status, bucket_region, detail }
    }

    /// Is this S3's word that the *bucket* (not the object) does not exist?
    #[must_use]
    pub fn is_no_such_bucket(&self) -> bool {
        self.code.as_deref() == Some("NoSuchBucket")
    }
}

/// A dispatch failure without credentials never left this machine: that is a refusal, not a network fault.
fn unanswered(error: &(dyn Error + 'static)) -> Fault {
    if lacks_credentials(error) { Fault::Denied } else { Fault::Unreachable }
}

fn no_request(error: &(dyn Error + 'static)) -> Fault {
    if lacks_credentials(error) { Fault::Denied } else { Fault::Invalid }
}

fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let text = cause.to_string();
        text.contains("credentials provider was not enabled")
            || text.contains("no providers in chain provided credentials")
    })
}

const THROTTLES: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
    "SlowDown",
    "ProvisionedThroughputExceededException",
];

const DENIALS: [&str; 9] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
];

/// Pure: AWS's code, HTTP status and message decide the kind.
fn classify(code: Option<&str>, status: Option<u16>, message: &str) -> Fault {
    let code = code.unwrap_or_default();
    if THROTTLES.contains(&code) || status == Some(429) {
        return Fault::Throttled;
    }
    // S3 passes KMS's refusals on as its own AccessDenied; only the message names the key.
    let names_kms = message.contains("kms:") || message.contains(":kms:") || message.contains("KMS");
    let refused = DENIALS.contains(&code) || matches!(status, Some(401 | 403));
    if code.starts_with("KMS.") || (refused && names_kms) {
        return Fault::DeniedByKey;
    }
    if refused {
        return Fault::Denied;
    }
    let absent = code.starts_with("NoSuch")
        || code == "NotFound"
        || code.ends_with("NotFound")
        || code.ends_with("NotFoundException")
        || status == Some(404);
    match status {
        _ if absent => Fault::Absent,
        // A 5xx answer tells nothing about the object, just as no answer does.
        Some(500..=599) => Fault::Unreachable,
        Some(400..=499) => Fault::Invalid,
        _ => Fault::Other,
    }
}

fn describe(code: Option<&str>, status: Option<u16>, message: &str, error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    if let Some(code) = code {
        line.push_str(code);
    } else if let Some(status) = status {
        let _ = write!(line, "HTTP {status}");
    }
    if !message.is_empty() {
        let _ = write!(line, ": {message}");
    }
    if line.is_empty() {
        let causes: Vec<String> = chain(error).map(ToString::to_string).collect();
        line = causes.join(": ");
    }
    line
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e| (**e).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_status_and_message_decide_the_fault() {
        let cases: &[(Option<&str>, Option<u16>, &str, Fault)] = &[
            (Some("NoSuchKey"), Some(404), "The specified key does not exist.", Fault::Absent),
            (Some("NoSuchBucket"), Some(404), "", Fault::Absent),
            (None, Some(404), "", Fault::Absent),
            (Some("ResourceNotFoundException"), Some(400), "", Fault::Absent),
            (Some("ParameterNotFound"), Some(400), "", Fault::Absent),
            (Some("AccessDenied"), Some(403), "Access Denied", Fault::Denied),
            (None, Some(403), "", Fault::Denied),
            (
                Some("AccessDenied"),
                Some(403),
                "User: arn:aws:sts::1:assumed-role/r/i is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/k",
                Fault::DeniedByKey,
            ),
            (Some("KMS.DisabledException"), Some(400), "key is disabled", Fault::DeniedByKey),
            (Some("SlowDown"), Some(503), "Please reduce your request rate.", Fault::Throttled),
            (Some("ThrottlingException"), Some(400), "Rate exceeded", Fault::Throttled),
            (Some("InternalError"), Some(500), "", Fault::Unreachable),
            (
                Some("ValidationError"),
                Some(400),
                "New SetDesiredCapacity value 9 is above max value 5",
                Fault::Invalid,
            ),
            (None, None, "", Fault::Other),
        ];
        for (code, status, message, expected) in cases {
            assert_eq!(classify(*code, *status, message), *expected, "{code:?} {status:?} {message}");
        }
    }

    #[test]
    fn only_absent_means_there_is_none_and_only_two_pass() {
        assert!(Fault::Throttled.passes() && Fault::Unreachable.passes());
        assert!(!Fault::Absent.passes() && !Fault::Denied.passes() && !Fault::DeniedByKey.passes());
    }
}
