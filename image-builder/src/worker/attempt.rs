//! One message, once: claim, build, publish, audit, and only then the message's end. Each step can be the last one before
//! the machine dies; whoever comes next finds in the table how far it was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::end::Asked;
use super::heart::Heart;
use super::{Turn, Worker};
use crate::audit::details::{Cause, Outcome};
use crate::audit::{AuditedImage, End, ExecutionId};
use crate::builder::{Facts, Failure};
use crate::job::Job;
use crate::job::message::parse;
use crate::ledger::{Claim, Entry, Stage};
use crate::leftovers;
use crate::log::ExecutionLog;
use crate::packer::output::{Image, Temporary};
use crate::packer::{Progress, Stop, past};
use crate::problem::Problem;
use crate::publish::Provenance;
use crate::queue::Received;

/// A message that somebody else works on is looked at again after so long.
const BUSY_AGAIN: Duration = Duration::from_mins(1);

/// The wait before a failed build is tried again: so long for each attempt there was.
const RETRY: Duration = Duration::from_mins(1);

/// One message in a worker's hands.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub(super) worker: &'a Worker,
    pub(super) received: Received,
    pub(super) execution: ExecutionId,
    pub(super) started: Timestamp,
    pub(super) log: ExecutionLog,
}

/// What becomes of a message whose build failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this time.
    Again(Duration),
    /// It goes to the dead-letter queue.
    Bury,
    /// It goes back at once, for another worker.
    HandBack,
}

/// Pure: what becomes of a message whose build failed at its nth attempt?
#[must_use]
pub fn after_failure(stopped: Option<Stop>, attempt: u32, attempts: u32) -> Next {
    match stopped {
        Some(Stop::HandedBack) => Next::HandBack,
        _ if attempt >= attempts => Next::Bury,
        _ => Next::Again(RETRY * attempt),
    }
}

impl<'a> Attempt<'a> {
    /// Takes a message into work.
    #[must_use]
    pub fn new(worker: &'a Worker, received: Received) -> Self {
        let started = Timestamp::now();
        let execution = ExecutionId::new(started);
        let log = worker.log.of(&execution);
        Self { worker, received, execution, started, log }
    }

    /// Does all that can be done about it.
    ///
    /// # Errors
    /// The queue, the table or the audit bucket fails. The message comes back by itself, and the next attempt goes on.
    pub async fn run(mut self, stop: &watch::Receiver<Option<Stop>>) -> Result<Turn, Problem> {
        let job = match parse(&self.received.message.body) {
            Ok(job) => job,
            Err(bad) => return self.refuse(&bad).await,
        };
        let mut found = None;
        if let Some(ledger) = &self.worker.ledger {
            let about = format!("{} @ {}", job.template, job.commit);
            // Finding out whether another worker lives takes longer than a message stays hidden by chance.
            let nobody = Arc::new(watch::channel(None).0);
            let _heart =
                Heart::start(&self.worker.queue, &self.received, None, self.worker.heartbeat, nobody);
            match ledger.claim(&self.received.message.id, self.execution.as_str(), &about).await? {
                Claim::Fresh => {}
                Claim::Resumed(entry) => found = Some(entry),
                Claim::Over(entry) => return self.is_over(&entry).await,
                Claim::Busy(entry) => {
                    self.log.info(&format!("Another worker builds this: {}", entry.owner));
                    self.hide(BUSY_AGAIN).await?;
                    return Ok(Turn::Left);
                }
            }
        }
        self.log.info(&format!("Found Work, request for template '{}' @ SHA '{}'", job.template, job.commit));
        for (name, value) in &job.variables {
            self.worker.log.keep_secret(name, value);
        }
        let (own, asked) = watch::channel(None);
        let own = Arc::new(own);
        let ledger = self.worker.ledger.as_ref().map(|ledger| (ledger, self.received.message.id.as_str()));
        let _heart =
            Heart::start(&self.worker.queue, &self.received, ledger, self.worker.heartbeat, Arc::clone(&own));
        let forward = forward(stop.clone(), own);
        let turn = self.work(&job, found, asked).await;
        forward.abort();
        turn
    }

