//! The queue of builds, SQS: long polling, a message that stays invisible while it is worked on, and the way of what
//! cannot be built to the dead-letter queue.

use std::time::Duration;

use aws::sqs::Client;
use aws::sqs::types::{MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use aws::{CallError, Session};

use crate::audit::AuditedMessage;
use crate::config;
use crate::problem::Problem;

/// SQS answers after so long at the latest when nothing comes.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// A message is hidden for so many heartbeats, and hidden anew each third of that: long enough for one that is lost, short
/// enough that the build of an instance that is gone begins again soon.
const HIDDEN_BEATS: u32 = 12;

/// A queue.
#[derive(Debug, Clone)]
pub struct BuildQueue {
    client: Client,
    url: String,
    hidden: Duration,
    /// Where messages go that nobody can build; none where the queue has none.
    buried: Option<String>,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What the audit keeps of it.
    pub message: AuditedMessage,
    /// How often it was received, this time included.
    pub receives: u32,
    receipt: String,
}

impl BuildQueue {
    /// Finds the queue and its dead-letter queue. A message is kept by a heartbeat each so often.
    ///
    /// # Errors
    /// The queue is not there, or may not be asked.
    pub async fn open(
        session: &Session,
        queue: &config::Queue,
        heartbeat: Duration,
    ) -> Result<Self, Problem> {
        let client = session.sqs();
        let url = match queue {
            config::Queue::Url(url) => url.clone(),
            config::Queue::Name(name) => url_of(&client, name).await?,
        };
        let attributes = client.get_queue_attributes().queue_url(&url);
        let attributes = attributes.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes =
            attributes.map_err(|error| failed(&CallError::new(&error, "sqs:GetQueueAttributes", &url)))?;
        let policy = attributes.attributes().and_then(|all| all.get(&QueueAttributeName::RedrivePolicy));
        let buried = policy.and_then(|policy| dead_letter_name(policy)).map(|name| beside(&url, &name));
        Ok(Self { client, url, hidden: heartbeat * HIDDEN_BEATS, buried })
    }

    /// For how long a message is hidden.
    #[must_use]
    pub fn hidden(&self) -> Duration {
        self.hidden
    }

    /// The queue's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Is there a dead-letter queue?
    #[must_use]
    pub fn buries(&self) -> bool {
        self.buried.is_some()
    }

    /// The next message; waits for one if `patient`.
    ///
    /// # Errors
    /// The queue does not answer, or refuses.
    pub async fn receive(&self, patient: bool) -> Result<Option<Received>, Problem> {
        let wait = if patient { LONG_POLL } else { Duration::ZERO };
        let call = self.client.receive_message().queue_url(&self.url).max_number_of_messages(1);
        let call = call.message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer =
            call.wait_time_seconds(seconds(wait)).visibility_timeout(seconds(self.hidden)).send().await;
        let answer =
            answer.map_err(|error| failed(&CallError::new(&error, "sqs:ReceiveMessage", &self.url)))?;
        Ok(answer.messages().first().map(|message| {
            let counts = message.attributes();
            let receives =
                counts.and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            Received {
                message: AuditedMessage {
                    body: text(message.body()),
                    md5: text(message.md5_of_body()),
                    id: text(message.message_id()),
                },
                receives: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
                receipt: text(message.receipt_handle()),
            }
        }))
    }

    /// Keeps a message hidden for `time` from now on; zero gives it back at once.
    ///
    /// # Errors
    /// The queue does not answer, or the message is no longer ours.
    pub async fn hide(&self, received: &Received, time: Duration) -> Result<(), CallError> {
        let call =
            self.client.change_message_visibility().queue_url(&self.url).receipt_handle(&received.receipt);
        let answer = call.visibility_timeout(seconds(time)).send().await;
        answer.map(drop).map_err(|error| CallError::new(&error, "sqs:ChangeMessageVisibility", &self.url))
    }

    /// Takes a message off the queue.
    ///
    /// # Errors
    /// The queue does not answer, or refuses.
    pub async fn delete(&self, received: &Received) -> Result<(), CallError> {
        let call = self.client.delete_message().queue_url(&self.url).receipt_handle(&received.receipt);
        let answer = call.send().await;
        answer.map(drop).map_err(|error| CallError::new(&error, "sqs:DeleteMessage", &self.url))
    }

    /// Puts a message into the dead-letter queue with its reason and where its audit lies, and takes it off this one.
    /// Without a dead-letter queue the audit is all that is left.
    ///
    /// # Errors
    /// One of the queues does not answer, or refuses.
    pub async fn bury(&self, received: &Received, reason: &str, audit: &str) -> Result<(), CallError> {
        if let Some(url) = &self.buried {
            let call = self.client.send_message().queue_url(url).message_body(&received.message.body);
            let call = [("reason", reason), ("audit", audit), ("messageId", &received.message.id)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, attribute(value)?)))
                .fold(call, |call, (name, value)| call.message_attributes(name, value));
            call.send().await.map_err(|error| CallError::new(&error, "sqs:SendMessage", url))?;
        }
        self.delete(received).await
    }

    /// Looks at the queue as kiln's connectivity test did: a message that comes is hidden for a second only.
    ///
    /// # Errors
    /// The queue does not answer, or refuses.
    pub async fn look(&self) -> Result<(), Problem> {
        let call = self.client.receive_message().queue_url(&self.url).max_number_of_messages(1);
        let answer = call.wait_time_seconds(0).visibility_timeout(1).send().await;
        answer.map(drop).map_err(|error| failed(&CallError::new(&error, "sqs:ReceiveMessage", &self.url)))
    }

    /// Sends a message, and returns its id.
    ///
    /// # Errors
    /// The queue does not answer, or refuses.
    pub async fn submit(&self, body: &str) -> Result<String, Problem> {
        let answer = self.client.send_message().queue_url(&self.url).message_body(body).send().await;
        let answer = answer.map_err(|error| failed(&CallError::new(&error, "sqs:SendMessage", &self.url)))?;
        Ok(answer.message_id().unwrap_or_default().to_owned())
    }
}

