//! What ends a worker: a signal, or EC2's word that the spot instance goes.

use std::time::Duration;

use aws::Imds;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::packer::Stop;

/// EC2 says so two minutes before, and asks to look each five seconds.
const LOOK: Duration = Duration::from_secs(5);

/// Waits for the end and tells it; what is being built is handed back to the queue.
pub async fn watch(ask: watch::Sender<Option<Stop>>) {
    let why = tokio::select! {
        () = signalled() => "signal",
        () = reclaimed() => "EC2 takes this spot instance back",
    };
    eprintln!("image-builder: {why}: what is being built goes back to the queue");
    ask.send_replace(Some(Stop::HandedBack));
    // Who gives its other ends away must not see them closed.
    ask.closed().await;
}

async fn signalled() {
    let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = both else {
        eprintln!("image-builder: signals cannot be heard");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ends when the metadata service tells of an interruption; never where there is none to ask.
async fn reclaimed() {
    let imds = Imds::new();
    match tokio::time::timeout(Duration::from_secs(3), imds.get("meta-data/instance-id")).await {
        Ok(Ok(Some(_))) => {}
        _ => std::future::pending().await,
    }
    loop {
        if let Ok(Some(_)) = imds.get("meta-data/spot/instance-action").await {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
