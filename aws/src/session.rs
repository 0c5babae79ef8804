//! One way to reach AWS: HTTP client, credentials, region, timeouts and retries decided in one place.

use std::sync::LazyLock;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::region::Region;
use secrecy::{ExposeSecret, SecretString};

/// Bounds of every call. A job waits for these, so they are short; the SDK retries with jitter inside them.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest wait for a TCP and TLS connection.
    pub connect: Duration,
    /// Longest wait for one attempt.
    pub attempt: Duration,
    /// Longest wait for a call with all its retries.
    pub operation: Duration,
    /// Attempts in all, the first one included.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(10),
            operation: Duration::from_secs(30),
            attempts: 4,
        }
    }
}

/// There is no region in the environment, the profile or the instance metadata.
#[derive(Debug, thiserror::Error)]
#[error("no AWS region is known: set AWS_REGION, or run on an instance whose metadata service answers")]
pub struct NoRegion;

/// Credentials, region and HTTP client of one process. Cloning is cheap; clients share connections.
#[derive(Debug, Clone)]
pub struct Session {
    config: SdkConfig,
}

impl Session {
    /// Loads region and credentials as every AWS tool does: environment, profile, container, instance metadata.
    /// A given `region` wins over all of them.
    ///
    /// # Errors
    /// [`NoRegion`] when none can be found.
    pub async fn load(region: Option<&str>, patience: Patience) -> Result<Self, NoRegion> {
        Self::of_profile(None, region, patience).await
    }

    /// As [`Session::load`], with this profile of the AWS configuration files where one is given.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub async fn of_profile(
        profile: Option<&str>,
        region: Option<&str>,
        patience: Patience,
    ) -> Result<Self, NoRegion> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(patience.connect)
            .operation_attempt_timeout(patience.attempt)
            .operation_timeout(patience.operation)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(patience.attempts));
        if let Some(region) = region.filter(|r| !r.is_empty()) {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(profile) = profile.filter(|name| !name.is_empty()) {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(NoRegion);
        }
        Ok(Self { config })
    }

    /// A session of these credentials at one endpoint, whatever the environment says: the lab's own.
    pub async fn at(
        endpoint: &str,
        region: &str,
        key: &str,
        secret: &SecretString,
        token: Option<&SecretString>,
    ) -> Self {
        let token = token.map(|token| token.expose_secret().to_owned());
        let credentials = Credentials::new(key, secret.expose_secret(), token, None, "lab");
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .endpoint_url(endpoint)
            .region(Region::new(region.to_owned()))
            .credentials_provider(credentials)
            .load()
            .await;
        Self { config }
    }

    /// The region that calls go to.
    #[must_use]
    pub fn region(&self) -> &str {
        self.config.region().map_or("", |r| r.as_ref())
    }

    /// The same session, calling another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        Self { config }
    }

    /// The configuration that clients are made from, for adapters that need more than the plain client.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// S3. Bucket names go into the path when an endpoint is set, since such an endpoint has no wildcard name.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let path_style = self.config.endpoint_url().is_some() || endpoint_in_environment();
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(path_style).build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_S3`: the SDK resolves them per client, later than we must decide.
#[cfg(feature = "s3")]
fn endpoint_in_environment() -> bool {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

macro_rules! clients {
    ($($feature:literal $method:ident $module:ident),* $(,)?) => {
        impl Session {$(
            #[doc = concat!("A client of the service `", $feature, "`.")]
            #[cfg(feature = $feature)]
            #[must_use]
            pub fn $method(&self) -> $module::Client {
                $module::Client::new(&self.config)
            }
        )*}
    };
}

clients! {
    "autoscaling" autoscaling aws_sdk_autoscaling,
    "cloudformation" cloudformation aws_sdk_cloudformation,
    "cloudwatch" cloudwatch aws_sdk_cloudwatch,
    "cloudwatchlogs" cloudwatchlogs aws_sdk_cloudwatchlogs,
    "ecr" ecr aws_sdk_ecr,
    "ecrpublic" ecrpublic aws_sdk_ecrpublic,
    "kms" kms aws_sdk_kms,
    "secretsmanager" secretsmanager aws_sdk_secretsmanager,
    "sqs" sqs aws_sdk_sqs,
    "ssm" ssm aws_sdk_ssm,
    "sts" sts aws_sdk_sts,
}

/// The one HTTPS client of this process: rustls with ring, the machine's trust store. Sessions share it, because its
/// trust store costs milliseconds to parse and a job's hook waits for them.
pub(crate) fn http_client() -> SharedHttpClient {
    static CLIENT: LazyLock<SharedHttpClient> = LazyLock::new(|| {
        aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::rustls(CryptoMode::Ring))
            .build_https()
    });
    CLIENT.clone()
}
