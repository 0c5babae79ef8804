//! Items of a DynamoDB table, through [`crate::signed`]. Bodies are the API's JSON.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ErrorMetadata;
use serde_json::Value;

use crate::session::Session;
pub use crate::signed::Failure;
use crate::signed::{Call, Service};

const SERVICE: Service =
    Service { name: "DynamoDB", signing: "dynamodb", endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB" };

/// A client of DynamoDB. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    get: Call<Value, Value>,
    put: Call<Value, Value>,
    update: Call<Value, Value>,
    delete: Call<Value, Value>,
    query: Call<Value, Value>,
    scan: Call<Value, Value>,
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

    /// `UpdateItem`: its body in, the answer's out.
    ///
    /// # Errors
    /// As [`Client::put_item`].
    pub async fn update_item(&self, body: Value) -> Result<Value, Failure> {
        self.update.invoke(body).await
    }

    /// `DeleteItem`: its body in, the answer's out.
    ///
    /// # Errors
    /// As [`Client::put_item`].
    pub async fn delete_item(&self, body: Value) -> Result<Value, Failure> {
        self.delete.invoke(body).await
    }

    /// `Query`, one page: its body in, the answer's out.
    ///
    /// # Errors
    /// As [`Client::get_item`].
    pub async fn query(&self, body: Value) -> Result<Value, Failure> {
        self.query.invoke(body).await
    }

    /// `Scan`, one page: its body in, the answer's out.
    ///
    /// # Errors
    /// As [`Client::get_item`].
    pub async fn scan(&self, body: Value) -> Result<Value, Failure> {
        self.scan.invoke(body).await
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
        let call = |action: &'static str| {
            SERVICE.call(self, action, move |body: Value| request(action, &body), answer)
        };
        Client {
            get: call("GetItem"),
            put: call("PutItem"),
            update: call("UpdateItem"),
            delete: call("DeleteItem"),
            query: call("Query"),
            scan: call("Scan"),
        }
    }
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
