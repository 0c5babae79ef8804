//! The instance metadata service, version 2 only (token first), on `AWS_EC2_METADATA_SERVICE_ENDPOINT` if set.

use std::time::Duration;

use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;

use crate::fault::{CallError, Fault};

/// Reads instance metadata. Cloning shares the session token.
#[derive(Debug, Clone)]
pub struct Imds {
    client: aws_config::imds::Client,
}

impl Imds {
    /// A client with bounded patience: on an instance the service answers within a millisecond, and elsewhere
    /// (a laptop) nothing should hang for long.
    #[must_use]
    pub fn new() -> Self {
        Self { client: builder().build() }
    }

    /// The same, at a given URL instead of the environment's.
    ///
    /// # Errors
    /// `url` is no URL; the message says why.
    pub fn at(url: &str) -> Result<Self, String> {
        let builder = builder().endpoint(url).map_err(|e| format!("{url}: {e}"))?;
        Ok(Self { client: builder.build() })
    }

    /// The text at `path` below `/latest/`, for example `meta-data/instance-id`; `None` when there is none (404).
    ///
    /// # Errors
    /// [`Fault::Unreachable`] when the service does not answer, [`Fault::Denied`] when it refuses.
    pub async fn get(&self, path: &str) -> Result<Option<String>, CallError> {
        let full = format!("/latest/{}", path.trim_start_matches('/'));
        match self.client.get(&full).await {
            Ok(text) => Ok(Some(text.into())),
            Err(error) => match status(&error) {
                Some(404) => Ok(None),
                status => Err(failure(&full, status, &error)),
            },
        }
    }

    /// Like [`Imds::get`], for what every instance has.
    ///
    /// # Errors
    /// As [`Imds::get`]; [`Fault::Absent`] when the path does not exist.
    pub async fn require(&self, path: &str) -> Result<String, CallError> {
        self.get(path).await?.ok_or_else(|| CallError {
            fault: Fault::Absent,
            operation: "imds:Get",
            resource: path.to_owned(),
            code: None,
            status: Some(404),
            bucket_region: None,
            detail: "the metadata service has no such path".to_owned(),
        })
    }
}

/// The SDK is built without an HTTP client of its own. The metadata service speaks plain HTTP only, and this client
/// spares the trust store's parsing.
fn builder() -> aws_config::imds::client::Builder {
    let plain = aws_smithy_http_client::Builder::new().build_http();
    let provider = ProviderConfig::without_region().with_http_client(plain);
    aws_config::imds::Client::builder()
        .configure(&provider)
        .max_attempts(4)
        .connect_timeout(Duration::from_secs(1))
        .read_timeout(Duration::from_secs(2))
}

impl Default for Imds {
    fn default() -> Self {
        Self::new()
    }
}

fn status(error: &ImdsError) -> Option<u16> {
    match error {
        ImdsError::ErrorResponse(answer) => Some(answer.response().status().as_u16()),
        _ => None,
    }
}

fn failure(path: &str, status: Option<u16>, error: &ImdsError) -> CallError {
    let fault = match status {
        Some(401 | 403) => Fault::Denied,
        Some(400..=499) => Fault::Invalid,
        _ => Fault::Unreachable,
    };
    let causes: Vec<String> =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |e| (**e).source())
            .map(ToString::to_string)
            .collect();
    CallError {
        fault,
        operation: "imds:Get",
        resource: path.to_owned(),
        code: None,
        status,
        bucket_region: None,
        detail: causes.join(": "),
    }
}
