//! Actions of EC2, through [`crate::signed`]: the SDK's client of this service is a quarter of all that is compiled, for a
//! dozen of its six hundred actions. Source of the protocol: the EC2 Query API, version 2016-11-15.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ErrorMetadata;

use crate::session::Session;
pub use crate::signed::Failure;
use crate::signed::{Call, Service};

const SERVICE: Service = Service { name: "EC2", signing: "ec2", endpoint_variable: "AWS_ENDPOINT_URL_EC2" };

/// The parameters of a request in their order; lists are `ImageId.1`, `ImageId.2`.
pub type Parameters = Vec<(String, String)>;

/// A client of EC2. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    call: Call<(&'static str, Parameters), Element>,
}

/// An element of an answer. Absent parts read as empty, since EC2 leaves out what is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Client {
    /// Calls `action`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn call(&self, action: &'static str, parameters: Parameters) -> Result<Element, Failure> {
        self.call.invoke((action, parameters)).await
    }
}

impl Element {
    /// The child of this name; an empty element where there is none.
    #[must_use]
    pub fn child(&self, name: &str) -> &Self {
        static NONE: Element = Element { name: String::new(), text: String::new(), children: Vec::new() };
        self.children.iter().find(|child| child.name == name).unwrap_or(&NONE)
    }

    /// The text of the child of this name.
    #[must_use]
    pub fn text_of(&self, name: &str) -> &str {
        &self.child(name).text
    }

    /// The items of the list of this name.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.child(name).children.iter().filter(|child| child.name == "item")
    }

    /// Its own text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a tag in its `tagSet`.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.items("tagSet").find(|tag| tag.text_of("key") == key).map(|tag| tag.text_of("value"))
    }
}

impl Session {
    /// A client of the service `ec2`.
    #[must_use]
    pub fn ec2(&self) -> Client {
        let call = SERVICE.call(self, "Query", |(action, parameters)| request(action, &parameters), answer);
        Client { call }
    }
}

fn request(action: &str, parameters: &Parameters) -> Result<HttpRequest, BoxError> {
    let given = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let fixed = [("Action", action), ("Version", "2016-11-15")];
    let body =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fixed.into_iter().chain(given)).finish();
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    Ok(request)
}

fn answer(response: &HttpResponse) -> Result<Element, OrchestratorError<ErrorMetadata>> {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let told = roxmltree::Document::parse(&body).map(|document| element(document.root_element()));
    if response.status().is_success() {
        return told.map_err(OrchestratorError::other);
    }
    let told = told.unwrap_or_default();
    let error = told.child("Errors").child("Error");
    let mut metadata = ErrorMetadata::builder();
    if !error.text_of("Code").is_empty() {
        metadata = metadata.code(error.text_of("Code")).message(error.text_of("Message"));
    }
    Err(OrchestratorError::operation(metadata.build()))
}

fn element(node: roxmltree::Node<'_, '_>) -> Element {
    let text = node.text().map(str::trim).unwrap_or_default();
    Element {
        name: node.tag_name().name().to_owned(),
        text: text.to_owned(),
        children: node.children().filter(roxmltree::Node::is_element).map(element).collect(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use wiremock::matchers::{body_string, header_regex, method};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::fault::{CallError, Fault};

    const INSTANCES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet>
        <item><instanceId>i-1</instanceId><tagSet><item><key>Name</key><value>a &amp; b</value></item></tagSet></item>
        <item><instanceId> i-2 </instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>"#;

    async fn client(server: &MockServer) -> Client {
        let secret = SecretString::from("secret".to_owned());
        Session::at(&server.uri(), "eu-west-1", "AKIDEXAMPLE", &secret, None).await.ec2()
    }

    #[tokio::test]
    async fn an_answer_is_read_by_the_names_of_its_elements() {
        let server = MockServer::start().await;
        let signed = "^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/[0-9]{8}/eu-west-1/ec2/aws4_request";
        Mock::given(method("POST"))
            .and(header_regex("authorization", signed))
            .and(body_string(
                "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b+c",
            ))
            .respond_with(ResponseTemplate::new(200).set_body_string(INSTANCES))
            .mount(&server)
            .await;
        let filter = [("Filter.1.Name", "tag:a"), ("Filter.1.Value.1", "b c")];
        let filter = filter.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = client(&server).await.call("DescribeInstances", filter.to_vec()).await.unwrap();
        let instances: Vec<_> = answer
            .items("reservationSet")
            .flat_map(|reservation| reservation.items("instancesSet"))
            .collect();
        let ids: Vec<_> = instances.iter().map(|instance| instance.text_of("instanceId")).collect();
        assert_eq!(ids, ["i-1", "i-2"]);
        assert_eq!(instances[0].tag("Name"), Some("a & b"));
        assert_eq!((instances[1].tag("Name"), instances[1].text_of("absent")), (None, ""));
    }

    #[tokio::test]
    async fn a_refusal_has_its_code() {
        for (status, code, fault, calls) in [
            (403, "UnauthorizedOperation", Fault::Denied, 1),
            (400, "InvalidAMIID.NotFound", Fault::Absent, 1),
            (503, "RequestLimitExceeded", Fault::Throttled, 3),
            (400, "InvalidParameterValue", Fault::Invalid, 1),
        ] {
            let server = MockServer::start().await;
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>"
            );
            let refusal = ResponseTemplate::new(status).set_body_string(body);
            Mock::given(method("POST")).respond_with(refusal).mount(&server).await;
            let failure = client(&server).await.call("DescribeImages", Vec::new()).await.unwrap_err();
            let error = CallError::new(&failure, "ec2:DescribeImages", "ami-1");
            assert_eq!((error.fault, error.code.as_deref()), (fault, Some(code)));
            assert_eq!(server.received_requests().await.unwrap().len(), calls, "{code}");
        }
    }

    #[tokio::test]
    async fn what_is_no_xml_is_a_fault() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_string("{}"))
            .mount(&server)
            .await;
        client(&server).await.call("DescribeImages", Vec::new()).await.unwrap_err();
    }
}
