//! `scaler run`: ticks a period apart, and at once when a hint comes.

use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::cli::Scaler;
use crate::hint::endpoint::HintEndpoint;
use crate::pace;
use crate::ports::Problem;

/// Ticks until SIGTERM or SIGINT; a tick that runs then is finished. A failed tick is on record and changes nothing;
/// the next one tries again.
///
/// # Errors
/// The endpoint for hints cannot be opened.
pub async fn run_until_stopped(mut scaler: Scaler, dry_run: bool) -> Result<(), Problem> {
    let watch = |kind| signal(kind).map_err(|e| Problem::new(1, format!("signal handler: {e}")));
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let hinted = Arc::new(Notify::new());
    serve_hints(&scaler, &hinted).await?;
    loop {
        let began = Instant::now();
        let outcome = scaler.tick(dry_run).await;
        let wait = tokio::time::sleep(pace::next_tick(scaler.config().interval, outcome.poll_after));
        // The pause that the CI asks for is one between polls: a hint says that there is something to see.
        let hint = async {
            hinted.notified().await;
            tokio::time::sleep(pace::after_hint(began.elapsed())).await;
        };
        tokio::select! {
            () = wait => {}
            () = hint => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Opens the endpoint, if the settings have one, and serves it as long as the program runs.
async fn serve_hints(scaler: &Scaler, look: &Arc<Notify>) -> Result<(), Problem> {
    let address = scaler.config().hints.as_ref().and_then(|hints| hints.address);
    if let Some((address, desk)) = address.zip(scaler.desk()) {
        let endpoint = HintEndpoint::bind(address).await?;
        eprintln!("scaler: listening for hints on http://{}/", endpoint.address);
        tokio::spawn(endpoint.serve(desk, Arc::clone(look)));
    }
    Ok(())
}
