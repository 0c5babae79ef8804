//! The record of a build's end, one object in the audit bucket: kiln's thirteen keys in kiln's order (seed-systems.md
//! §1.2), so that what reads kiln's audits reads ours. What kiln did not know lies beside it ([`details`]).

pub mod details;
pub mod emitter;
pub mod reader;

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::RngExt as _;

use emitter::{Node, emit};

/// kiln's id of one execution: the time in hexadecimal microseconds and four random digits, seventeen in all. It stands
/// in each line of the build's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecutionId(String);

impl ExecutionId {
    /// A new id of this moment.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        let micros = at.as_microsecond().max(0);
        let random: u16 = rand::rng().random();
        Self(format!("{:08x}{:05x}{random:04x}", micros / 1_000_000, micros % 1_000_000))
    }

    /// An id as it was written, of which the time can be read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fine = text.len() == 17 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        fine.then(|| Self(text.to_owned())).filter(|id| id.at().is_some())
    }

    /// When the execution began.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        let number = |digits: &str| i64::from_str_radix(digits, 16).ok();
        let (seconds, micros) = (number(self.0.get(..8)?)?, number(self.0.get(8..13)?)?);
        Timestamp::from_microsecond(seconds * 1_000_000 + micros).ok()
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message as the audit keeps it: all of it but the receipt handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedMessage {
    /// Verbatim.
    pub body: String,
    /// SQS's digest of the body.
    pub md5: String,
    /// SQS's id.
    pub id: String,
}

/// An image as the audit names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedImage {
    /// `ami-…`
    pub id: String,
    /// Where it is.
    pub region: String,
}

/// All that the thirteen keys say.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// kiln's id of the execution.
    pub execution: ExecutionId,
    /// When it began.
    pub started: Timestamp,
    /// The queue's URL; empty where there was none.
    pub queue_url: String,
    /// The message; none where there was none.
    pub message: Option<AuditedMessage>,
    /// The template as it was asked for.
    pub template: String,
    /// The commit as it was asked for.
    pub commit: String,
    /// How it ended.
    pub end: End,
}

/// A build's end, as much as kiln tells of it: of a failure neither a time nor an image.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// There is an image; of several, the first.
    Built {
        /// Which.
        image: AuditedImage,
        /// When.
        at: Timestamp,
    },
    /// There is none.
    Failed,
}

impl Audit {
    /// The document.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let (image, ended) = match &self.end {
            End::Built { image, at } => (Some(image), Some(*at)),
            End::Failed => (None, None),
        };
        let start = seconds(self.started);
        let text = |text: &str| Node::text(text);
        let message = self.message.as_ref().map_or(Node::Null, |message| {
            let keys = [("Body", &message.body), ("MD5OfBody", &message.md5), ("MessageId", &message.id)];
            Node::Map(keys.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect())
        });
        let empty = || text("");
        let keys = [
            ("executionUuid", text(self.execution.as_str())),
            ("startTimestamp", Node::Seconds(start)),
            ("startDateTime", Node::text(rfc2822(self.started))),
            ("amiBuildQueueUrl", text(&self.queue_url)),
            ("jobMessage", message),
            ("jobBuildTemplate", text(&self.template)),
            ("jobBuildTemplateSha", text(&self.commit)),
            ("createdAmiId", image.map_or_else(empty, |image| text(&image.id))),
            ("createdAmiRegion", image.map_or_else(empty, |image| text(&image.region))),
            ("endedInError", Node::Switch(image.is_none())),
            ("endTimestamp", ended.map_or_else(empty, |at| Node::Seconds(seconds(at)))),
            ("endDateTime", ended.map_or_else(empty, |at| Node::text(rfc2822(at)))),
            // The difference of the two numbers, not of the two times: so kiln computes it, and its last digits show it.
            ("processingDuration", ended.map_or_else(empty, |at| Node::Seconds(seconds(at) - start))),
        ];
        emit(&keys.map(|(key, node)| (key.to_owned(), node)))
    }

    /// Where the document lies in the audit bucket.
    #[must_use]
    pub fn key(&self) -> String {
        let at = self.started.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H-%M-%S").to_string();
        let short = self.commit.chars().take(crate::job::SHORT_COMMIT);
        let short: String =
            short.map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        format!("builds/{}/{at}/{}.yml", below(&self.template), part(&short))
    }
}

/// A template's name as part of a key: what no template has, since the message was refused, becomes `_`.
fn below(template: &str) -> String {
    let parts = template.trim_start_matches([' ', '/']).split('/').map(part);
    let path = parts.collect::<Vec<_>>().join("/");
    path.chars().take(300).collect()
}

fn part(text: &str) -> String {
    if matches!(text, "" | "." | "..") {
        return "_".to_owned();
    }
    text.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}

/// Unix seconds as PHP's `microtime(true)` has them.
#[expect(clippy::cast_precision_loss, reason = "microseconds of this millennium fit into 53 bits")]
fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1_000_000.0
}

fn rfc2822(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