    async fn work(
        &mut self,
        job: &Job,
        found: Option<Entry>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Result<Turn, Problem> {
        let mut facts = Facts::default();
        if let Some(images) = self.take_up(found).await? {
            facts.images = images;
            return self.finish(job, &facts).await;
        }
        let (sender, progress) = mpsc::channel(64);
        let listen = self.listen(progress);
        let id = self.received.message.id.clone();
        let build = self.worker.builder.build(&id, job, &mut facts, &self.log, stop, sender);
        let (built, ()) = tokio::join!(build, listen);
        match built {
            Ok(()) => self.finish(job, &facts).await,
            Err(failure) => self.fail(job, &facts, &failure).await,
        }
    }

    /// Goes on where a worker that died left off: finds the images that were made, or takes away what its Packer left.
    async fn take_up(&mut self, found: Option<Entry>) -> Result<Option<Vec<Image>>, Problem> {
        let output = self.worker.builder.output(&self.received.message.id);
        let before = past(&output).await?;
        let execution = found.as_ref().and_then(|entry| ExecutionId::parse(&entry.execution));
        if let Some(entry) =
            found.as_ref().filter(|entry| entry.stage == Stage::Built && !entry.images.is_empty())
        {
            self.log.info(&format!("An earlier worker built this and died: execution {}", entry.execution));
            // The audit is that execution's, which may have written it already.
            if let Some(execution) = execution {
                self.started = execution.at().unwrap_or(self.started);
                self.log = self.worker.log.of(&execution);
                self.execution = execution;
            }
            return Ok(Some(entry.images.clone()));
        }
        if let Some(before) = before.as_ref().filter(|before| before.errors == 0 && !before.images.is_empty())
        {
            self.log.info("An earlier worker died while Packer built this; Packer ended well");
            return Ok(Some(before.images.clone()));
        }
        let since = execution.and_then(|execution| execution.at()).or_else(|| began(&output));
        let left = [found.map(|entry| entry.temporary), before.map(|before| before.temporary)];
        for temporary in left.iter().flatten() {
            self.remove(temporary, since.unwrap_or(self.started)).await?;
        }
        Ok(None)
    }

    async fn remove(&self, temporary: &Temporary, since: Timestamp) -> Result<(), Problem> {
        for removed in leftovers::remove(&self.worker.session, temporary, since).await? {
            self.log.warning(&format!("Packer was killed and left {removed}: removed"));
        }
        Ok(())
    }

    /// Writes what Packer says into the log, and what it makes for the time of the build into the table.
    async fn listen(&self, mut progress: mpsc::Receiver<Progress>) {
        while let Some(one) = progress.recv().await {
            match (one, &self.worker.ledger) {
                (Progress::Line(line), _) => self.log.info(&line),
                (Progress::Temporary(temporary), Some(ledger)) => {
                    if let Err(problem) = ledger.keep_temporary(&self.received.message.id, &temporary).await {
                        self.log.warning(&problem.message);
                    }
                }
                (Progress::Temporary(_), None) => {}
            }
        }
    }

    async fn finish(&self, job: &Job, facts: &Facts) -> Result<Turn, Problem> {
        let Some(first) = facts.images.first() else {
            return Err(Problem::new(1, format!("build {}: no image", self.execution)));
        };
        if let Some(ledger) = &self.worker.ledger
            && !ledger.keep_images(&self.received.message.id, &facts.images).await?
        {
            return Err(self.lost());
        }
        for image in &facts.images {
            self.log
                .info(&format!("Packer build succeeded: Region '{}', AMI id '{}'", image.region, image.id));
        }
        let provenance = Provenance {
            template: job.template.as_str(),
            commit: facts.commit.as_deref().unwrap_or(job.commit.as_str()),
            execution: self.execution.as_str(),
        };
        for told in self.worker.publisher.publish(&facts.images, &provenance).await? {
            self.log.info(&told);
        }
        let image = AuditedImage { id: first.id.clone(), region: first.region.clone() };
        let end = End::Built { image, at: Timestamp::now() };
        let key = self.audit(&Asked::of(job), end, Outcome::Built, facts, None).await?;
        self.close(false, Outcome::Built, &key).await?;
        let url = self.worker.queue.url();
        self.log.info(&format!("deleting message on queue '{url}' with id '{}'.", self.received.message.id));
        self.worker
            .queue
            .delete(&self.received)
            .await
            .map_err(|error| Problem::of_call("message", &error))?;
        self.clear();
        Ok(Turn::Done)
    }

    async fn fail(&self, job: &Job, facts: &Facts, failure: &Failure) -> Result<Turn, Problem> {
        self.log.error(&failure.reason);
        if !failure.tail.is_empty() {
            self.log.error_with("Last 20 lines of output: ", &failure.tail);
        }
        self.remove(&facts.temporary, self.started).await?;
        let next = after_failure(failure.stopped, self.received.receives, self.worker.attempts);
        let outcome = match failure.stopped {
            Some(Stop::TimedOut) => Outcome::TimedOut,
            _ => Outcome::Failed,
        };
        if next == Next::HandBack {
            self.close(true, outcome, "").await?;
            self.clear();
            self.hide(Duration::ZERO).await?;
            return Ok(Turn::Left);
        }
        let cause = Cause {
            step: failure.step.to_owned(),
            reason: failure.reason.clone(),
            tail: failure.tail.clone(),
        };
        let key = self.audit(&Asked::of(job), End::Failed, outcome, facts, Some(cause)).await?;
        self.close(matches!(next, Next::Again(_)), outcome, &key).await?;
        match next {
            Next::Again(wait) => {
                self.log.info(&format!("It is tried again in {} s", wait.as_secs()));
                self.hide(wait).await?;
            }
            Next::Bury | Next::HandBack => self.bury(&failure.reason, &key).await?,
        }
        self.clear();
        Ok(Turn::Failed)
    }
}

/// When the build of this output began: its process was noted then.
fn began(output: &Path) -> Option<Timestamp> {
    let noted = std::fs::metadata(output.with_extension("pid")).and_then(|file| file.modified()).ok()?;
    Timestamp::try_from(noted).ok()
}

/// What ends the worker ends its build.
fn forward(
    mut stop: watch::Receiver<Option<Stop>>,
    own: Arc<watch::Sender<Option<Stop>>>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if let Some(why) = stop.wait_for(Option::is_some).await.ok().and_then(|why| *why) {
            own.send_replace(Some(why));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k9_a_failed_build_is_tried_again_and_then_no_more() {
        let minutes = |count| Next::Again(Duration::from_mins(count));
        for (stopped, attempt, next) in [
            (None, 1, minutes(1)),
            (None, 2, minutes(2)),
            (None, 3, Next::Bury),
            (None, 9, Next::Bury),
            (Some(Stop::TimedOut), 1, minutes(1)),
            (Some(Stop::TimedOut), 3, Next::Bury),
            (Some(Stop::HandedBack), 9, Next::HandBack),
        ] {
            assert_eq!(after_failure(stopped, attempt, 3), next, "{stopped:?} {attempt}");
        }
    }
}
