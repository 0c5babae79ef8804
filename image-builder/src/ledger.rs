//! The table of builds: which message is built by whom and what came of it, so that a message that comes twice is built
//! once and a build whose worker died is taken over. One item a message, by conditional writes; no clocks are compared:
//! an owner is alive while its item's `beat` changes.

use std::time::Duration;

use aws::dynamodb::{Client, is_unmet};
use aws::{CallError, Session};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::details::Outcome;
use crate::packer::output::{Image, Temporary};
use crate::problem::Problem;

/// Items are kept for so long after their last change.
const KEPT_DAYS: i64 = 90;

/// The table of builds, as one worker sees it.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    table: String,
    owner: String,
    heartbeat: Duration,
}

/// What is known of a message's build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How far it is.
    pub stage: Stage,
    /// Who builds it.
    pub owner: String,
    /// Changes while the owner lives.
    pub beat: u64,
    /// The execution's id.
    pub execution: String,
    /// Images that were made.
    pub images: Vec<Image>,
    /// What Packer made for the time of the build.
    pub temporary: Temporary,
    /// Where the audit lies, once there is one.
    pub audit: String,
    /// How it ended, once it did.
    pub outcome: Option<Outcome>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Somebody works on it.
    Building,
    /// The images are there; publishing, audit or the message's end may lack.
    Built,
    /// This attempt failed, and another may follow.
    Failed,
    /// Nothing more is to be done.
    Done,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Ours, and nothing was done before.
    Fresh,
    /// Ours, after an owner that died or an attempt that failed.
    Resumed(Entry),
    /// It is over.
    Over(Entry),
    /// Somebody else is at it.
    Busy(Entry),
}

/// Pure: what may a worker that found this do about it? `silent` when the beat did not change for long.
#[must_use]
pub fn judge(entry: &Entry, silent: bool) -> Verdict {
    match entry.stage {
        Stage::Done => Verdict::Over,
        Stage::Failed => Verdict::Take,
        Stage::Building | Stage::Built if silent => Verdict::Take,
        Stage::Building | Stage::Built => Verdict::Watch,
    }
}

/// What to do about an item that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Take it over.
    Take,
    /// See whether its owner lives.
    Watch,
    /// Leave it: it is over.
    Over,
}

impl Ledger {
    /// The table, written by `owner`, a name that no other worker ever has, with a beat each so often.
    #[must_use]
    pub fn new(session: &Session, table: &str, owner: &str, heartbeat: Duration) -> Self {
        Self { client: session.dynamodb(), table: table.to_owned(), owner: owner.to_owned(), heartbeat }
    }

    /// An owner whose item does not change for so long is dead: three beats and a half.
    fn silence(&self) -> Duration {
        self.heartbeat * 7 / 2
    }

    /// Makes a message's build ours, unless it is over or somebody else is at it. Finding that out takes three heartbeats and a half.
    ///
    /// # Errors
    /// The table does not answer, or refuses.
    pub async fn claim(&self, id: &str, execution: &str, about: &str) -> Result<Claim, Problem> {
        if self.put_new(id, execution, about).await? {
            return Ok(Claim::Fresh);
        }
        let Some(first) = self.read(id).await? else {
            // It expired between the two calls: whoever asks next finds nothing.
            return Err(Problem::new(75, format!("table {}: the item {id} came and went", self.table)));
        };
        let silent = match judge(&first, false) {
            Verdict::Over => return Ok(Claim::Over(first)),
            Verdict::Take => true,
            Verdict::Watch => {
                tokio::time::sleep(self.silence()).await;
                self.read(id).await?.is_some_and(|now| now.beat == first.beat && now.owner == first.owner)
            }
        };
        if !silent {
            return Ok(Claim::Busy(first));
        }
        let mut values = json!({
            ":done": {"S": Stage::Done.word()}, ":then": {"S": first.owner}, ":me": {"S": self.owner},
            ":beat": {"N": first.beat.to_string()}, ":one": {"N": "1"},
        });
        // Images that are there stay, with the execution that made them and whose audit they belong to.
        let mut set = "SET #owner = :me, beat = beat + :one".to_owned();
        if first.stage != Stage::Built
            && let Some(values) = values.as_object_mut()
        {
            set.push_str(", #stage = :building, execution = :execution");
            values.insert(":building".to_owned(), json!({"S": Stage::Building.word()}));
            values.insert(":execution".to_owned(), json!({"S": execution}));
        }
        let condition = "#owner = :then AND beat = :beat AND #stage <> :done";
        let taken = self.change(id, &set, condition, values).await?;
        Ok(if taken { Claim::Resumed(first) } else { Claim::Busy(first) })
    }

