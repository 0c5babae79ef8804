//! Git over HTTP: `git http-backend` behind a password, one process for each request.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::PoisonError;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::Passwords;

/// Largest push.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct GitHttp {
    port: u16,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    root: PathBuf,
    passwords: Passwords,
}

impl GitHttp {
    pub async fn start(root: PathBuf, passwords: Passwords) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("git over HTTP: bind 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
        let app = app.with_state(Served { root, passwords });
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!("git over HTTP ended: {error}");
            }
        });
        Ok(Self { port, task })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(served): State<Served>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let Some(user) = user_of(&headers, &served.passwords) else {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED);
        let refused =
            refused.header(header::WWW_AUTHENTICATE, "Basic realm=\"lab\"").body("who are you?\n".into());
        return refused.unwrap_or_default();
    };
    match backend(&served.root, &user, &method, &uri, &headers, body).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(format!("{error:#}\n").into());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// The user, if name and password are right.
fn user_of(headers: &HeaderMap, passwords: &Passwords) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let passwords = passwords.read().unwrap_or_else(PoisonError::into_inner);
    passwords.get(user).filter(|known| *known == password).map(|_| user.to_owned())
}

async fn backend(
    root: &Path,
    user: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response<Body>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", user)
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start git http-backend")?;
    let mut stdin = child.stdin.take().context("git http-backend has no input")?;
    let feed = async move {
        // A backend that needs no more input closes it.
        let _ = stdin.write_all(&body).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    parse(output.context("git http-backend")?.stdout)
}

/// A CGI answer: header lines, an empty line, the body.
fn parse(answer: Vec<u8>) -> Result<Response<Body>> {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("git http-backend answered nothing")?;
    let mut response = Response::builder();
    for line in std::str::from_utf8(&answer[..end])?.split("\r\n") {
        let (name, value) = line.split_once(':').context("a bad header of git http-backend")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            response = response.status(value.split(' ').next().unwrap_or_default().parse::<u16>()?);
        } else {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Bytes::from(answer).slice(end + 4..).into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgi_answers() {
        let response =
            parse(b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nbody".to_vec()).unwrap();
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::NOT_FOUND, &"text/plain".parse().unwrap())
        );
        assert_eq!(parse(b"Expires: x\r\n\r\n".to_vec()).unwrap().status(), StatusCode::OK);
        assert!(parse(Vec::new()).is_err());
    }
}
