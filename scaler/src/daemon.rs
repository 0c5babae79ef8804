//! `scaler run`: ticks a period apart, and at once when a hint comes.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::hint::endpoint::HintEndpoint;
use crate::pace;
use crate::ports::Problem;
use crate::scaler::{Scaler, Scalers};

/// Ticks until SIGTERM or SIGINT; a tick that runs then is finished. A failed tick is on record and changes nothing;
/// the next one tries again. Queues of different CIs tick each at their own pace.
///
/// # Errors
/// The endpoint for hints cannot be opened.
pub async fn run_until_stopped(config: &Config, scalers: Scalers, dry_run: bool) -> Result<(), Problem> {
    let listen = |kind| signal(kind).map_err(|e| Problem::new(1, format!("signal handler: {e}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    serve_hints(config, &scalers).await?;
    let (stop, stopped) = watch::channel(());
    let each = scalers.each.into_iter();
    let ticking = join_all(each.map(|scaler| ticks(scaler, config.interval, dry_run, stopped.clone())));
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(stop);
    };
    tokio::join!(ticking, signalled);
    Ok(())
}

async fn ticks(mut scaler: Scaler, interval: Duration, dry_run: bool, mut stopped: watch::Receiver<()>) {
    loop {
        let began = Instant::now();
        let ticked = scaler.tick(dry_run).await;
        let wait = tokio::time::sleep(pace::next_tick(interval, ticked.poll_after));
        // The pause that the CI asks for is one between polls: a hint says that there is something to see.
        let hint = async {
            scaler.hinted().await;
            tokio::time::sleep(pace::after_hint(began.elapsed())).await;
        };
        tokio::select! {
            () = wait => {}
            () = hint => {}
            _ = stopped.changed() => return scaler.rest().await,
        }
    }
}

/// Opens the endpoint, if the settings have one, and serves it as long as the program runs.
async fn serve_hints(config: &Config, scalers: &Scalers) -> Result<(), Problem> {
    let address = config.hints.as_ref().and_then(|hints| hints.address);
    if let Some((address, desk)) = address.zip(scalers.desk.clone()) {
        let endpoint = HintEndpoint::bind(address).await?;
        eprintln!("scaler: listening for hints on http://{}/", endpoint.address);
        tokio::spawn(endpoint.serve(desk));
    }
    Ok(())
}
