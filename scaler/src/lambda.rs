//! The Lambda function: each invocation of the minutely schedule ticks until its time is over.

use std::time::Instant;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::cli::Scaler;
use crate::config::Config;
use crate::pace;
use crate::tick::Problem;

/// Serves invocations until Lambda ends the process. What a warm process keeps: connections, the token, and when
/// metrics were last published.
///
/// # Errors
/// The runtime API does not answer.
pub async fn serve(config: Config) -> Result<(), Problem> {
    let scaler: Mutex<Option<Scaler>> = Mutex::new(None);
    let (scaler, config) = (&scaler, &config);
    lambda_runtime::run(service_fn(move |_event: LambdaEvent<Value>| async move {
        let mut kept = scaler.lock().await;
        // Connecting is retried by the next invocation: a token that was missing at first may be there then.
        let connected = match kept.take() {
            Some(scaler) => scaler,
            None => Scaler::connect(config.clone()).await.map_err(|p| diagnostic(&p))?,
        };
        invocation(kept.insert(connected)).await
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
