//! A CI's history over HTTP, page by page: Buildkite's REST API, and build-server's own.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::LINK;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{History, Wanted};
use crate::ports::Problem;

/// A page of large builds takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Builds of a page: the most that both give.
const PAGE: usize = 100;
/// A job of the time that is asked for may be of a build that was made so long before.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);

/// Who is asked.
#[derive(Debug, Clone)]
pub enum Ci {
    /// An organization at Buildkite.
    Buildkite {
        /// Where its API is.
        api: String,
        /// Its slug.
        organization: String,
    },
    /// A build-server.
    BuildServer {
        /// Where it is.
        url: String,
    },
}

/// Reads all builds that may have jobs within the time that is wanted.
///
/// # Errors
/// The CI does not answer, or not with builds.
pub async fn fetch(ci: &Ci, token: &SecretString, wanted: &Wanted) -> Result<History, Problem> {
    let http = Client::builder().user_agent(concat!("tidemark/", env!("CARGO_PKG_VERSION"))).timeout(TIMEOUT);
    let http = http.build().map_err(|e| Problem::new(1, format!("make an HTTP client: {e}")))?;
    let since = wanted.from.and_then(|from| from.checked_sub(BEFORE).ok());
    let mut history = History::default();
    let mut last_number = None;
    for page in 1u32.. {
        let request = match ci {
            Ci::Buildkite { api, organization } => {
                buildkite(&http, api, organization, page, since, wanted.until)
            }
            Ci::BuildServer { url } => {
                let newer: Vec<(&str, u64)> =
                    last_number.map(|number| ("before", number)).into_iter().collect();
                http.get(format!("{url}/api/builds")).query(&[("limit", PAGE)]).query(&newer)
            }
        };
        let (body, has_next) = answer(ci, request.bearer_auth(token.expose_secret()), page).await?;
        let (builds, earliest) = history.take(&format!("page {page}"), &body);
        last_number = least_number(&body);
        let is_last = match ci {
            Ci::Buildkite { .. } => !has_next,
            Ci::BuildServer { .. } => {
                builds < PAGE
                    || last_number.is_none()
                    || earliest.zip(since).is_some_and(|(e, since)| e < since)
            }
        };
        if is_last || builds == 0 {
            break;
        }
    }
    Ok(history)
}

fn buildkite(
    http: &Client,
    api: &str,
    organization: &str,
    page: u32,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> RequestBuilder {
    let mut query = vec![
        ("page", page.to_string()),
        ("per_page", PAGE.to_string()),
        ("include_retried_jobs", "true".to_owned()),
    ];
    query.extend(since.map(|since| ("created_from", since.to_string())));
    query.extend(until.map(|until| ("created_to", until.to_string())));
    http.get(format!("{api}/v2/organizations/{organization}/builds")).query(&query)
}

/// The least number of build-server's builds: the next page is before it.
fn least_number(page: &Value) -> Option<u64> {
    let builds = page.get("builds")?.as_array()?;
    builds.iter().filter_map(|build| build.get("number")?.as_u64()).min()
}

/// The page, and whether another one follows.
async fn answer(ci: &Ci, request: RequestBuilder, page: u32) -> Result<(Value, bool), Problem> {
    let (whom, check) = match ci {
        Ci::Buildkite { api, organization } => (
            format!("builds of {organization} from {api}, page {page}"),
            "check BUILDKITE_API_TOKEN (it needs the scope read_builds) and --organization",
        ),
        Ci::BuildServer { url } => {
            (format!("builds from {url}, page {page}"), "check --build-server and BUILD_SERVER_TOKEN_FILE")
        }
    };
    let failed = |code: u8, what: String| Problem::new(code, format!("{whom}: {what}"));
    let answer = request.send().await.map_err(|e| failed(69, format!("{}; {check}", innermost(&e))))?;
    let status = answer.status();
    let links = answer.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let has_next = links.flat_map(|links| links.split(',')).any(|link| link.contains("rel=\"next\""));
    let body = answer.bytes().await.map_err(|e| failed(69, innermost(&e)))?;
    if status.is_success() {
        let page =
            serde_json::from_slice(&body).map_err(|e| failed(69, format!("is no JSON: {e}; {check}")))?;
        return Ok((page, has_next));
    }
    let message = serde_json::from_slice::<Value>(&body).ok();
    let message =
        message.as_ref().and_then(|body| body.get("message")?.as_str()).unwrap_or("no reason given");
    let (code, todo) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (77, check),
        StatusCode::TOO_MANY_REQUESTS => (75, "try again in a minute"),
        _ if status.is_server_error() => (69, "try again"),
        _ => (1, check),
    };
    Err(failed(code, format!("{status}: {message}: {todo}")))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}
