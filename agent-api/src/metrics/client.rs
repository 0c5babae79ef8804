//! The client of the metrics routes: one bounded attempt per question. Whether and when to ask again is for the
//! caller to decide, who knows that no answer is not zero jobs.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::{Agents, AllMetrics, Jobs, POLL_DURATION_HEADER, QueueMetrics};
use crate::client::{
    ApiError, answer_json, answered_at, authorization, http_client, send_error, status_error,
};

/// More of anything is absurd.
const MOST: u64 = 10_000_000;

/// Answer of `metrics/queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAnswer {
    /// The counts.
    pub metrics: QueueMetrics,
    /// When the server says that this was so.
    pub as_of: Option<Timestamp>,
    /// Wait at least so long before the next question.
    pub poll_after: Option<Duration>,
}

/// Answer of `metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllAnswer {
    /// The counts.
    pub metrics: AllMetrics,
    /// When the server says that this was so.
    pub as_of: Option<Timestamp>,
    /// Wait at least so long before the next question.
    pub poll_after: Option<Duration>,
}

/// Reads counts with the registration token.
#[derive(Debug, Clone)]
pub struct MetricsClient {
    http: reqwest::Client,
    endpoint: String,
    token: SecretString,
}

impl MetricsClient {
    /// A client of the API below `endpoint`; one question lasts at most `timeout`.
    ///
    /// # Errors
    /// [`ApiError::Request`] when the endpoint is no http(s) URL.
    pub fn new(endpoint: &str, token: SecretString, timeout: Duration) -> Result<Self, ApiError> {
        let user_agent = concat!("tidemark/", env!("CARGO_PKG_VERSION"));
        let http = http_client("metrics", endpoint, user_agent, timeout)?;
        Ok(Self { http, endpoint: endpoint.trim_end_matches('/').to_owned(), token })
    }

    /// `GET metrics/queue?name=…`.
    ///
    /// # Errors
    /// Every failure, missing fields and an empty organization included.
    pub async fn queue(&self, name: &str) -> Result<QueueAnswer, ApiError> {
        let call = "GET metrics/queue";
        let Got { metrics, as_of, poll_after } =
            self.get::<QueueMetrics>(call, "metrics/queue", &[("name", name)]).await?;
        known_organization(call, &metrics.organization.slug)?;
        sane(call, &metrics.jobs, &metrics.agents)?;
        Ok(QueueAnswer { metrics, as_of, poll_after })
    }

