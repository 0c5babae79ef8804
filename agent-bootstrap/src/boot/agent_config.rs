//! The agents' configuration and the hooks' defaults, as texts. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::identity::Identity;
use super::settings::Settings;
use crate::hooks::exports::quote;
use crate::layout::Layout;
use crate::secrets::env_file::Assignment;

/// The configuration file of the open-source agent: `key="value"` lines. The values were checked to hold no quotes,
/// backslashes or line breaks. No idle exit: idleness is the instance's affair, and `watch` owns it.
#[must_use]
pub fn agent_config(
    layout: &Layout,
    identity: &Identity,
    settings: &Settings,
    token: &SecretString,
    docker: Option<&str>,
    bootstrap_script: &str,
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
    line("tags", &tags(identity, settings, docker).join(","));
    if let Some(priority) = agents.priority {
        line("priority", &priority.to_string());
    }
    line("spawn", "1");
    line("build-path", &layout.builds().to_string_lossy());
    line("hooks-path", &layout.hooks().to_string_lossy());
    line("bootstrap-script", bootstrap_script);
    line("plugins-path", &layout.agent_home().join("plugins").to_string_lossy());
    if agents.disconnect_after_job {
        line("disconnect-after-job", "true");
    }
    let after = [
        ("disconnect-after-uptime", agents.disconnect_after_uptime),
        ("disconnect-after-idle-timeout", agents.disconnect_after_idle),
    ];
    for (key, period) in after.into_iter().filter_map(|(key, period)| Some((key, period?))) {
        line(key, &period.as_secs().to_string());
    }
    let only = &agents.open_source;
    if let Some(stamped) = only.timestamp_lines {
        line("timestamp-lines", &stamped.to_string());
    }
    if let Some(backend) = only.tracing_backend {
        line("tracing-backend", backend);
    }
    if let Some(path) = &only.git_mirrors_path {
        let below = layout.root().join(path.trim_start_matches('/'));
        line("git-mirrors-path", &below.to_string_lossy());
    }
    text
}

/// What an agent runs a job by: its own `bootstrap` in a scope that leaves nothing (unless the stack lets it).
#[must_use]
pub fn bootstrap_script(own: &Path, agent_program: &Path, keep_processes: bool) -> String {
    let quoted = |path: &Path| quote(&path.to_string_lossy());
    let keep = if keep_processes { " --keep-processes" } else { "" };
    format!("{} job-scope{keep} -- {} bootstrap", quoted(own), quoted(agent_program))
}

/// The same configuration with another token.
#[must_use]
pub fn with_token(config: &str, token: &SecretString) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(config.len() + 64));
    for line in config.lines() {
        let _ = if line.starts_with("token=") {
            writeln!(text, "token=\"{}\"", token.expose_secret())
        } else {
            writeln!(text, "{line}")
        };
    }
    text
}

