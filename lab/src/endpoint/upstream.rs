//! moto, as the endpoint reaches it: requests passed on, and the endpoint's own questions.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, header};

use super::answer::Answer;

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
}
