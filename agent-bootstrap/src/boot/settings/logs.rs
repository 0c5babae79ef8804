//! Settings of `agent-bootstrap logs`.

use serde::{Deserialize, Serialize};

use super::reader::Reader;

/// Where logs go; kept in the instance file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LogsSettings {
    /// The older group names below this prefix, in groups that instances make; `None` is the stack's own groups.
    pub group_prefix: Option<String>,
    /// Days that groups which instances make keep events.
    pub retention_days: i32,
}

impl Default for LogsSettings {
    fn default() -> Self {
        Self { group_prefix: None, retention_days: 14 }
    }
}

pub(super) fn logs(reader: &mut Reader) -> LogsSettings {
    let group_prefix = reader.text("log-group-prefix");
    let well_formed = |prefix: &str| {
        prefix.len() <= 400
            && prefix.starts_with('/')
            && !prefix.ends_with('/')
            && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._#-".contains(&b))
    };
    if !group_prefix.as_deref().is_none_or(well_formed) {
        reader.fault("log-group-prefix", "is no prefix of log groups such as /buildkite");
    }
    let days = reader.number("log-retention-days", 14, 1..=3653);
    LogsSettings { group_prefix, retention_days: i32::try_from(days).unwrap_or(14) }
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, read};
    use super::*;

    fn of(settings: &str) -> Result<LogsSettings, Faults> {
        read(&[format!("{{stack: ci, queue: q, agent-token: 'ssm:/t', {settings}}}")]).map(|s| s.logs)
    }

    #[test]
    fn a_prefix_is_a_path_and_days_are_days() {
        assert_eq!(of(""), Ok(LogsSettings::default()));
        let given = LogsSettings { group_prefix: Some("/buildkite".into()), retention_days: 7 };
        assert_eq!(of("log-group-prefix: /buildkite, log-retention-days: 7"), Ok(given));
        assert_eq!(of("log-group-prefix: ''"), Ok(LogsSettings::default()), "the parameter left empty");
        for bad in ["buildkite", "/buildkite/", "/build kite", "/a*"] {
            let faults = of(&format!("log-group-prefix: '{bad}', log-retention-days: 0")).unwrap_err();
            assert_eq!(
                faults.to_string(),
                "`log-group-prefix` is no prefix of log groups such as /buildkite; \
                 `log-retention-days` is no whole number from 1 to 3653"
            );
        }
    }
}
