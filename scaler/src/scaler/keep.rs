//! What was learned of the queues goes to the table, and comes from there.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use jiff::Timestamp;

use super::{Queue, Scaler};
use crate::group::AutoScalingGroup;
use crate::ports::Problem;
use crate::tick::Served;

/// Queues that are read or written at a time.
const AT_A_TIME: usize = 16;

impl Scaler {
    /// What an earlier process learned. Where the table does not answer everything is learned anew.
    pub(super) async fn recall(&mut self) {
        let now = Timestamp::now();
        self.each_queue("starts without what was learned", async |queue, served| {
            let Some(store) = &mut queue.store else { return Ok(()) };
            served.recall_from(store, &queue.heard, now).await
        })
        .await;
    }

    /// Writes what was learned, where it changed and it is time to, or the `end`.
    pub(super) async fn keep(&mut self, end: bool) {
        let now = Timestamp::now();
        self.each_queue("what was learned is kept by this process only", async |queue, served| {
            let Some(store) = queue.store.as_mut().filter(|store| store.is_time(end)) else { return Ok(()) };
            served.keep_in(store, &queue.heard, now).await
        })
        .await;
    }

    /// Where one finds that the table does not answer, the others do not ask.
    async fn each_queue(
        &mut self,
        failed: &str,
        what: impl AsyncFn(&mut Queue, &mut Served<AutoScalingGroup>) -> Result<(), Problem>,
    ) {
        let silent = AtomicBool::new(false);
        let (silent, what) = (&silent, &what);
        let each = self.queues.iter_mut().zip(&mut self.service.queues);
        futures::stream::iter(each)
            .for_each_concurrent(AT_A_TIME, |(queue, served)| async move {
                if silent.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(problem) = what(queue, served).await
                    && !silent.swap(true, Ordering::Relaxed)
                {
                    eprintln!("scaler: {failed}: {problem}");
                }
            })
            .await;
    }
}
