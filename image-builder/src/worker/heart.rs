//! What keeps a message and its build ours while it is worked on: the queue hides the message, the table sees us live.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ledger::Ledger;
use crate::packer::Stop;
use crate::queue::{BuildQueue, Received};

/// With each so manieth beat the message is hidden anew: a third of the time that it is hidden.
const HIDDEN_EACH: u32 = 4;

/// Beats until it is dropped.
#[derive(Debug)]
pub struct Heart {
    task: JoinHandle<()>,
}

impl Heart {
    /// Starts beating. When the build turns out to be somebody else's, `stop` hears it.
    #[must_use]
    pub fn start(
        queue: &BuildQueue,
        received: &Received,
        ledger: Option<(&Ledger, &str)>,
        heartbeat: Duration,
        stop: Arc<watch::Sender<Option<Stop>>>,
    ) -> Self {
        let (queue, received) = (queue.clone(), received.clone());
        let ledger = ledger.map(|(ledger, id)| (ledger.clone(), id.to_owned()));
        let task = tokio::spawn(async move {
            let mut beats: u32 = 0;
            loop {
                if beats.is_multiple_of(HIDDEN_EACH)
                    && let Err(error) = queue.hide(&received, queue.hidden()).await
                {
                    // The table decides whose it is; without one the worst is that it is built twice.
                    eprintln!("image-builder: {error}; the message may be seen again");
                }
                if let Some((ledger, id)) = &ledger {
                    match ledger.beat(id).await {
                        Ok(true) => {}
                        Ok(false) => {
                            stop.send_replace(Some(Stop::HandedBack));
                            return;
                        }
                        Err(problem) => eprintln!("image-builder: {problem}"),
                    }
                }
                beats = beats.wrapping_add(1);
                tokio::time::sleep(heartbeat).await;
            }
        });
        Self { task }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}