/// Text as SQS takes it in an attribute: not empty, no control characters.
fn attribute(text: &str) -> Option<MessageAttributeValue> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(1_000).collect();
    let text = if text.is_empty() { "-".to_owned() } else { text };
    MessageAttributeValue::builder().data_type("String").string_value(text).build().ok()
}

async fn url_of(client: &Client, name: &str) -> Result<String, Problem> {
    let answer = client.get_queue_url().queue_name(name).send().await;
    let answer = answer.map_err(|error| failed(&CallError::new(&error, "sqs:GetQueueUrl", name)))?;
    Ok(answer.queue_url().unwrap_or_default().to_owned())
}

/// The queue's name in `{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:111122223333:name","maxReceiveCount":3}`.
fn dead_letter_name(policy: &str) -> Option<String> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    policy.get("deadLetterTargetArn")?.as_str()?.rsplit(':').next().map(str::to_owned)
}

/// Pure: the URL of another queue of the same account and region, as a dead-letter queue always is.
fn beside(url: &str, name: &str) -> String {
    let (all_but_name, _) = url.rsplit_once('/').unwrap_or((url, ""));
    format!("{all_but_name}/{name}")
}

fn failed(error: &CallError) -> Problem {
    let hint = match error.code.as_deref() {
        Some("AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist") => {
            "; there is no such queue: check sqsConfig and the region"
        }
        _ => "",
    };
    Problem::new(error.fault.exit_code(), format!("queue: {error}{hint}"))
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_letter_queue_is_in_the_redrive_policy() {
        let policy =
            r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:111122223333:dead","maxReceiveCount":"3"}"#;
        assert_eq!(dead_letter_name(policy).as_deref(), Some("dead"));
        for none in ["", "{}", r#"{"deadLetterTargetArn":3}"#] {
            assert_eq!(dead_letter_name(none), None);
        }
    }

    #[test]
    fn the_dead_letter_queue_is_beside_its_queue() {
        let url = "https://sqs.eu-west-1.amazonaws.com/111122223333/builds";
        assert_eq!(beside(url, "dead"), "https://sqs.eu-west-1.amazonaws.com/111122223333/dead");
    }

    #[test]
    fn an_attribute_is_text_that_sqs_takes() {
        for (text, expected) in [("", "-"), ("a\u{1b}[1mb\n", "a[1mb"), ("\n", "-")] {
            assert_eq!(attribute(text).unwrap().string_value(), Some(expected));
        }
    }
}
