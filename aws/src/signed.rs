//! Calls through the SDK's own machinery (signature, credentials, retries, time limits, the one HTTP client) without a
//! service's client, for services of which few actions are needed: their clients are larger than all that calls them.

use aws_config::SdkConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::ErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;

use crate::session::Session;

/// A call of one action: what is asked, and what is answered.
pub(crate) type Call<I, O> = Operation<I, O, ErrorMetadata>;

/// What went wrong with a call; [`crate::CallError`] reads it as it reads the SDK's other errors.
pub type Failure = SdkError<ErrorMetadata, HttpResponse>;

/// A service, as calls need to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// As the SDK names it.
    pub name: &'static str,
    /// In signatures and in its host's name.
    pub signing: &'static str,
    /// The variable of its endpoint.
    pub endpoint_variable: &'static str,
}

impl Service {
    /// Its endpoint, as the SDK's clients find it: the service's variable, the session's, the one for all, AWS's own.
    pub fn endpoint(&self, session: &Session) -> String {
        let variable = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
        let given = || session.config().endpoint_url().map(str::to_owned);
        let region = session.region();
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        variable(self.endpoint_variable)
            .or_else(given)
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| format!("https://{}.{region}.{domain}", self.signing))
    }

    /// The call `action`, written by `serializer` and read by `deserializer`.
    pub fn call<I, O>(
        &self,
        session: &Session,
        action: &'static str,
        serializer: impl Fn(I) -> Result<HttpRequest, BoxError> + Send + Sync + 'static,
        deserializer: impl Fn(&HttpResponse) -> Result<O, OrchestratorError<ErrorMetadata>>
        + Send
        + Sync
        + 'static,
    ) -> Call<I, O>
    where
        I: std::fmt::Debug + Send + Sync + 'static,
        O: std::fmt::Debug + Send + Sync + 'static,
    {
        let config: &SdkConfig = session.config();
        let mut layer = Layer::new(self.signing);
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig {
            region: config.region().cloned().map(SigningRegion::from),
            region_set: None,
            name: Some(SigningName::from_static(self.signing)),
            signing_options: SigningOptions::default(),
        });
        let mut parts = RuntimeComponentsBuilder::new(self.signing);
        parts.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
            StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
        )));
        parts.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
        let cache = config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build());
        parts.set_identity_cache(Some(cache));
        if let Some(credentials) = config.credentials_provider() {
            parts.set_identity_resolver(SCHEME_ID, credentials);
        }
        let mut builder = Operation::builder().service_name(self.name).operation_name(action);
        if let Some(client) = config.http_client() {
            builder = builder.http_client(client);
        }
        if let Some(retries) = config.retry_config() {
            builder = builder.standard_retry(retries);
        }
        if let Some(sleep) = config.sleep_impl() {
            builder = builder.sleep_impl(sleep);
        }
        if let Some(time) = config.time_source() {
            builder = builder.time_source(time);
        }
        let timeouts = config.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled);
        builder
            .endpoint_url(&self.endpoint(session))
            .timeout_config(timeouts)
            .with_connection_poisoning()
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
            .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
            .runtime_plugin(
                StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(parts),
            )
            .serializer(serializer)
            .deserializer(deserializer)
            .build()
    }
}
