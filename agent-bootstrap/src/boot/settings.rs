//! An instance's settings: parts of YAML merged key by key into one typed value. `docs/settings.md` lists them.

pub mod logs;
pub mod reader;
pub mod watch;

use std::collections::BTreeMap;

use aws::StoredToken;
use serde_json::{Map, Value};
use sha2::Digest as _;

pub use logs::LogsSettings;
use reader::Reader;
pub use reader::{Fault, Faults};
pub use watch::WatchSettings;

/// All settings of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The stack's name.
    pub stack: String,
    /// The queue whose jobs run here.
    pub queue: String,
    /// The agents' side.
    pub agents: AgentSettings,
    /// Defaults of the job hooks: environment names and values.
    pub hooks_env: BTreeMap<String, String>,
    /// What `watch` goes by.
    pub watch: WatchSettings,
    /// Tells these settings from others; the same for parts that say the same, whatever their form.
    pub digest: String,
    /// Where logs go.
    pub logs: LogsSettings,
}

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
    /// Name or path of the agent program.
    pub program: String,
}

/// Merges the parts, later ones winning key by key, and reads them.
///
/// # Errors
/// All faults at once, each with its setting's name.
pub fn read(parts: &[String]) -> Result<Settings, Faults> {
    let mut faults = Vec::new();
    let mut merged = Map::new();
    for (index, part) in parts.iter().enumerate() {
        match serde_saphyr::from_str::<Value>(part) {
            Ok(Value::Null) => {}
            Ok(Value::Object(values)) => merged.extend(values),
            Ok(_) => faults.push(Fault::new(&part_name(index), "is no map of settings (`key: value` lines)")),
            Err(error) => faults.push(Fault::new(&part_name(index), first_line(&error.to_string()))),
        }
    }
    if parts.is_empty() {
        faults.push(Fault::new("user data", "holds no part application/x-tidemark+yaml"));
    }
    let digest = digest(&merged);
    let mut reader = Reader::new(merged, faults);
    let settings = typed(&mut reader, digest);
    reader.finish(settings)
}

fn part_name(index: usize) -> String {
    format!("settings part {}", index + 1)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The scaler's settings do not count: they change nothing on an instance.
fn digest(merged: &Map<String, Value>) -> String {
    let own: BTreeMap<_, _> = merged.iter().filter(|(name, _)| !reader::is_of_scaler(name)).collect();
    let text = serde_json::json!(own).to_string();
    hex::encode(sha2::Sha256::digest(text.as_bytes()))
}

fn typed(reader: &mut Reader, digest: String) -> Settings {
    let agents = agents(reader);
    Settings {
        stack: reader.word("stack"),
        queue: reader.word("queue"),
        watch: watch::read(reader, agents.disconnect_after_job),
        agents,
        hooks_env: hooks_env(reader),
        digest,
        logs: logs::logs(reader),
    }
}

fn agents(reader: &mut Reader) -> AgentSettings {
    let endpoint =
        reader.text("agent-endpoint").unwrap_or_else(|| "https://agent.buildkite.com/v3".to_owned());
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        reader.fault("agent-endpoint", "is no http:// or https:// URL");
    }
    let token = match reader.required("agent-token") {
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
    };
    AgentSettings {
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        token,
        count: u32::try_from(reader.number("agents-per-instance", 1, 1..=100)).unwrap_or(1),
        tags: reader.pairs("agent-tags"),
        priority: reader.optional_number("agent-priority", -1_000_000..=1_000_000),
        disconnect_after_job: reader.flag("disconnect-after-job").unwrap_or(false),
        program: reader.text("agent-program").unwrap_or_else(|| "build-agent".to_owned()),
    }
}

/// Settings of the stack that the hooks know by an environment name of their own.
const HOOK_NAMES: [(&str, &str); 9] = [
    ("secrets-bucket", "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET"),
    ("secrets-region", "BUILDKITE_PLUGIN_S3_SECRETS_REGION"),
    ("secrets-kms-key", "SECRETS_KMS_KEY"),
    ("secrets-require-key", "SECRETS_REQUIRE_KEY"),
    ("secrets-for-forks", "SECRETS_FOR_FORKS"),
    ("secrets-env-format", "SECRETS_ENV_FORMAT"),
    ("use-kms", "BUILDKITE_USE_KMS"),
    ("ecr-login", "AWS_ECR_LOGIN"),
    ("ecr-hosts", "TIDEMARK_ECR_HOSTS"),
];

fn hooks_env(reader: &mut Reader) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (setting, name) in HOOK_NAMES {
        if let Some(value) = reader.listed(setting) {
            values.insert(name.to_owned(), value);
        }
    }
    values.extend(reader.environment("hooks-env"));
    values
}

#[cfg(test)]
mod tests;