    /// Shows that we live; false when the build is no longer ours.
    ///
    /// # Errors
    /// The table does not answer, or refuses.
    pub async fn beat(&self, id: &str) -> Result<bool, Problem> {
        self.change_own(id, "SET beat = beat + :one", json!({":one": {"N": "1"}})).await
    }

    /// Keeps what would have to be taken away if we died now.
    ///
    /// # Errors
    /// As [`Ledger::beat`].
    pub async fn keep_temporary(&self, id: &str, temporary: &Temporary) -> Result<bool, Problem> {
        let text = serde_json::to_string(temporary).unwrap_or_default();
        self.change_own(
            id,
            "SET leftovers = :t, beat = beat + :one",
            json!({":t": {"S": text}, ":one": {"N": "1"}}),
        )
        .await
    }

    /// Keeps the images: from now on nobody builds them again.
    ///
    /// # Errors
    /// As [`Ledger::beat`].
    pub async fn keep_images(&self, id: &str, images: &[Image]) -> Result<bool, Problem> {
        let text = serde_json::to_string(images).unwrap_or_default();
        let values = json!({
            ":images": {"S": text}, ":built": {"S": Stage::Built.word()}, ":none": {"S": "{}"}, ":one": {"N": "1"},
        });
        let set = "SET images = :images, #stage = :built, leftovers = :none, beat = beat + :one";
        self.change_own(id, set, values).await
    }

    /// The attempt is over: for good, or so that another may follow.
    ///
    /// # Errors
    /// As [`Ledger::beat`].
    pub async fn close(&self, id: &str, again: bool, outcome: Outcome, audit: &str) -> Result<bool, Problem> {
        let stage = if again { Stage::Failed } else { Stage::Done };
        let outcome = serde_json::to_value(outcome).unwrap_or_default();
        let values = json!({
            ":stage": {"S": stage.word()}, ":outcome": {"S": outcome.as_str().unwrap_or_default()},
            ":audit": {"S": audit}, ":now": {"S": Timestamp::now().to_string()}, ":expires": {"N": expiry()},
        });
        let set =
            "SET #stage = :stage, outcome = :outcome, audit = :audit, ended_at = :now, expires_at = :expires";
        self.change_own(id, set, values).await
    }

    /// The item of a message.
    ///
    /// # Errors
    /// The table does not answer, refuses, or holds something else.
    pub async fn read(&self, id: &str) -> Result<Option<Entry>, Problem> {
        let body = json!({"TableName": self.table, "Key": {"id": {"S": id}}, "ConsistentRead": true});
        let answer = self.client.get_item(body).await;
        let answer =
            answer.map_err(|error| self.failed(&CallError::new(&error, "dynamodb:GetItem", &self.table)))?;
        match answer.get("Item") {
            None => Ok(None),
            Some(item) => entry(item).map(Some).ok_or_else(|| {
                Problem::new(1, format!("table {}: the item {id} is none of a build", self.table))
            }),
        }
    }

    async fn put_new(&self, id: &str, execution: &str, about: &str) -> Result<bool, Problem> {
        let body = json!({
            "TableName": self.table,
            "ConditionExpression": "attribute_not_exists(id)",
            "Item": {
                "id": {"S": id}, "stage": {"S": Stage::Building.word()}, "owner": {"S": self.owner}, "beat": {"N": "1"},
                "execution": {"S": execution}, "about": {"S": about},
                "started_at": {"S": Timestamp::now().to_string()}, "expires_at": {"N": expiry()},
            },
        });
        match self.client.put_item(body).await {
            Ok(_) => Ok(true),
            Err(failure) if is_unmet(&failure) => Ok(false),
            Err(failure) => Err(self.failed(&CallError::new(&failure, "dynamodb:PutItem", &self.table))),
        }
    }

