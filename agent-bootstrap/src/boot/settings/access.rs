//! Who may log in, and what jobs may do as root.

use super::reader::Reader;
use crate::boot::files::AGENT_USER;
use crate::boot::reference::Reference;

/// Access to the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Where the SSH keys of those who may log in lie.
    pub authorized_keys: Option<Reference>,
    /// Who they log in as, if not the image's own user.
    pub login_user: Option<String>,
    /// What the agents' user may do by sudo: what follows the name in a line of sudoers.
    pub sudo_rule: Option<String>,
}

impl AccessSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let login_user = reader.text("authorized-keys-user");
        if login_user.as_deref() == Some(AGENT_USER) {
            reader.fault("authorized-keys-user", "is the agents' user, whose files jobs can change");
        }
        let sudo_rule = reader.text("sudo-rule");
        if sudo_rule.as_ref().is_some_and(|rule| !rule.contains('=')) {
            reader.fault("sudo-rule", "is no rule such as ALL=(root) NOPASSWD: /usr/bin/apt-get");
        }
        Self { authorized_keys: reader.reference("authorized-keys-url"), login_user, sudo_rule }
    }
}
