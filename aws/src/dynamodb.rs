//! Items of a DynamoDB table. The SDK's client of this service is larger than all others that the scaler links, for
//! three calls; so these go through the SDK's own machinery (signature, credentials, retries, time limits, the one HTTP
//! client) without it. Bodies are the API's JSON.

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
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::ErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use serde_json::Value;

use crate::session::Session;

type Call = Operation<Value, Value, ErrorMetadata>;

/// What went wrong with a call; [`crate::CallError`] reads it as it reads the SDK's other errors.
pub type Failure = SdkError<ErrorMetadata, HttpResponse>;

/// A client of DynamoDB. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    get: Call,
    put: Call,
    delete: Call,
}

impl Client {
    /// `GetItem`: its body in, the answer's out.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn get_item(&self, body: Value) -> Result<Value, Failure> {
        self.get.invoke(body).await
    }

    /// `PutItem`: its body in, the answer's out.
    ///
    /// # Errors
    /// No answer, or a refusal; also where the condition does not hold ([`is_unmet`]).
    pub async fn put_item(&self, body: Value) -> Result<Value, Failure> {
        self.put.invoke(body).await
    }

    /// `DeleteItem`: its body in, the answer's out.
    ///
    /// # Errors
    /// As [`Client::put_item`].
    pub async fn delete_item(&self, body: Value) -> Result<Value, Failure> {
        self.delete.invoke(body).await
    }
}

/// Did the call fail because its condition does not hold?
#[must_use]
pub fn is_unmet(failure: &Failure) -> bool {
    let code = failure.as_service_error().and_then(ErrorMetadata::code);
    code == Some("ConditionalCheckFailedException")
}

impl Session {
    /// A client of the service `dynamodb`.
    #[must_use]
    pub fn dynamodb(&self) -> Client {
        let call = |action: &'static str| call(self.config(), &endpoint(self), action);
        Client { get: call("GetItem"), put: call("PutItem"), delete: call("DeleteItem") }
    }
}

/// As the SDK's clients find it: the service's variable, the one for all, the session's, AWS's own.
fn endpoint(session: &Session) -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
    let given = || session.config().endpoint_url().map(str::to_owned);
    let region = session.region();
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    variable("AWS_ENDPOINT_URL_DYNAMODB")
        .or_else(given)
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| format!("https://dynamodb.{region}.{domain}"))
}

fn call(config: &SdkConfig, endpoint: &str, action: &'static str) -> Call {
    let mut layer = Layer::new("dynamodb");
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: config.region().cloned().map(SigningRegion::from),
        region_set: None,
        name: Some(SigningName::from_static("dynamodb")),
        signing_options: SigningOptions::default(),
    });
    let mut parts = RuntimeComponentsBuilder::new("dynamodb");
    parts.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
        StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
    )));
    parts.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
    let cache = config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build());
    parts.set_identity_cache(Some(cache));
    if let Some(credentials) = config.credentials_provider() {
        parts.set_identity_resolver(SCHEME_ID, credentials);
    }
    let mut builder = Operation::builder().service_name("DynamoDB").operation_name(action);
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
        .endpoint_url(endpoint)
        .timeout_config(timeouts)
        .with_connection_poisoning()
        .retry_classifier(HttpStatusCodeClassifier::default())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .runtime_plugin(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(parts))
        .serializer(move |body: Value| request(action, &body))
        .deserializer(answer)
        .build()
}

fn request(action: &str, body: &Value) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
    request.set_method("POST")?;
    request.set_uri("/")?;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.0");
    headers.insert("x-amz-target", format!("DynamoDB_20120810.{action}"));
    Ok(request)
}

