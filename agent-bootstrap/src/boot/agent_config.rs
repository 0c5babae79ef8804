//! The agents' configuration and the hooks' defaults, as texts. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::identity::Identity;
use super::settings::Settings;
use crate::layout::Layout;

/// The configuration file of the open-source agent: `key="value"` lines. The values were checked to hold no quotes,
/// backslashes or line breaks. No idle exit: idleness is the instance's affair, and `watch` owns it.
#[must_use]
pub fn agent_config(
    layout: &Layout,
    identity: &Identity,
    settings: &Settings,
    token: &SecretString,
) -> Zeroizing<String> {
    let agents = &settings.agents;
    let mut text = Zeroizing::new(String::from(
        "# Written by agent-bootstrap boot; a change lasts until the next boot.\n",
    ));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}=\"{value}\"");
    };
    line("token", token.expose_secret());
    line("endpoint", &agents.endpoint);
    // Each agent is a process of its own and gets its number from its unit (BUILDKITE_AGENT_NAME).
    line("name", &format!("{}-{}-%spawn", settings.stack, identity.instance_id));
    line("tags", &tags(identity, settings).join(","));
    if let Some(priority) = agents.priority {
        line("priority", &priority.to_string());
    }
    line("spawn", "1");
    line("build-path", &layout.builds().to_string_lossy());
    line("hooks-path", &layout.hooks().to_string_lossy());
    line("plugins-path", &layout.agent_home().join("plugins").to_string_lossy());
    if agents.disconnect_after_job {
        line("disconnect-after-job", "true");
    }
    text
}

/// The agent's name at the CI.
#[must_use]
pub fn agent_name(stack: &str, instance_id: &str, number: u32) -> String {
    format!("{stack}-{instance_id}-{number}")
}

fn tags(identity: &Identity, settings: &Settings) -> Vec<String> {
    let own = [
        ("queue", settings.queue.as_str()),
        ("stack", &settings.stack),
        ("instance-id", &identity.instance_id),
        ("instance-type", &identity.instance_type),
        ("az", &identity.availability_zone),
        ("region", &identity.region),
    ];
    let own = own.iter().map(|(key, value)| format!("{key}={value}"));
    own.chain(settings.agents.tags.iter().cloned()).collect()
}

/// The hooks' defaults: `NAME=value` lines, the value taken as it stands up to the line's end.
#[must_use]
pub fn hook_settings(values: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Written by agent-bootstrap boot from the stack's settings.\n");
    for (name, value) in values {
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_an_agent_and_the_hooks_read() {
        let part = "{stack: ci, queue: q, agent-token: 'ssm:/t', agent-tags: 'docker=true', agent-priority: 5, \
            disconnect-after-job: true, secrets-bucket: b, use-kms: false}";
        let settings = super::super::settings::read(&[part.to_owned()]).unwrap();
        let identity = Identity {
            instance_id: "i-1".into(),
            region: "us-east-1".into(),
            availability_zone: "us-east-1a".into(),
            instance_type: "t3.large".into(),
            account_id: None,
            image_id: None,
            group: Some("ci-instances".into()),
        };
        let text = agent_config(&Layout::below("/"), &identity, &settings, &SecretString::from("s3cr3t"));
        insta::assert_snapshot!(text.as_str(), @r#"
        # Written by agent-bootstrap boot; a change lasts until the next boot.
        token="s3cr3t"
        endpoint="https://agent.buildkite.com/v3"
        name="ci-i-1-%spawn"
        tags="queue=q,stack=ci,instance-id=i-1,instance-type=t3.large,az=us-east-1a,region=us-east-1,docker=true"
        priority="5"
        spawn="1"
        build-path="/var/lib/buildkite-agent/builds"
        hooks-path="/etc/buildkite-agent/hooks"
        plugins-path="/var/lib/buildkite-agent/plugins"
        disconnect-after-job="true"
        "#);
        insta::assert_snapshot!(hook_settings(&settings.hooks_env), @r"
        # Written by agent-bootstrap boot from the stack's settings.
        BUILDKITE_PLUGIN_S3_SECRETS_BUCKET=b
        BUILDKITE_USE_KMS=false
        ");
        assert_eq!(agent_name("ci", "i-1", 2), "ci-i-1-2");
    }
}
