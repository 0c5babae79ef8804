//! What kiln did not record of a build, in a document of its own beside the audit, JSON: `….details.json`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::packer::output::Image;

/// A build's facts. Values of variables are never among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// 1; readers refuse what they do not know.
    pub version: u32,
    /// As in the audit.
    pub execution_uuid: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, however it did.
    pub ended_at: Timestamp,
    /// The attempt's number for one message, from 1; none where there was no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// All digits of the commit, where it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// All images of all builders and regions.
    pub images: Vec<Image>,
    /// Digest of the template and all that lies in its repository's commit, of the variables and of Packer's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs_digest: Option<String>,
    /// `1.6.6`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packer_version: Option<String>,
    /// Names of the variables that the message brought.
    pub variable_names: BTreeSet<String>,
    /// Where the log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlace>,
    /// Why there is no image: the step, and its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Cause>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There are images.
    Built,
    /// A step failed.
    Failed,
    /// The message asks for nothing that can be done.
    BadMessage,
    /// It took too long.
    TimedOut,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `message`, `fetch`, `validate`, `build`, `publish`.
    pub step: String,
    /// One line.
    pub reason: String,
    /// The last lines of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

/// A stream of CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// The group.
    pub group: String,
    /// The stream.
    pub stream: String,
}

/// Where the details of an audit lie.
#[must_use]
pub fn key_of(audit_key: &str) -> String {
    format!("{}.details.json", audit_key.strip_suffix(".yml").unwrap_or(audit_key))
}
