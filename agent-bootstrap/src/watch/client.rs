//! How hooks tell `watch` that a job starts or ends: one JSON line each way over a unix socket.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::protocol::{Answer, LONGEST_LINE, Request};
use crate::failure::Failure;
use crate::layout::Layout;

/// How long a job waits for a `watch` that does not answer at all: it is restarted within a second or two.
const ABSENCE: Duration = Duration::from_secs(15);

/// How long a job waits for the answer. `watch` itself gives up sooner.
const ANSWER: Duration = Duration::from_secs(60);

/// How long the end of a job waits to be heard.
const FAREWELL: Duration = Duration::from_secs(2);

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells `watch` that a job is about to run, and waits until the instance is protected from scale-in.
/// Without a stack on this machine (hooks used elsewhere, no instance file) it is a no-op. On a stack's instance a
/// missing `watch` is waited for, and then fails the job: unprotected it could be ended in the middle.
///
/// # Errors
/// When the instance goes away, its protection could not be taken back, or `watch` does not answer.
pub async fn job_started(layout: &Layout, job_id: &str) -> Result<(), Failure> {
    let pid = std::env::var("BUILDKITE_AGENT_PID").ok().and_then(|p| p.parse().ok());
    started(layout, job_id, pid, ABSENCE).await
}

async fn started(layout: &Layout, job_id: &str, pid: Option<i32>, absence: Duration) -> Result<(), Failure> {
    let request = Request::JobStarted { job: job_id.to_owned(), pid };
    match ask(layout, &request, absence).await {
        Ok(Answer { ok: true, .. }) => Ok(()),
        Ok(Answer { reason, .. }) => Err(Failure::try_again(format!(
            "watch: job {job_id} is not run on this instance: {}",
            reason.unwrap_or_else(|| "no reason given".to_owned())
        ))),
        Err(_) if !on_a_stack(layout) => Ok(()),
        Err(error) => Err(Failure::unavailable(format!(
            "watch: {}: {error}; the job would run unprotected from scale-in, so it is not run: see `journalctl -u \
             tidemark-watch` on the instance and retry the job",
            layout.watch_socket().display()
        ))),
    }
}

/// Tells `watch` that the job is over, and hears why it was cancelled, if `watch` had that done. Never fails the job:
/// `watch` also notices ended jobs by itself.
pub async fn job_finished(layout: &Layout, job_id: &str) -> Option<String> {
    let request = Request::JobFinished { job: job_id.to_owned() };
    tokio::time::timeout(FAREWELL, ask(layout, &request, FAREWELL)).await.ok()?.ok()?.reason
}

/// Asks `watch`, again after a pause if it is not there or ends before it answers: every request may be repeated.
///
/// # Errors
/// When it is not there for as long as `absence`.
pub async fn ask(layout: &Layout, request: &Request, absence: Duration) -> std::io::Result<Answer> {
    let give_up = Instant::now() + absence;
    loop {
        let error = match tokio::time::timeout(ANSWER, once(layout, request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => return Err(std::io::Error::other(format!("no answer within {} s", ANSWER.as_secs()))),
        };
        if Instant::now() + PAUSE >= give_up || !on_a_stack(layout) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(layout: &Layout, request: &Request) -> std::io::Result<Answer> {
    let (reader, mut writer) = UnixStream::connect(layout.watch_socket()).await?.into_split();
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(reader.take(LONGEST_LINE * 16)).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(std::io::Error::other("it ended before it answered"));
    }
    Ok(serde_json::from_str(&answer)?)
}

fn on_a_stack(layout: &Layout) -> bool {
    layout.instance_file().exists()
}

#[cfg(test)]
mod tests;