    /// `GET metrics`.
    ///
    /// # Errors
    /// Every failure, missing fields and an empty organization included.
    pub async fn all(&self) -> Result<AllAnswer, ApiError> {
        let call = "GET metrics";
        let Got { metrics, as_of, poll_after } = self.get::<AllMetrics>(call, "metrics", &[]).await?;
        known_organization(call, &metrics.organization.slug)?;
        sane(call, &metrics.jobs.total, &metrics.agents.total)?;
        Ok(AllAnswer { metrics, as_of, poll_after })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Got<T>, ApiError> {
        let request = self.http.get(format!("{}/{path}", self.endpoint)).query(query);
        let request = request.header(AUTHORIZATION, authorization(call, &self.token)?);
        let response = request.send().await.map_err(|error| send_error(call, &error))?;
        if !response.status().is_success() {
            return Err(status_error(call, response).await);
        }
        let poll_after = response.headers().get(POLL_DURATION_HEADER).and_then(|value| value.to_str().ok());
        let poll_after = poll_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let as_of = answered_at(&response);
        Ok(Got { metrics: answer_json(call, response).await?, as_of, poll_after })
    }
}

/// An answer with what its headers say.
struct Got<T> {
    metrics: T,
    as_of: Option<Timestamp>,
    poll_after: Option<Duration>,
}

/// More jobs or agents than any organization has are none of its counts.
fn sane(call: &'static str, jobs: &Jobs, agents: &Agents) -> Result<(), ApiError> {
    let most =
        [jobs.total, jobs.scheduled, jobs.running, jobs.waiting, agents.total, agents.busy, agents.idle];
    match most.into_iter().find(|count| *count > MOST) {
        Some(count) => Err(ApiError::Garbage { call, cause: format!("it counts {count}, more than {MOST}") }),
        None => Ok(()),
    }
}

/// An answer without an organization is the answer of something else.
fn known_organization(call: &'static str, slug: &str) -> Result<(), ApiError> {
    if slug.is_empty() {
        return Err(ApiError::Garbage { call, cause: "organization.slug is empty".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture as _;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;

    use super::*;

    const GOOD: &str = r#"{"agents":{"idle":1,"busy":2,"total":3},
        "jobs":{"scheduled":4,"running":2,"waiting":1,"total":7},"organization":{"slug":"acme"}}"#;

    async fn ask(
        answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
    ) -> Result<QueueAnswer, ApiError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v3/", listener.local_addr().unwrap());
        let app = Router::new().route("/v3/metrics/queue", get(move || async move { answer() }));
        tokio::spawn(axum::serve(listener, app).into_future());
        let client = MetricsClient::new(&endpoint, "t".to_owned().into(), Duration::from_secs(5)).unwrap();
        client.queue("default").await
    }

    #[tokio::test]
    async fn good_answer_with_poll_header() {
        let answer = ask(|| ([(POLL_DURATION_HEADER, "12")], GOOD).into_response()).await.unwrap();
        assert_eq!(answer.metrics.jobs.scheduled, 4);
        assert_eq!(answer.poll_after, Some(Duration::from_secs(12)));
        let since = jiff::Timestamp::now().duration_since(answer.as_of.unwrap());
        assert!(since.as_secs().abs() < 60, "the server's own date: {since:?}");
    }

    #[tokio::test]
    async fn an_answer_out_of_a_cache_is_as_old_as_the_cache_says() {
        let dated = |date: &'static str, age: &'static str| {
            move || ([("date", date), ("age", age)], GOOD).into_response()
        };
        let of = async |answer| ask(answer).await.unwrap().as_of;
        let noon = "Sun, 22 Nov 2026 12:00:00 GMT";
        assert_eq!(of(dated(noon, "0")).await, "2026-11-22T12:00:00Z".parse().ok());
        assert_eq!(of(dated(noon, "90")).await, "2026-11-22T11:58:30Z".parse().ok());
        assert_eq!(of(dated(noon, "-5")).await, "2026-11-22T12:00:00Z".parse().ok());
        assert_eq!(of(dated("yesterday", "0")).await, None);
    }

    #[tokio::test]
    async fn absurd_counts_are_garbage() {
        for absurd in ["-4", "4.5", "10000001", "99999999999999999999", "\"4\"", "null"] {
            let answer = GOOD.replace(":4,", &format!(":{absurd},"));
            let error = ask(move || answer.clone().into_response()).await.unwrap_err();
            assert!(matches!(error, ApiError::Garbage { .. }), "{absurd}: {error}");
        }
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let error =
            ask(|| (StatusCode::UNAUTHORIZED, r#"{"message":"who?"}"#).into_response()).await.unwrap_err();
        assert_eq!(error, ApiError::Unauthorized { call: "GET metrics/queue", message: "who?".into() });
        let error = ask(|| (StatusCode::BAD_GATEWAY, "<html>").into_response()).await.unwrap_err();
        assert!(
            matches!(error, ApiError::Server { status: 502, ref message, .. } if message == "<html>"),
            "{error}"
        );
        let error = ask(|| "{\"agents\":{}".into_response()).await.unwrap_err();
        assert!(matches!(error, ApiError::Garbage { .. }), "{error}");
    }

    #[tokio::test]
    async fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let noon = "Sun, 22 Nov 2026 12:00:00 GMT";
        for (status, text, seconds) in [
            (429, "7", Some(7)),
            (429, " 0 ", Some(0)),
            (503, "90", Some(90)),
            (403, "3600", Some(3600)),
            (429, "Sun, 22 Nov 2026 12:02:30 GMT", Some(150)),
            (429, "Sun, 22 Nov 2026 11:59:00 GMT", Some(0)),
            (429, "-7", None),
            (429, "1.5", None),
            (429, "soon", None),
            (429, "99999999999999999999", None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = move || (status, [("retry-after", text), ("date", noon)]).into_response();
            let asked = ask(answer).await.unwrap_err().retry_after();
            assert_eq!(asked, seconds.map(Duration::from_secs), "{status} {text}");
        }
        let none = ask(|| StatusCode::TOO_MANY_REQUESTS.into_response()).await.unwrap_err();
        assert_eq!(none.retry_after(), None);
    }

    #[tokio::test]
    async fn missing_fields_and_empty_organization_are_garbage_not_zero() {
        let error = ask(|| "{}".into_response()).await.unwrap_err();
        assert!(matches!(error, ApiError::Garbage { .. }), "{error}");
        let error = ask(|| GOOD.replace("acme", "").into_response()).await.unwrap_err();
        assert!(error.to_string().contains("organization.slug"), "{error}");
    }

    #[tokio::test]
    async fn silence_is_a_timeout_and_a_closed_port_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v3", listener.local_addr().unwrap());
        let client = MetricsClient::new(&endpoint, "t".to_owned().into(), Duration::from_millis(50)).unwrap();
        assert_eq!(client.queue("q").await.unwrap_err(), ApiError::Timeout { call: "GET metrics/queue" });
        drop(listener);
        assert!(matches!(client.queue("q").await.unwrap_err(), ApiError::Unreachable { .. }));
    }
}
