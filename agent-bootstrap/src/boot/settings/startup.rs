//! What the stack's owner adds to a boot.

use super::reader::Reader;
use crate::boot::reference::Reference;
use crate::boot::storage::decide::Filesystem;

/// Additions to a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartupSettings {
    /// Environment of the agents, and so of all jobs.
    pub agent_environment: Option<Reference>,
    /// Runs as root before any agent.
    pub bootstrap_script: Option<Reference>,
    /// Disks of the instance type become one volume with this filesystem.
    pub instance_storage: Option<Filesystem>,
}

impl StartupSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            agent_environment: reader.reference("agent-environment"),
            bootstrap_script: reader.reference("bootstrap-script"),
            instance_storage: match reader.choice("instance-storage", &["ext4", "xfs", "false"]) {
                Some("ext4") => Some(Filesystem::Ext4),
                Some("xfs") => Some(Filesystem::Xfs),
                _ => None,
            },
        }
    }
}
