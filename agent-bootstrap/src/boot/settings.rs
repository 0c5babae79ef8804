//! An instance's settings: parts of YAML merged key by key into one typed value. `docs/settings.md` lists them.

mod access;
mod agents;
pub mod disk;
mod docker;
mod ends;
pub mod logs;
pub mod reader;
mod startup;
mod stay;
pub mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::Digest as _;

pub use access::AccessSettings;
pub use agents::{AgentSettings, OpenSourceSettings};
pub use disk::DiskSettings;
pub use docker::{AddressPool, DockerSettings};
pub use ends::EndSettings;
pub use logs::LogsSettings;
use reader::Reader;
pub use reader::{Fault, Faults};
pub use startup::StartupSettings;
pub use stay::Stay;
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
    /// What the disk guard goes by.
    pub disk: DiskSettings,
    /// Tells these settings from others; the same for parts that say the same, whatever their form.
    pub digest: String,
    /// Where logs go.
    pub logs: LogsSettings,
    /// Who may log in, and what jobs may do as root.
    pub access: AccessSettings,
    /// What Docker's daemon is told.
    pub docker: DockerSettings,
    /// What the stack's owner adds to a boot.
    pub startup: StartupSettings,
    /// The longest that a boot may take, if not as long as any.
    pub boot_timeout: Option<Duration>,
    /// Whom a boot tells how it ended.
    pub ends: EndSettings,
}

/// Merges the parts, later ones winning key by key, and reads them.
///
/// # Errors
/// All faults at once, each with its setting's name.
pub fn read(parts: &[String]) -> Result<Settings, Faults> {
    let (merged, mut faults) = merge(parts);
    if parts.is_empty() {
        faults.push(Fault::new("user data", "holds no part application/x-tidemark+yaml"));
    }
    let digest = digest(&merged);
    let mut reader = Reader::new(merged, faults);
    let settings = typed(&mut reader, digest);
    reader.finish(settings)
}

/// Whom a boot can tell that these settings are of no use.
#[must_use]
pub fn ends(parts: &[String]) -> EndSettings {
    EndSettings::lenient(&merge(parts).0)
}

fn merge(parts: &[String]) -> (Map<String, Value>, Vec<Fault>) {
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
    (merged, faults)
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
    let stack = reader.word("stack");
    let agents = AgentSettings::read(reader);
    let watch = watch::read(reader, agents.disconnect_after_job);
    Settings {
        queue: reader.word("queue"),
        disk: disk::read(reader),
        agents,
        hooks_env: hooks_env(reader),
        access: AccessSettings::read(reader),
        docker: DockerSettings::read(reader),
        startup: StartupSettings::read(reader),
        boot_timeout: reader.period_within("boot-timeout", 1..=840),
        ends: EndSettings::read(reader, &stack, watch.terminating_hook.clone()),
        stack,
        watch,
        digest,
        logs: logs::logs(reader),
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
