//! moto, as the endpoint reaches it: requests passed on, and the endpoint's own questions.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::answer::Answer;
use super::autoscaling::Params;

/// Headers that belong to one connection or that the client sets anew.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// The connection to moto.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: reqwest::Client,
    url: String,
}

impl Upstream {
    /// A client for moto at `url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("make the endpoint's client")?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// Passes a request on as it came. The Host header stays, because moto makes addresses of it (queue URLs).
    ///
    /// # Errors
    /// When moto does not answer.
    pub async fn pass(&self, parts: &Parts, body: Bytes) -> Result<Answer> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers.clone();
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        let response = self
            .client
            .request(parts.method.clone(), format!("{}{path}", self.url))
            .headers(headers)
            .body(body)
            .send()
            .await
            .context("ask moto")?;
        let status = response.status();
        let mut headers = response.headers().clone();
        let is_head = parts.method == http::Method::HEAD;
        if !is_head {
            headers.remove(header::CONTENT_LENGTH);
        }
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONNECTION);
        let body = response.bytes().await.context("read moto's answer")?;
        Ok(Answer { status, headers, body })
    }

    /// Asks moto a query-protocol action in its JSON form, as the account's root.
    ///
    /// # Errors
    /// When moto does not answer, or answers with an error, whose text is told.
    pub async fn query(&self, service: &str, region: &str, params: &[(&str, &str)]) -> Result<Value> {
        let params = params.iter().copied().chain([("ContentType", "JSON")]);
        answered(self.form(service, region, params)).await
    }

    /// Asks moto a query-protocol action in its XML form, as the account's root; the text whatever the status.
    ///
    /// # Errors
    /// When moto does not answer.
    pub async fn xml(&self, service: &str, region: &str, params: &Params) -> Result<String> {
        let params = params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let response = self.form(service, region, params).send().await.context("ask moto")?;
        response.text().await.context("read moto's answer")
    }

    fn form<'a>(
        &self,
        service: &str,
        region: &str,
        params: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> reqwest::RequestBuilder {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params);
        self.client
            .post(format!("{}/", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, scope(service, region))
            .body(form.finish())
    }

    /// Asks moto a JSON action such as `TrentService.DescribeKey`, as the account's root.
    ///
    /// # Errors
    /// As [`Upstream::query`].
    pub async fn json(&self, service: &str, region: &str, target: &str, body: &Value) -> Result<Value> {
        let request = self
            .client
            .post(format!("{}/", self.url))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(header::AUTHORIZATION, scope(service, region))
            .header("x-amz-target", target)
            .body(body.to_string());
        answered(request).await
    }

    /// Asks S3 for `path` (with query), as the account's root; the answer whatever its status.
    ///
    /// # Errors
    /// When moto does not answer.
    pub async fn s3(&self, method: http::Method, path: String) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let response = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, scope("s3", "us-east-1"))
            .send()
            .await
            .context("ask moto's S3")?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, response.bytes().await?))
    }
}

async fn answered(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await.context("ask moto")?;
    let status = response.status();
    let text = response.text().await.context("read moto's answer")?;
    if !status.is_success() {
        bail!("moto answered {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("read moto's JSON {text:.100}"))
}

/// A signature that only tells moto the service and the region; moto checks none.
fn scope(service: &str, region: &str) -> HeaderValue {
    let text = format!(
        "AWS4-HMAC-SHA256 Credential=LAB/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