    async fn change_own(&self, id: &str, set: &str, mut values: Value) -> Result<bool, Problem> {
        if let Some(values) = values.as_object_mut() {
            values.insert(":me".to_owned(), json!({"S": self.owner}));
        }
        self.change(id, set, "#owner = :me", values).await
    }

    async fn change(&self, id: &str, set: &str, condition: &str, values: Value) -> Result<bool, Problem> {
        // Both words are reserved in expressions.
        let mut names = json!({"#owner": "owner"});
        if (set.contains("#stage") || condition.contains("#stage"))
            && let Some(names) = names.as_object_mut()
        {
            names.insert("#stage".to_owned(), json!("stage"));
        }
        let body = json!({
            "TableName": self.table, "Key": {"id": {"S": id}}, "UpdateExpression": set,
            "ConditionExpression": condition, "ExpressionAttributeNames": names, "ExpressionAttributeValues": values,
        });
        match self.client.update_item(body).await {
            Ok(_) => Ok(true),
            Err(failure) if is_unmet(&failure) => Ok(false),
            Err(failure) => Err(self.failed(&CallError::new(&failure, "dynamodb:UpdateItem", &self.table))),
        }
    }

    fn failed(&self, error: &CallError) -> Problem {
        let hint = match error.fault {
            aws::Fault::Absent => "; there is no such table: check builds.table and the region",
            _ => "",
        };
        Problem::new(error.fault.exit_code(), format!("table of builds: {error}{hint}"))
    }
}

fn expiry() -> String {
    (Timestamp::now().as_second() + KEPT_DAYS * 86_400).to_string()
}

fn entry(item: &Value) -> Option<Entry> {
    let text = |name: &str| item.get(name).and_then(|value| value.get("S")).and_then(Value::as_str);
    let number = |name: &str| item.get(name)?.get("N")?.as_str()?.parse().ok();
    let stages = [Stage::Building, Stage::Built, Stage::Failed, Stage::Done];
    Some(Entry {
        stage: stages.into_iter().find(|stage| Some(stage.word()) == text("stage"))?,
        owner: text("owner")?.to_owned(),
        beat: number("beat")?,
        execution: text("execution").unwrap_or_default().to_owned(),
        images: text("images").and_then(|images| serde_json::from_str(images).ok()).unwrap_or_default(),
        temporary: text("leftovers").and_then(|left| serde_json::from_str(left).ok()).unwrap_or_default(),
        audit: text("audit").unwrap_or_default().to_owned(),
        outcome: text("outcome").and_then(|word| serde_json::from_value(json!(word)).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stage: Stage) -> Entry {
        entry(&json!({"stage": {"S": stage.word()}, "owner": {"S": "a"}, "beat": {"N": "7"}})).unwrap()
    }

    #[test]
    fn a_build_is_taken_only_from_the_dead_and_the_failed() {
        for (stage, awake, silent) in [
            (Stage::Building, Verdict::Watch, Verdict::Take),
            (Stage::Built, Verdict::Watch, Verdict::Take),
            (Stage::Failed, Verdict::Take, Verdict::Take),
            (Stage::Done, Verdict::Over, Verdict::Over),
        ] {
            assert_eq!(
                (judge(&found(stage), false), judge(&found(stage), true)),
                (awake, silent),
                "{stage:?}"
            );
        }
    }

    #[test]
    fn an_item_is_read_leniently_and_a_strange_one_not_at_all() {
        let image = Image { builder: "b".to_owned(), region: "r".to_owned(), id: "ami-1".to_owned() };
        let images = serde_json::to_string(std::slice::from_ref(&image)).unwrap();
        let item = json!({
            "stage": {"S": "built"}, "owner": {"S": "a"}, "beat": {"N": "7"}, "images": {"S": images},
            "leftovers": {"S": "{}"}, "outcome": {"S": "timed-out"}, "more": {"BOOL": true},
        });
        let read = entry(&item).unwrap();
        assert_eq!((read.images, read.outcome), (vec![image], Some(Outcome::TimedOut)));
        for strange in [json!({}), json!({"stage": {"S": "x"}, "owner": {"S": "a"}, "beat": {"N": "1"}})] {
            assert_eq!(entry(&strange), None);
        }
    }
}
