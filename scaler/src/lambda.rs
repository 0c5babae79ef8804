//! The Lambda function: each invocation of the minutely schedule ticks until its time is over; one by the function's
//! URL is a hint, and ticks once.

use std::time::Instant;

use futures::future::join_all;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use jiff::Timestamp;

use crate::config::Config;
use crate::hint::desk::Taken;
use crate::hint::function_url::{self, Request};
use crate::pace;
use crate::ports::Problem;
use crate::scaler::{Scaler, Scalers};

/// What a warm process keeps: connections, the token, when metrics were last published, and what hints announced.
#[derive(Default)]
struct Kept {
    scalers: Option<Scalers>,
    /// When the last tick for a hint began.
    hinted: Option<Instant>,
}

impl Kept {
    /// Connecting is retried by the next invocation: a token that was missing at first may be there then.
    async fn scalers(&mut self, config: &Config) -> Result<&mut Scalers, Diagnostic> {
        let connected = match self.scalers.take() {
            Some(scalers) => scalers,
            None => Scalers::connect(config).await.map_err(|p| diagnostic(&p))?,
        };
        Ok(self.scalers.insert(connected))
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
            None => invocation(kept.scalers(config).await?, config).await,
        }
    }))
    .await
    .map_err(|error| Problem::new(69, format!("Lambda runtime API: {error}")))
}

/// Ticks until the next one would end after the invocation's time. A failed tick does not stop the others: the
/// minute's remaining ticks may well succeed. But then the invocation fails, so that the alarm sees it.
async fn invocation(scalers: &mut Scalers, config: &Config) -> Result<Value, Diagnostic> {
    let each = join_all(scalers.each.iter_mut().map(|scaler| ticks(scaler, config))).await;
    let ticks: usize = each.iter().map(|(ticks, _)| ticks).sum();
    let failure = each.into_iter().find_map(|(_, failure)| failure);
    failure.map_or_else(|| Ok(json!({ "ticks": ticks })), |problem| Err(diagnostic(&problem)))
}

async fn ticks(scaler: &mut Scaler, config: &Config) -> (usize, Option<Problem>) {
    let began = Instant::now();
    let mut ticks = 0;
    let mut failure = None;
    loop {
        let ticked = scaler.tick(false).await;
        ticks += 1;
        failure = failure.or(ticked.problems.into_iter().next());
        let wait = pace::next_tick(config.interval, ticked.poll_after);
        if began.elapsed() + wait >= config.invocation {
            scaler.rest().await;
            return (ticks, failure);
        }
        tokio::time::sleep(wait).await;
    }
}

/// Ticks once for a genuine hint. While the schedule's invocation goes on, Lambda runs this one beside it: both come to
/// the same numbers, and whoever is second finds nothing to do.
async fn hint(kept: &mut Kept, config: &Config, request: Request) -> Result<Value, Diagnostic> {
    let hinted = kept.hinted;
    let scalers = kept.scalers(config).await?;
    let taken = match &scalers.desk {
        Some(desk) => desk.take(request.signature.as_deref(), &request.body, Timestamp::now()).await,
        None => Taken::Refused,
    };
    if matches!(taken, Taken::Look { .. }) {
        if let Some(hinted) = hinted {
            tokio::time::sleep(pace::after_hint(hinted.elapsed())).await;
        }
        let began = Instant::now();
        let problems = scalers.tick_unpublished().await;
        kept.hinted = Some(began);
        if let Some(problem) = problems.first() {
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
