//! Rates, functions and what an invocation came to. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// A schedule expression `rate(…)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Duration);

impl Rate {
    /// Parses `rate(1 minute)`, `rate(5 minutes)` and so on: singular for one, plural for more, as EventBridge wants.
    #[must_use]
    pub fn parse(expression: &str) -> Option<Self> {
        let inner = expression.strip_prefix("rate(")?.strip_suffix(')')?;
        let (count, unit) = inner.split_once(' ')?;
        let count: u64 = count.parse().ok().filter(|n| *n > 0)?;
        let singular = if count == 1 { unit } else { unit.strip_suffix('s')? };
        let seconds = match singular {
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return None,
        };
        Some(Self(Duration::from_secs(count.checked_mul(seconds)?)))
    }

    /// The time between two invocations.
    #[must_use]
    pub fn every(self) -> Duration {
        self.0
    }
}

/// A Lambda function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// Its role's ARN.
    pub role: String,
    /// Longest invocation.
    pub timeout: Duration,
    /// MB; told to the program, not enforced.
    pub memory: u64,
    /// Variables of the template.
    pub environment: BTreeMap<String, String>,
    /// Where its log goes, if its template names a log group.
    pub log_group: Option<String>,
}

/// A rule and the function it invokes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The rule's name.
    pub rule: String,
    /// The rule's ARN.
    pub rule_arn: String,
    /// How often.
    pub rate: Rate,
    /// What.
    pub function: Function,
}

impl Schedule {
    /// The event that EventBridge sends.
    #[must_use]
    pub fn event(&self, now: Timestamp) -> Value {
        json!({
            "version": "0",
            "id": uuid::Uuid::new_v4().to_string(),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": crate::endpoint::ACCOUNT,
            "time": format!("{now:.0}"),
            "resources": [self.rule_arn],
            "detail": {},
        })
    }
}

/// Why an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The program told an error: type and message.
    #[error("{0}")]
    Told(String),
    /// It did not answer within the function's timeout.
    #[error("Task timed out after {0} seconds")]
    TimedOut(u64),
    /// The program ended instead of answering.
    #[error("Runtime exited with exit status {0}")]
    Exited(i32),
    /// The program could not be started.
    #[error("{0}")]
    NotStarted(String),
}

/// One run of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// Request id.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The program's answer, or why there is none.
    pub outcome: Result<String, Failed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_eventbridges() {
        let cases = [
            ("rate(1 minute)", Some(60)),
            ("rate(5 minutes)", Some(300)),
            ("rate(2 hours)", Some(7200)),
            ("rate(1 day)", Some(86_400)),
            ("rate(1 minutes)", None),
            ("rate(5 minute)", None),
            ("rate(0 minutes)", None),
            ("rate(1 week)", None),
            ("rate(99999999999999999999 days)", None),
            ("cron(0 12 * * ? *)", None),
            ("", None),
        ];
        for (expression, seconds) in cases {
            assert_eq!(Rate::parse(expression).map(|r| r.every().as_secs()), seconds, "{expression}");
        }
    }
}
