//! Audits read again, of all generations that kiln wrote and of ours: names of keys changed twice, numbers are quoted or
//! not, folded text ends with a newline of its own (seed-systems.md §1.2).

use jiff::Timestamp;
use serde_json::Value;

use super::AuditedImage;

/// What an audit tells.
#[derive(Debug, Clone, PartialEq)]
pub struct PastBuild {
    /// kiln's id of the execution.
    pub execution: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; kiln tells it of builds with an image only.
    pub ended: Option<Timestamp>,
    /// The queue's URL, or its name in the oldest audits.
    pub queue: String,
    /// The message's body, verbatim.
    pub message: Option<String>,
    /// The template.
    pub template: String,
    /// The commit as it was asked for.
    pub commit: String,
    /// The image, if there is one.
    pub image: Option<AuditedImage>,
    /// Did it fail?
    pub failed: bool,
}

/// Why a document is no audit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no audit: {0}")]
pub struct NoAudit(String);

/// Reads one audit.
///
/// # Errors
/// It is no YAML, or lacks what every generation has.
pub fn read(yaml: &str) -> Result<PastBuild, NoAudit> {
    let value: Value = serde_saphyr::from_str(yaml)
        .map_err(|error| NoAudit(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let keys = value.as_object().ok_or_else(|| NoAudit("it has no keys".to_owned()))?;
    let first = |names: &[&str]| names.iter().find_map(|name| keys.get(*name)).map(text).unwrap_or_default();
    let needed = |names: &[&str]| match first(names) {
        text if text.is_empty() => Err(NoAudit(format!("{} is missing", names[0]))),
        text => Ok(text),
    };
    let started = needed(&["startTimestamp", "startTime"])?;
    let started = time(&started).ok_or_else(|| NoAudit(format!("{started:?} is no time")))?;
    let image = Some(first(&["createdAmiId"])).filter(|id| !id.is_empty());
    let body = keys.get("jobMessage").and_then(|message| message.get("Body"));
    Ok(PastBuild {
        execution: needed(&["executionUuid"])?,
        started,
        ended: time(&first(&["endTimestamp", "endTime"])),
        queue: first(&["amiBuildQueueUrl", "amiBuildQueueName"]),
        message: body.map(text),
        template: first(&["jobBuildTemplate"]),
        commit: first(&["jobBuildTemplateSha"]),
        image: image.map(|id| AuditedImage { id, region: first(&["createdAmiRegion"]) }),
        failed: keys.get("endedInError").is_some_and(|value| matches!(text(value).as_str(), "true" | "1")),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim_end_matches('\n').to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Unix seconds with a fraction.
fn time(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    let micros = (seconds * 1_000_000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "what is too large is refused by Timestamp")]
    Timestamp::from_microsecond(micros as i64).ok()
}