fn answer(response: &HttpResponse) -> Result<Value, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    let told = serde_json::from_slice::<Value>(body);
    if response.status().is_success() {
        return told.map_err(OrchestratorError::other);
    }
    let text = |name: &str| told.as_ref().ok().and_then(|told| told.get(name)).and_then(Value::as_str);
    let mut error = ErrorMetadata::builder();
    // `com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException`
    if let Some(code) = text("__type") {
        error = error.code(code.rsplit('#').next().unwrap_or(code));
    }
    if let Some(message) = text("message").or_else(|| text("Message")) {
        error = error.message(message);
    }
    Err(OrchestratorError::operation(error.build()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;
    use serde_json::json;
    use wiremock::matchers::{body_json, header, header_regex, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::fault::{CallError, Fault};

    async fn client(server: &MockServer) -> Client {
        let secret = SecretString::from("secret".to_owned());
        Session::at(&server.uri(), "eu-west-1", "AKIDEXAMPLE", &secret, None).await.dynamodb()
    }

    fn refusal(status: u16, code: &str) -> ResponseTemplate {
        let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "no"});
        ResponseTemplate::new(status).set_body_json(body)
    }

    #[tokio::test]
    async fn a_call_is_signed_and_names_its_action() {
        let server = MockServer::start().await;
        let signed = "^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/[0-9]{8}/eu-west-1/dynamodb/aws4_request, SignedHeaders=.*x-amz-target";
        Mock::given(method("POST"))
            .and(path("/"))
            .and(header("x-amz-target", "DynamoDB_20120810.GetItem"))
            .and(header("content-type", "application/x-amz-json-1.0"))
            .and(header_regex("authorization", signed))
            .and(body_json(json!({"TableName": "t"})))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Item": {}})))
            .mount(&server)
            .await;
        let answer = client(&server).await.get_item(json!({"TableName": "t"})).await.unwrap();
        assert_eq!(answer, json!({"Item": {}}));
    }

    #[tokio::test]
    async fn refusals_are_told_apart_and_what_passes_is_tried_again() {
        for (status, code, fault, unmet, calls) in [
            (400, "ConditionalCheckFailedException", Fault::Invalid, true, 1),
            (400, "AccessDeniedException", Fault::Denied, false, 1),
            (400, "ResourceNotFoundException", Fault::Absent, false, 1),
            (400, "ProvisionedThroughputExceededException", Fault::Throttled, false, 3),
            (500, "InternalServerError", Fault::Unreachable, false, 3),
        ] {
            let server = MockServer::start().await;
            Mock::given(method("POST")).respond_with(refusal(status, code)).mount(&server).await;
            let failure = client(&server).await.put_item(json!({})).await.unwrap_err();
            assert_eq!(is_unmet(&failure), unmet, "{code}");
            let error = CallError::new(&failure, "dynamodb:PutItem", "t");
            assert_eq!((error.fault, error.code.as_deref()), (fault, Some(code)));
            assert_eq!(server.received_requests().await.unwrap().len(), calls, "{code}");
        }
    }

    #[tokio::test]
    async fn a_passing_fault_costs_a_moment() {
        let server = MockServer::start().await;
        let throttled = refusal(400, "ThrottlingException");
        Mock::given(method("POST")).respond_with(throttled).up_to_n_times(1).mount(&server).await;
        let fine = ResponseTemplate::new(200).set_body_json(json!({}));
        Mock::given(method("POST")).respond_with(fine).mount(&server).await;
        client(&server).await.delete_item(json!({})).await.unwrap();
    }

    #[tokio::test]
    async fn no_answer_and_no_json_are_faults_of_their_own() {
        let server = MockServer::start().await;
        let garbage = ResponseTemplate::new(200).set_body_string("<html>");
        Mock::given(method("POST")).respond_with(garbage).mount(&server).await;
        let failure = client(&server).await.get_item(json!({})).await.unwrap_err();
        assert!(!is_unmet(&failure), "{failure:?}");
        let secret = SecretString::from("secret".to_owned());
        let nobody = Session::at("http://127.0.0.1:9", "eu-west-1", "a", &secret, None).await.dynamodb();
        let failure =
            tokio::time::timeout(Duration::from_secs(20), nobody.get_item(json!({}))).await.unwrap();
        let error = CallError::new(&failure.unwrap_err(), "dynamodb:GetItem", "t");
        assert_eq!(error.fault, Fault::Unreachable);
    }
}
