//! Records in the log group of the stack's function, by CloudWatch Logs.

use aws::{CallError, Fault, Session, cloudwatchlogs};
use jiff::Timestamp;

use super::command::Records;
use crate::ports::Problem;

/// What begins like a record, of any version; other lines of the group are not sent.
const PATTERN: &str = "{ $.v >= 0 }";

/// The log group.
#[derive(Debug, Clone)]
pub struct LogGroupRecords {
    client: cloudwatchlogs::Client,
    group: String,
    region: String,
}

impl LogGroupRecords {
    /// Reads `group` in the session's region.
    #[must_use]
    pub fn new(session: &Session, group: &str) -> Self {
        Self {
            client: session.cloudwatchlogs(),
            group: group.to_owned(),
            region: session.region().to_owned(),
        }
    }
}

impl Records for LogGroupRecords {
    async fn between(&self, from: Timestamp, until: Timestamp) -> Result<Vec<String>, Problem> {
        let call = self.client.filter_log_events().log_group_name(&self.group).filter_pattern(PATTERN);
        // Both ends belong to what is answered.
        let call = call.start_time(from.as_millisecond().max(0)).end_time(until.as_millisecond().max(1) - 1);
        let mut pages = call.into_paginator().send();
        let mut lines = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                let error = CallError::new(&error, "logs:FilterLogEvents", &self.group);
                match error.fault {
                    Fault::Absent => Problem::new(
                        78,
                        format!(
                            "log group {} does not exist in {}: name the stack (--stack) or the group (--log-group)",
                            self.group, self.region
                        ),
                    ),
                    _ => error.into(),
                }
            })?;
            lines.extend(page.events.unwrap_or_default().into_iter().filter_map(|event| event.message));
        }
        Ok(lines)
    }
}
