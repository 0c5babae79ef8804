//! The client of the Stacks API: one bounded attempt per question, as that of the metrics.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;

use super::{ScheduledJob, ScheduledJobsPage, Stack, StackRequest};
use crate::client::{
    ApiError, answer_json, answered_at, authorization, http_client, segment, send_error, status_error,
};

/// A job that became ready later than this after the answer has a time that makes no sense; clocks differ.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// The same for one that is so old: CIs drop jobs that nobody runs for a month.
const OLDEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// How far a queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Jobs asked for at once.
    pub page: u32,
    /// Pages at most.
    pub pages: u32,
    /// After so long no further page is asked for.
    pub within: Duration,
}

/// Scheduled jobs of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledJobs {
    /// Each once, the oldest first.
    pub jobs: Vec<ScheduledJob>,
    /// Are they given to nobody for now?
    pub paused: bool,
    /// Are these all of them? Otherwise there was more than the extent.
    pub complete: bool,
    /// When the server says that the oldest page was so.
    pub as_of: Option<Timestamp>,
}

/// Registers a stack and reads its queues, with the cluster's agent token.
#[derive(Debug, Clone)]
pub struct StacksClient {
    http: reqwest::Client,
    endpoint: String,
    token: SecretString,
}

impl StacksClient {
    /// A client of the API below `endpoint`; one question lasts at most `timeout`.
    ///
    /// # Errors
    /// [`ApiError::Request`] when the endpoint is no http(s) URL.
    pub fn new(endpoint: &str, token: SecretString, timeout: Duration) -> Result<Self, ApiError> {
        let user_agent = concat!("tidemark/", env!("CARGO_PKG_VERSION"));
        let http = http_client("stacks", endpoint, user_agent, timeout)?;
        Ok(Self { http, endpoint: endpoint.trim_end_matches('/').to_owned(), token })
    }

    /// `POST stacks/register`. Twice is harmless.
    ///
    /// # Errors
    /// Every failure, and the answer of something else.
    pub async fn register(&self, stack: &StackRequest) -> Result<Stack, ApiError> {
        let call = "POST stacks/register";
        let request = self.http.post(format!("{}/stacks/register", self.endpoint)).json(stack);
        let (registered, _): (Stack, _) = self.send(call, request).await?;
        if registered.key != stack.key {
            return Err(ApiError::Garbage { call, cause: "it registered another key".into() });
        }
        Ok(registered)
    }

    /// `GET stacks/:key/scheduled-jobs`, page by page. Jobs come and go between pages: one that is there twice counts once.
    ///
    /// # Errors
    /// Every failure of any page; missing fields, times that make no sense, a cursor that leads nowhere.
    pub async fn scheduled_jobs(
        &self,
        stack: &str,
        queue: &str,
        extent: Extent,
    ) -> Result<ScheduledJobs, ApiError> {
        let call = "GET scheduled-jobs";
        let garbage = |cause: &str| ApiError::Garbage { call, cause: cause.to_owned() };
        let began = Instant::now();
        let url = format!("{}/stacks/{}/scheduled-jobs", self.endpoint, segment(stack));
        let limit = extent.page.to_string();
        let mut all = ScheduledJobs { jobs: Vec::new(), paused: false, complete: false, as_of: None };
        let (mut seen, mut cursors) = (HashSet::new(), HashSet::new());
        let mut after: Option<String> = None;
        for _ in 0..extent.pages.max(1) {
            let mut query = vec![("queue_key", queue), ("limit", &limit)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let request = self.http.get(&url).query(&query);
            let (page, as_of): (ScheduledJobsPage, _) = self.send(call, request).await?;
            let now = as_of.unwrap_or_else(Timestamp::now);
            all.as_of = [all.as_of, as_of].into_iter().flatten().min();
            all.paused = page
                .cluster_queue
                .is_paused()
                .ok_or_else(|| garbage("cluster_queue does not say whether it is paused"))?;
            for job in page.jobs {
                let age = now.duration_since(job.scheduled_at);
                if age > OLDEST || age < -AHEAD {
                    let cause = format!("job {} has scheduled_at {} at {now}", job.id, job.scheduled_at);
                    return Err(ApiError::Garbage { call, cause });
                }
                if seen.insert(job.id.clone()) {
                    all.jobs.push(job);
                }
            }
            if !page.page_info.has_next_page {
                return Ok(ScheduledJobs { complete: true, ..all });
            }
            let cursor = page.page_info.end_cursor.filter(|cursor| !cursor.is_empty());
            let cursor = cursor.ok_or_else(|| garbage("there is a next page, and no cursor to it"))?;
            if !cursors.insert(cursor.clone()) {
                return Err(garbage("its pages go round in a circle: the cursor repeats"));
            }
            after = Some(cursor);
            if began.elapsed() >= extent.within {
                break;
            }
        }
        Ok(all)
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<(T, Option<Timestamp>), ApiError> {
        let request = request.header(AUTHORIZATION, authorization(call, &self.token)?);
        let response = request.send().await.map_err(|error| send_error(call, &error))?;
        if !response.status().is_success() {
            return Err(status_error(call, response).await);
        }
        let as_of = answered_at(&response);
        Ok((answer_json(call, response).await?, as_of))
    }
}

#[cfg(test)]
mod tests;
