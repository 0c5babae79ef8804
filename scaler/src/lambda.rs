//! The Lambda function: each invocation of the minutely schedule ticks until its time is over; one by the function's
//! URL is a hint, and ticks once.

use std::time::Instant;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use jiff::Timestamp;

use crate::cli::Scaler;
use crate::config::Config;
use crate::hint::desk::Taken;
use crate::hint::function_url::{self, Request};
use crate::pace;
use crate::ports::Problem;

/// What a warm process keeps: connections, the token, when metrics were last published, and what hints announced.
#[derive(Default)]
struct Kept {
    scaler: Option<Scaler>,
    /// When the last tick for a hint began.
    hinted: Option<Instant>,
}

impl Kept {
    /// Connecting is retried by the next invocation: a token that was missing at first may be there then.
    async fn scaler(&mut self, config: &Config) -> Result<&mut Scaler, Diagnostic> {
        let connected = match self.scaler.take() {
            Some(scaler) => scaler,
            None => Scaler::connect(config.clone()).await.map_err(|p| diagnostic(&p))?,
        };
        Ok(self.scaler.insert(connected))
    }
}

/// Serves invocations until Lambda ends the process.
///
/// # Errors
/// The runtime API does not answer.
pub async fn serve(config: Config) -> Result<(), Problem> {
    let kept: Mutex<Kept> = Mutex::default();
    let (kept, config) = (&kept, &config);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let mut kept = kept.lock().await;
        match function_url::request(&event.payload) {
            Some(request) => hint(&mut kept, config, request).await,
            None => invocation(kept.scaler(config).await?).await,
        }
    }))
    .await
    .map_err(|error| Problem::new(69, format!("Lambda runtime API: {error}")))
}

/// Ticks until the next one would end after the invocation's time. A failed tick does not stop the others: the
/// minute's remaining ticks may well succeed. But then the invocation fails, so that the alarm sees it.
async fn invocation(scaler: &mut Scaler) -> Result<Value, Diagnostic> {
    let began = Instant::now();
    let mut ticks = 0;
    let mut failure = None;
    loop {
        let outcome = scaler.tick(false).await;
        ticks += 1;
        failure = failure.or(outcome.problems.into_iter().next());
        let wait = pace::next_tick(scaler.config().interval, outcome.poll_after);
        if began.elapsed() + wait >= scaler.config().invocation {
            break;
        }
        tokio::time::sleep(wait).await;
    }
    failure.map_or_else(|| Ok(json!({ "ticks": ticks })), |problem| Err(diagnostic(&problem)))
}

/// Ticks once for a genuine hint. While the schedule's invocation goes on, Lambda runs this one beside it: both come to
/// the same numbers, and whoever is second finds nothing to do.
async fn hint(kept: &mut Kept, config: &Config, request: Request) -> Result<Value, Diagnostic> {
    let hinted = kept.hinted;
    let scaler = kept.scaler(config).await?;
    let taken = match scaler.desk() {
        Some(desk) => desk.take(request.signature.as_deref(), &request.body, Timestamp::now()).await,
        None => Taken::Refused,
    };
    if matches!(taken, Taken::Look { .. }) {
        if let Some(hinted) = hinted {
            tokio::time::sleep(pace::after_hint(hinted.elapsed())).await;
        }
        let began = Instant::now();
        let outcome = scaler.tick_unpublished().await;
        kept.hinted = Some(began);
        if let Some(problem) = outcome.problems.first() {
            return Err(diagnostic(problem));
        }
    }
    Ok(function_url::answer(taken))
}

/// What the Lambda console shows of a failed invocation: our kind of failure rather than a Rust type's name.
fn diagnostic(problem: &Problem) -> Diagnostic {
    let error_type = match problem.code {
        69 => "Unavailable",
        75 => "TryAgain",
        77 => "Denied",
        78 => "Configuration",
        _ => "Failed",
    };
    Diagnostic { error_type: error_type.to_owned(), error_message: problem.message.clone() }
}
