//! How an attempt ends: its audit, its item in the table, its message.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Turn;
use super::attempt::Attempt;
use crate::audit::details::{Cause, Details, LogPlace, Outcome};
use crate::audit::{Audit, End};
use crate::builder::Facts;
use crate::job::Job;
use crate::job::message::BadMessage;
use crate::ledger::Entry;
use crate::problem::Problem;

/// What was asked for, as it stands in the audit.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    template: String,
    commit: String,
    variables: BTreeSet<String>,
}

impl Asked {
    /// A job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            template: job.template.as_str().to_owned(),
            commit: job.commit.as_str().to_owned(),
            variables: job.variables.keys().cloned().collect(),
        }
    }
}

impl Attempt<'_> {
    /// Writes the audit with its details, and returns its key.
    pub(super) async fn audit(
        &self,
        asked: &Asked,
        end: End,
        outcome: Outcome,
        facts: &Facts,
        failure: Option<Cause>,
    ) -> Result<String, Problem> {
        let audit = Audit {
            execution: self.execution.clone(),
            started: self.started,
            queue_url: self.worker.queue.url().to_owned(),
            message: Some(self.received.message.clone()),
            template: asked.template.clone(),
            commit: asked.commit.clone(),
            end,
        };
        let details = Details {
            version: 1,
            execution_uuid: self.execution.to_string(),
            outcome,
            started_at: self.started,
            ended_at: Timestamp::now(),
            attempt: Some(self.received.receives),
            commit: facts.commit.clone(),
            images: facts.images.clone(),
            inputs_digest: facts.inputs_digest.clone(),
            packer_version: facts.packer_version.clone(),
            variable_names: asked.variables.clone(),
            log: self.log.place().map(|(group, stream)| LogPlace { group, stream }),
            failure,
        };
        self.log.info(&format!("Writing results to S3: '{}'", audit.key()));
        self.worker.audits.write(&audit, &details).await
    }

    /// A message that asks for nothing that can be done.
    pub(super) async fn refuse(&self, bad: &BadMessage) -> Result<Turn, Problem> {
        let reason = format!("the message cannot be built: {bad}");
        self.log.error(&reason);
        let asked =
            Asked { template: bad.template.clone(), commit: bad.commit.clone(), variables: BTreeSet::new() };
        let cause = Cause { step: "message".to_owned(), reason: reason.clone(), tail: Vec::new() };
        let key =
            self.audit(&asked, End::Failed, Outcome::BadMessage, &Facts::default(), Some(cause)).await?;
        self.bury(&reason, &key).await?;
        Ok(Turn::Failed)
    }

    /// A message that was built before, and was delivered again.
    pub(super) async fn is_over(&self, entry: &Entry) -> Result<Turn, Problem> {
        self.log.info(&format!("It is done already by execution {}: '{}'", entry.execution, entry.audit));
        self.worker
            .queue
            .delete(&self.received)
            .await
            .map_err(|error| Problem::of_call("message", &error))?;
        Ok(Turn::Done)
    }

    pub(super) async fn close(&self, again: bool, outcome: Outcome, audit: &str) -> Result<(), Problem> {
        match &self.worker.ledger {
            Some(ledger) if !ledger.close(&self.received.message.id, again, outcome, audit).await? => {
                Err(self.lost())
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn bury(&self, reason: &str, audit: &str) -> Result<(), Problem> {
        let place = format!("s3://{}/{audit}", self.worker.audits.name());
        let word = if self.worker.queue.buries() { "goes to the dead-letter queue" } else { "is deleted" };
        self.log.error(&format!("The message {word}; its audit is {place}"));
        let buried = self.worker.queue.bury(&self.received, reason, &place).await;
        buried.map_err(|error| Problem::of_call("message", &error))
    }

    pub(super) async fn hide(&self, time: Duration) -> Result<(), Problem> {
        let hidden = self.worker.queue.hide(&self.received, time).await;
        hidden.map_err(|error| Problem::of_call("message", &error))
    }

    /// The build turned out to be somebody else's.
    pub(super) fn lost(&self) -> Problem {
        let id = &self.received.message.id;
        Problem::new(
            75,
            format!("message {id}: another worker has taken it over; nothing of it is published here"),
        )
    }

    /// Takes away the build's folder.
    pub(super) fn clear(&self) {
        let folder = self.worker.builder.folder.join(&self.received.message.id);
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.log.warning(&format!("{}: {error}", folder.display()));
        }
    }
}
