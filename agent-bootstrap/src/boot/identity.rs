//! Who this instance is: what the metadata service says, and the instance file that keeps it.

use aws::autoscaling::types::AutoScalingInstanceDetails;
use aws::{CallError, Imds, Session};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::settings::{DiskSettings, LogsSettings, Settings, WatchSettings};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::watch::metadata;

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
    /// When the machine was started, if told: for the first time, or out of the warm pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<Timestamp>,
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
        // First and alone: it brings the session token that all others use.
        let instance_id = imds.require("meta-data/instance-id").await?;
        let (region, availability_zone, instance_type, document, image_id, group) = tokio::try_join!(
            imds.require("meta-data/placement/region"),
            imds.require("meta-data/placement/availability-zone"),
            imds.require("meta-data/instance-type"),
            imds.get("dynamic/instance-identity/document"),
            imds.get("meta-data/ami-id"),
            imds.get("meta-data/tags/instance/aws:autoscaling:groupName"),
        )?;
        let account_id = document.as_deref().and_then(account);
        let launched = document.as_deref().and_then(metadata::pending_time);
        Ok(Self {
            instance_id,
            region,
            availability_zone,
            instance_type,
            account_id,
            image_id,
            launched,
            group,
        })
    }

    /// Asks Auto Scaling for the group where the launch template does not show tags in the metadata.
    ///
    /// # Errors
    /// When the call fails. An instance outside every group is no error.
    pub async fn find_group(&self, session: &Session) -> Result<Option<String>, CallError> {
        if self.group.is_some() {
            return Ok(self.group.clone());
        }
        Ok(self.member(session).await?.and_then(|m| m.auto_scaling_group_name))
    }

    /// The instance's lifecycle state as the group has it.
    ///
    /// # Errors
    /// When the call fails. An instance outside every group is no error.
    pub async fn lifecycle_state(&self, session: &Session) -> Result<Option<String>, CallError> {
        Ok(self.member(session).await?.and_then(|m| m.lifecycle_state))
    }

    async fn member(&self, session: &Session) -> Result<Option<AutoScalingInstanceDetails>, CallError> {
        let call = session.autoscaling().describe_auto_scaling_instances().instance_ids(&self.instance_id);
        let answer = call
            .send()
            .await
            .map_err(|e| CallError::new(&e, "autoscaling:DescribeAutoScalingInstances", &self.instance_id))?;
        Ok(answer.auto_scaling_instances.unwrap_or_default().into_iter().next())
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
    /// From the machine's start to its agents; none where that could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_in: Option<SignedDuration>,
    /// What `watch` goes by.
    pub watch: WatchSettings,
    /// Digest of the settings that it booted with; none where an older boot wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_digest: Option<String>,
    /// What the disk guard goes by.
    #[serde(default)]
    pub disk: DiskSettings,
    /// Where its logs go.
    #[serde(default)]
    pub logs: LogsSettings,
}

impl InstanceFile {
    /// The file's content of this instance.
    #[must_use]
    pub fn new(
        identity: Identity,
        settings: &Settings,
        agent_program: String,
        booted_in: Option<SignedDuration>,
    ) -> Self {
        Self {
            identity,
            booted_in,
            stack: settings.stack.clone(),
            queue: settings.queue.clone(),
            agents: settings.agents.count,
            agent_program,
            watch: settings.watch.clone(),
            disk: settings.disk.clone(),
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