/// The agents' environment, as a unit's `EnvironmentFile` and a shell read it alike.
#[must_use]
pub fn environment(variables: &[Assignment]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::from(
        "# Written by agent-bootstrap boot from the setting agent-environment.\n",
    ));
    for variable in variables {
        let _ = write!(text, "{}=\"", variable.name);
        for letter in variable.value.chars() {
            if matches!(letter, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push_str("\"\n");
    }
    text
}

/// The agent's name at the CI.
#[must_use]
pub fn agent_name(stack: &str, instance_id: &str, number: u32) -> String {
    format!("{stack}-{instance_id}-{number}")
}

fn tags(identity: &Identity, settings: &Settings, docker: Option<&str>) -> Vec<String> {
    let mut own = vec![
        ("queue", settings.queue.as_str()),
        ("stack", &settings.stack),
        ("instance-id", &identity.instance_id),
        ("instance-type", &identity.instance_type),
        ("az", &identity.availability_zone),
        ("region", &identity.region),
        ("arch", architecture()),
    ];
    own.extend(identity.image_id.as_deref().map(|image| ("image", image)));
    own.extend(docker.map(|version| ("docker", version)));
    let own = own.iter().map(|(key, value)| format!("{key}={value}"));
    own.chain(settings.agents.tags.iter().cloned()).collect()
}

/// As images and packages name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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

    fn identity() -> Identity {
        Identity {
            launched: None,
            instance_id: "i-1".into(),
            region: "us-east-1".into(),
            availability_zone: "us-east-1a".into(),
            instance_type: "t3.large".into(),
            account_id: None,
            image_id: Some("ami-1".into()),
            group: Some("ci-instances".into()),
        }
    }

    fn config(part: &str) -> String {
        let settings = super::super::settings::read(&[part.to_owned()]).unwrap();
        let token = SecretString::from("s3cr3t");
        let text = agent_config(&Layout::below("/"), &identity(), &settings, &token, Some("27.3.1"), "job");
        text.replace(&format!("arch={}", architecture()), "arch=ARCH")
    }

    #[test]
    fn the_files_are_what_an_agent_and_the_hooks_read() {
        let part = "{stack: ci, queue: q, agent-token: 'ssm:/t', agent-tags: 'large=true', agent-priority: 5, \
            disconnect-after-job: true, secrets-bucket: b, use-kms: false}";
        insta::assert_snapshot!(config(part), @r#"
        # Written by agent-bootstrap boot; a change lasts until the next boot.
        token="s3cr3t"
        endpoint="https://agent.buildkite.com/v3"
        name="ci-i-1-%spawn"
        tags="queue=q,stack=ci,instance-id=i-1,instance-type=t3.large,az=us-east-1a,region=us-east-1,arch=ARCH,image=ami-1,docker=27.3.1,large=true"
        priority="5"
        spawn="1"
        build-path="/var/lib/buildkite-agent/builds"
        hooks-path="/etc/buildkite-agent/hooks"
        bootstrap-script="job"
        plugins-path="/var/lib/buildkite-agent/plugins"
        disconnect-after-job="true"
        "#);
        let settings = super::super::settings::read(&[part.to_owned()]).unwrap();
        insta::assert_snapshot!(hook_settings(&settings.hooks_env), @r"
        # Written by agent-bootstrap boot from the stack's settings.
        BUILDKITE_PLUGIN_S3_SECRETS_BUCKET=b
        BUILDKITE_USE_KMS=false
        ");
        assert_eq!(agent_name("ci", "i-1", 2), "ci-i-1-2");
        let (own, agent) = (Path::new("/usr/local/bin/agent-bootstrap"), Path::new("/opt/my agent"));
        let scripts = [false, true].map(|keep| bootstrap_script(own, agent, keep));
        insta::assert_snapshot!(scripts.join("\n"), @r"
        '/usr/local/bin/agent-bootstrap' job-scope -- '/opt/my agent' bootstrap
        '/usr/local/bin/agent-bootstrap' job-scope --keep-processes -- '/opt/my agent' bootstrap
        ");
    }

    #[test]
    fn the_open_source_agent_gets_what_only_it_knows() {
        let part = "{stack: ci, queue: q, agent-token: 'ssm:/t', agent-program: buildkite-agent, agent-release: beta, \
            agent-timestamp-lines: true, agent-tracing-backend: opentelemetry, git-mirrors-path: /srv/mirrors, \
            disconnect-after-uptime: 2h, disconnect-after-idle: 90s}";
        let text = config(part);
        let (_, tail) = text.split_once("plugins-path=\"/var/lib/buildkite-agent/plugins\"\n").unwrap();
        insta::assert_snapshot!(tail, @r#"
        disconnect-after-uptime="7200"
        disconnect-after-idle-timeout="90"
        timestamp-lines="true"
        tracing-backend="opentelemetry"
        git-mirrors-path="/srv/mirrors"
        "#);
        let again = with_token(&text, &SecretString::from("n3w"));
        assert_eq!(again.as_str(), text.replace("s3cr3t", "n3w"));
    }

    #[test]
    fn environments_come_back_as_they_were() {
        let text = "A='two words'\nB='a\"b\\c$d`e'\nC='x\ny'\n";
        let none = |_: &str| None;
        let read = |text: &str| crate::secrets::env_file::parse(text.as_bytes(), &none).unwrap();
        let written = environment(&read(text));
        let values = |all: &[Assignment]| -> Vec<(String, String)> {
            all.iter().map(|a| (a.name.clone(), a.value.to_string())).collect()
        };
        assert_eq!(values(&read(&written)), values(&read(text)));
        insta::assert_snapshot!(written.as_str(), @r#"
        # Written by agent-bootstrap boot from the setting agent-environment.
        A="two words"
        B="a\"b\\c\$d\`e"
        C="x
        y"
        "#);
    }
}
