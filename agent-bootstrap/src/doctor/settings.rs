//! What is configured on this instance: the environment, then the hooks' settings file, then the agents' own file.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::layout::Layout;
use crate::registry::instance;

/// The settings that checks need.
#[derive(Debug)]
pub struct Settings {
    /// `BUILDKITE_PLUGIN_S3_SECRETS_BUCKET`.
    pub bucket: Option<String>,
    /// `BUILDKITE_PLUGIN_S3_SECRETS_REGION`.
    pub bucket_region: Option<String>,
    /// `SECRETS_KMS_KEY`: a key's ARN, id or alias.
    pub kms_key: Option<String>,
    /// `BUILDKITE_AGENT_ENDPOINT`, or `endpoint` of the agents' file.
    pub endpoint: Option<String>,
    /// `BUILDKITE_AGENT_TOKEN`, or `token` of the agents' file.
    pub token: Option<SecretString>,
    /// `BUILDKITE_AGENT_META_DATA_QUEUE`, or the queue among the `tags` of the agents' file.
    pub queue: Option<String>,
    /// `AWS_REGION` or what boot found.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL`.
    pub aws_endpoint: Option<String>,
    /// Files that could not be read.
    pub faults: Vec<String>,
}

impl Settings {
    /// Reads them all; what cannot be read is a fault of the report, not of the program.
    #[must_use]
    pub fn read(layout: &Layout, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut faults = Vec::new();
        let defaults = instance::defaults(layout).unwrap_or_else(|fault| {
            faults.push(fault.message);
            BTreeMap::new()
        });
        let agent = agent_file(layout).unwrap_or_else(|fault| {
            faults.push(fault);
            BTreeMap::new()
        });
        let get = |name: &str| {
            environment(name).or_else(|| defaults.get(name).cloned()).filter(|value| !value.is_empty())
        };
        let agents = |key: &str| agent.get(key).map(|value| value.to_string());
        let tags = agents("tags").unwrap_or_default();
        let queue = tags.split(',').find_map(|tag| tag.trim().strip_prefix("queue=")).map(str::to_owned);
        Self {
            bucket: get("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET"),
            bucket_region: get("BUILDKITE_PLUGIN_S3_SECRETS_REGION"),
            kms_key: get("SECRETS_KMS_KEY"),
            endpoint: get("BUILDKITE_AGENT_ENDPOINT").or_else(|| agents("endpoint")),
            token: get("BUILDKITE_AGENT_TOKEN").or_else(|| agents("token")).map(SecretString::from),
            queue: get("BUILDKITE_AGENT_META_DATA_QUEUE").or(queue),
            region: get("AWS_REGION")
                .or_else(|| get("AWS_DEFAULT_REGION"))
                .or_else(|| instance::account_and_region(layout).1),
            aws_endpoint: get("AWS_ENDPOINT_URL"),
            faults,
        }
    }
}

/// `key="value"` lines, as the open-source agent writes and boot does.
fn agent_file(layout: &Layout) -> Result<BTreeMap<String, Zeroizing<String>>, String> {
    let path = layout.agent_config();
    let content = match fs::read_to_string(&path) {
        Ok(content) => Zeroizing::new(content),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(fault) => return Err(format!("{}: {fault}", path.display())),
    };
    let lines = content.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(key, value)| {
            (key.trim().to_owned(), Zeroizing::new(value.trim().trim_matches('"').to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_environment_wins_over_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::below(dir.path());
        for file in [layout.agent_config(), layout.hook_settings()] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        let agent = "# boot\ntoken=\"t0k\"\nendpoint=\"http://ci/v3\"\ntags=\"stack=s,queue=linux\"\n";
        fs::write(layout.agent_config(), agent).unwrap();
        fs::write(
            layout.hook_settings(),
            "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET=filed\nSECRETS_KMS_KEY=alias/x\n",
        )
        .unwrap();
        let environment =
            |name: &str| (name == "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET").then(|| "given".to_owned());
        let settings = Settings::read(&layout, &environment);
        assert_eq!(settings.bucket.as_deref(), Some("given"));
        assert_eq!(settings.kms_key.as_deref(), Some("alias/x"));
        assert_eq!(settings.queue.as_deref(), Some("linux"));
        assert_eq!(settings.endpoint.as_deref(), Some("http://ci/v3"));
        assert_eq!(settings.token.as_ref().unwrap().expose_secret(), "t0k");
        assert!(!format!("{settings:?}").contains("t0k"));
    }
}
