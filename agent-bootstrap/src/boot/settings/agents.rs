//! How agents run.

use std::ops::RangeInclusive;
use std::time::Duration;

use aws::StoredToken;

use super::reader::Reader;

const BUILD_AGENT: &str = "build-agent";

/// A second to a year.
const SECONDS: RangeInclusive<u64> = 1..=31_536_000;

/// How agents run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// Base URL of the agent API.
    pub endpoint: String,
    /// Where the registration token lies.
    pub token: StoredToken,
    /// Agents on this instance.
    pub count: u32,
    /// Tags beyond those of every stack, `key=value`.
    pub tags: Vec<String>,
    /// Priority of the agents at the CI.
    pub priority: Option<i64>,
    /// Each agent leaves after one job.
    pub disconnect_after_job: bool,
    /// Each agent leaves, between jobs, after so long.
    pub disconnect_after_uptime: Option<Duration>,
    /// Each agent leaves after so long without a job.
    pub disconnect_after_idle: Option<Duration>,
    /// May processes that a job leaves behind live on?
    pub keep_job_processes: bool,
    /// Name or path of the agent program.
    pub program: String,
    /// What only the open-source agent knows.
    pub open_source: OpenSourceSettings,
}

/// Settings that only the open-source agent knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenSourceSettings {
    /// Its channel, as the image holds it: `stable`, `beta` or `edge`.
    pub release: Option<&'static str>,
    /// Does each line of a job's log begin with its time?
    pub timestamp_lines: Option<bool>,
    /// Where it sends its traces: `datadog` or `opentelemetry`.
    pub tracing_backend: Option<&'static str>,
    /// Folder of bare clones that checkouts borrow from.
    pub git_mirrors_path: Option<String>,
}

impl AgentSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let endpoint =
            reader.text("agent-endpoint").unwrap_or_else(|| "https://agent.buildkite.com/v3".to_owned());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            reader.fault("agent-endpoint", "is no http:// or https:// URL");
        }
        let program = reader.text("agent-program").unwrap_or_else(|| BUILD_AGENT.to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token(reader),
            count: u32::try_from(reader.number("agents-per-instance", 1, 1..=100)).unwrap_or(1),
            tags: reader.pairs("agent-tags"),
            priority: reader.optional_number("agent-priority", -1_000_000..=1_000_000),
            disconnect_after_job: reader.flag("disconnect-after-job").unwrap_or(false),
            disconnect_after_uptime: reader.period_within("disconnect-after-uptime", SECONDS),
            disconnect_after_idle: reader.period_within("disconnect-after-idle", SECONDS),
            keep_job_processes: reader.flag("keep-job-processes").unwrap_or(false),
            open_source: OpenSourceSettings::read(reader, &program),
            program,
        }
    }
}

impl OpenSourceSettings {
    fn read(reader: &mut Reader, program: &str) -> Self {
        let settings = Self {
            release: reader.choice("agent-release", &["stable", "beta", "edge"]),
            timestamp_lines: reader.flag("agent-timestamp-lines"),
            tracing_backend: reader.choice("agent-tracing-backend", &["datadog", "opentelemetry"]),
            git_mirrors_path: reader.absolute_path("git-mirrors-path"),
        };
        let given = [
            ("agent-release", settings.release.is_some()),
            ("agent-timestamp-lines", settings.timestamp_lines.is_some()),
            ("agent-tracing-backend", settings.tracing_backend.is_some()),
            ("git-mirrors-path", settings.git_mirrors_path.is_some()),
        ];
        if program.rsplit('/').next() == Some(BUILD_AGENT) {
            for (name, _) in given.into_iter().filter(|(_, given)| *given) {
                reader.fault(name, "is unknown to build-agent; set agent-program: buildkite-agent beside it");
            }
        }
        settings
    }
}

fn token(reader: &mut Reader) -> StoredToken {
    match reader.required("agent-token") {
        text if text.starts_with("ssm:") => StoredToken::Parameter(text["ssm:".len()..].to_owned()),
        text if text.starts_with("arn:") || text.is_empty() => StoredToken::SecretsManager(text),
        _ => {
            // The value is not repeated: it may be the token itself.
            reader.fault(
                "agent-token",
                "is neither a Secrets Manager ARN nor `ssm:` and a parameter's path; \
                never put the token itself here",
            );
            StoredToken::SecretsManager(String::new())
        }
    }
}
