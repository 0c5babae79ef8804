//! Places outside the settings: `s3://bucket/key`, `ssm:/path`, `https://…`, `file:/path`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aws::stored_token::parameter;
use aws::{CallError, Session};
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::layout::Layout;

/// One attempt at a web server.
const WEB_PATIENCE: Duration = Duration::from_secs(20);

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// What a text that is none of these is told.
pub const NO_REFERENCE: &str = "is none of s3://bucket/key, ssm:/path, https://host/path and file:/path";

/// Where something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An object.
    S3 {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// A parameter of SSM's store.
    Parameter(String),
    /// A page of a web server.
    Web(Url),
    /// A file of this instance, from its root.
    File(PathBuf),
}

/// Never the query, which may hold a signature.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Parameter(name) => write!(f, "ssm:{name}"),
            Self::Web(url) => {
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
                f.write_str(url.path())
            }
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Reference {
    /// Reads a place; `None` where it is none. Plain HTTP is for this machine only: what comes from there is believed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(char::is_whitespace) {
            return None;
        }
        if let Some(path) = text.strip_prefix("s3://") {
            let (bucket, key) = path.split_once('/').filter(|(b, k)| !b.is_empty() && !k.is_empty())?;
            return Some(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() });
        }
        if let Some(name) = text.strip_prefix("ssm:") {
            return (!name.is_empty()).then(|| Self::Parameter(name.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return path.is_absolute().then_some(Self::File(path));
        }
        Url::parse(text).ok().filter(is_trustworthy).map(Self::Web)
    }

    /// What lies there, if it is at most `most` bytes.
    ///
    /// # Errors
    /// Says why not, and whether it may pass.
    pub async fn read(
        &self,
        layout: &Layout,
        session: &Session,
        most: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bytes = match self {
            Self::S3 { bucket, key } => self.object(session, bucket, key, most).await?,
            Self::Parameter(name) => {
                Zeroizing::new(parameter(session, name).await?.expose_secret().as_bytes().to_vec())
            }
            Self::Web(url) => self.page(url, most).await?,
            Self::File(path) => self.file(layout, path, most)?,
        };
        if bytes.len() > most { Err(self.too_large(most)) } else { Ok(bytes) }
    }

    fn too_large(&self, most: usize) -> Failure {
        Failure::config(format!("{self} is larger than {most} bytes"))
    }

    async fn object(
        &self,
        session: &Session,
        bucket: &str,
        key: &str,
        most: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let call = session.s3().get_object().bucket(bucket).key(key).send();
        let mut object = call.await.map_err(|e| CallError::new(&e, "s3:GetObject", self.to_string()))?;
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = object.body.next().await {
            let piece = piece.map_err(|e| Failure::unavailable(format!("{self} broke off: {e}")))?;
            if bytes.len() + piece.len() > most {
                return Err(self.too_large(most));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn page(&self, url: &Url, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // Ignored when this process has one already: which one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            if attempt.previous().len() > MOST_REDIRECTS || !is_trustworthy(attempt.url()) {
                attempt.error("it leads to plain HTTP, or round in circles")
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder().timeout(WEB_PATIENCE).redirect(redirects).build();
        let client = client.map_err(|e| Failure::failed(format!("{self}: {e}")))?;
        let mut answer = client.get(url.clone()).send().await.map_err(|e| self.unanswered(e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(status));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(|e| self.unanswered(e))? {
            if bytes.len() + piece.len() > most {
                return Err(self.too_large(most));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn unanswered(&self, error: reqwest::Error) -> Failure {
        let passes = !error.is_redirect();
        let error = error.without_url();
        let causes: Vec<String> =
            std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |e| (**e).source())
                .map(ToString::to_string)
                .collect();
        let message = format!("{self}: {}", causes.join(": "));
        if passes { Failure::unavailable(message) } else { Failure::failed(message) }
    }

    fn refused(&self, status: StatusCode) -> Failure {
        let message = format!("{self}: {status}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::denied(message),
            StatusCode::TOO_MANY_REQUESTS => Failure::try_again(message),
            StatusCode::REQUEST_TIMEOUT => Failure::unavailable(message),
            status if status.is_server_error() => Failure::unavailable(message),
            _ => Failure::failed(message),
        }
    }

    fn file(
        &self,
        layout: &Layout,
        path: &std::path::Path,
        most: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let path = layout.root().join(path.strip_prefix("/").unwrap_or(path));
        let failed = |e: std::io::Error| Failure::failed(format!("{self}: {e}"));
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > most as u64 {
            return Err(Failure::config(format!("{self} is no file of at most {most} bytes")));
        }
        std::fs::read(&path).map(Zeroizing::new).map_err(failed)
    }
}

fn is_trustworthy(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|a| a.is_loopback());
    match url.scheme() {
        "https" => url.has_host(),
        "http" => loopback,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_and_shown_without_signatures() {
        for (text, shown) in [
            ("s3://b/a/key.sh", Some("s3://b/a/key.sh")),
            ("ssm:/ci/env", Some("ssm:/ci/env")),
            ("https://example.com/x?sig=s3cr3t", Some("https://example.com/x")),
            ("https://user:s3cr3t@example.com/x", Some("https://example.com/x")),
            ("http://127.0.0.1:8080/x", Some("http://127.0.0.1:8080/x")),
            ("http://localhost/x", Some("http://localhost/x")),
            ("file:/etc/x", Some("file:/etc/x")),
            ("file:///etc/x", Some("file:/etc/x")),
            ("http://example.com/x", None),
            ("http://127.0.0.1.example.com/x", None),
            ("ftp://example.com/x", None),
            ("file:etc/x", None),
            ("s3://b", None),
            ("s3://b/", None),
            ("ssm:", None),
            ("/etc/x", None),
            ("https://example.com/a b", None),
            ("", None),
        ] {
            let seen = Reference::parse(text).map(|r| r.to_string());
            assert_eq!(seen.as_deref(), shown, "{text}");
        }
    }
}
