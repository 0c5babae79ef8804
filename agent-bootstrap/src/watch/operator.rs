//! What an operator says to `watch`, and asks it: `cordon`, `uncordon`, `drain`, `status`.

use std::io::Write as _;
use std::time::Duration;

use super::client;
use super::protocol::{Request, Status};
use crate::failure::Failure;
use crate::layout::Layout;

/// A restarted `watch` is back within a second or two.
const ABSENCE: Duration = Duration::from_secs(5);

/// Says or asks it. The instance's state goes to stdout as one JSON line, a sentence to stderr.
///
/// # Errors
/// 69 when `watch` is not there, 77 when it refuses.
pub async fn say(layout: &Layout, request: &Request) -> Result<(), Failure> {
    let answer = client::ask(layout, request, ABSENCE).await.map_err(|error| {
        Failure::unavailable(format!(
            "watch: {}: {error}; see `journalctl -u tidemark-watch`",
            layout.watch_socket().display()
        ))
    })?;
    if !answer.ok {
        let reason = answer.reason.unwrap_or_else(|| "no reason given".to_owned());
        return Err(Failure::denied(format!("watch: {reason}")));
    }
    let Some(status) = answer.status else {
        return Err(Failure::failed("watch: it answered without its state".to_owned()));
    };
    if request.word().is_some() {
        eprintln!("watch: {}", sentence(request, &status));
    }
    let line = serde_json::to_string(&status).map_err(|e| Failure::failed(format!("watch: {e}")))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").map_err(|e| Failure::failed(format!("watch: writing to stdout: {e}")))
}

fn sentence(request: &Request, status: &Status) -> String {
    let jobs = match status.jobs.len() {
        0 => "no job runs".to_owned(),
        1 => "1 job runs".to_owned(),
        more => format!("{more} jobs run"),
    };
    match request {
        Request::Uncordon => "it takes jobs again as soon as agents that are leaving have left".to_owned(),
        Request::Cordon => format!("it takes no more jobs and stays; {jobs}"),
        Request::Drain { cancel_jobs: true } => format!("it leaves, running jobs are cancelled; {jobs}"),
        _ => format!("it takes no more jobs and leaves when they are done; {jobs}"),
    }
}
