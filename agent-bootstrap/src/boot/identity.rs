//! Who this instance is: what the metadata service says, and the instance file that keeps it.

use aws::{CallError, Imds, Session};
use serde::{Deserialize, Serialize};

use super::settings::{LogsSettings, Settings, WatchSettings};
use crate::failure::Failure;
use crate::layout::Layout;

/// Who this instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// For example `i-0123456789abcdef0`.
    pub instance_id: String,
    /// For example `eu-west-1`.
    pub region: String,
    /// For example `eu-west-1a`.
    pub availability_zone: String,
    /// For example `m7g.large`.
    pub instance_type: String,
    /// The account it belongs to, twelve digits; the registries' side knows its own ECR host by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The image it was launched from, if told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Its Auto Scaling group; none when it runs outside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Identity {
    /// Reads it from the metadata service.
    ///
    /// # Errors
    /// When the service does not answer or lacks what every instance has.
    pub async fn read(imds: &Imds) -> Result<Self, CallError> {
        Ok(Self {
            instance_id: imds.require("meta-data/instance-id").await?,
            region: imds.require("meta-data/placement/region").await?,
            availability_zone: imds.require("meta-data/placement/availability-zone").await?,
            instance_type: imds.require("meta-data/instance-type").await?,
            account_id: imds.get("dynamic/instance-identity/document").await?.as_deref().and_then(account),
            image_id: imds.get("meta-data/ami-id").await?,
            group: imds.get("meta-data/tags/instance/aws:autoscaling:groupName").await?,
        })
    }

    /// Asks Auto Scaling for the group where the launch template does not show tags in the metadata.
    ///
    /// # Errors
    /// When the call fails. An instance outside every group is no error.
    pub async fn find_group(&mut self, session: &Session) -> Result<(), CallError> {
        if self.group.is_some() {
            return Ok(());
        }
        let answer = session
            .autoscaling()
            .describe_auto_scaling_instances()
            .instance_ids(&self.instance_id)
            .send()
            .await
            .map_err(|e| CallError::new(&e, "autoscaling:DescribeAutoScalingInstances", &self.instance_id))?;
        let instance = answer.auto_scaling_instances().first();
        self.group = instance.and_then(|i| i.auto_scaling_group_name()).map(str::to_owned);
        Ok(())
    }
}

/// The account in an instance identity document; metadata without one costs a default, not the boot.
fn account(document: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(document).ok()?;
    document["accountId"].as_str().map(str::to_owned)
}

/// The instance file (`etc/tidemark/instance.json`): what boot found out, for `watch`, hooks and people. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstanceFile {
    /// Who it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// The stack's name.
    pub stack: String,
    /// The queue.
    pub queue: String,
    /// Agents on this instance.
    pub agents: u32,
    /// The agent program's full path.
    pub agent_program: String,
    /// What `watch` goes by.
    pub watch: WatchSettings,
    /// Digest of the settings that it booted with; none where an older boot wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_digest: Option<String>,
    /// Where its logs go.
    #[serde(default)]
    pub logs: LogsSettings,
}

impl InstanceFile {
    /// The file's content of this instance.
    #[must_use]
    pub fn new(identity: Identity, settings: &Settings, agent_program: String) -> Self {
        Self {
            identity,
            stack: settings.stack.clone(),
            queue: settings.queue.clone(),
            agents: settings.agents.count,
            agent_program,
            watch: settings.watch.clone(),
            settings_digest: Some(settings.digest.clone()),
            logs: settings.logs.clone(),
        }
    }

    /// Reads it; `None` where boot has not written it yet.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(layout: &Layout) -> Result<Option<Self>, Failure> {
        let path = layout.instance_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::failed(format!("instance file: {}: {error}", path.display()))),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::config(format!(
                "instance file: {}: {error}; run `agent-bootstrap boot` again",
                path.display()
            ))
        })
    }
}
