//! The environment of a job: the agent's own, the server's over it, the agent's settings over both. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Settings;
use crate::vars::Vars;

/// What differs from job to job.
pub(super) struct JobFacts<'a> {
    pub job_id: &'a str,
    pub agent: &'a str,
    pub endpoint: &'a str,
    pub token: &'a str,
    pub request_headers: &'a BTreeMap<String, String>,
    /// Folder of this job's files.
    pub folder: &'a Path,
    pub agent_pid: u32,
}

/// `BUILDKITE_ENV_FILE` in the job's folder.
pub(super) const ENV_FILE: &str = "job-env";

/// Folder, in the job's, with `buildkite-agent`.
pub(super) const BIN: &str = "bin";

/// Variables of the job's process.
pub(super) fn compose(
    process: &Vars,
    server: &BTreeMap<String, String>,
    settings: &Settings,
    job: &JobFacts,
) -> Vars {
    let mut vars = process.clone();
    for (name, value) in server {
        vars.set(name, value);
    }
    let own = overrides(settings, job);
    let ignored: Vec<&str> =
        own.iter().map(|(name, _)| name.as_str()).filter(|name| server.contains_key(*name)).collect();
    if !ignored.is_empty() {
        vars.set("BUILDKITE_IGNORED_ENV", ignored.join(","));
    }
    for (name, value) in &own {
        vars.set(name, value);
    }
    for (name, value) in job.request_headers {
        let name = name.to_ascii_uppercase().replace('-', "_");
        vars.set(format!("BUILDKITE_REQUEST_HEADER_{name}"), value);
    }
    if vars.filled("BUILDKITE_AGENT_NAME").is_none() || !server.contains_key("BUILDKITE_AGENT_NAME") {
        vars.set("BUILDKITE_AGENT_NAME", job.agent);
    }
    let path = vars.get("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    vars.set("PATH", format!("{}:{path}", job.folder.join(BIN).display()));
    vars.set("BUILDKITE_JOB_ID", job.job_id);
    vars.remove("BUILDKITE_AGENT_TOKEN");
    vars
}

fn overrides(settings: &Settings, job: &JobFacts) -> Vec<(String, String)> {
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
    let own = [
        ("BUILDKITE_AGENT_ENDPOINT", job.endpoint.to_owned()),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", job.token.to_owned()),
        ("BUILDKITE_AGENT_DEBUG", settings.debug.to_string()),
        ("BUILDKITE_AGENT_PID", job.agent_pid.to_string()),
        ("BUILDKITE_BIN_PATH", path(Some(&job.folder.join(BIN)))),
        ("BUILDKITE_CONFIG_PATH", path(settings.config_path.as_deref())),
        ("BUILDKITE_BUILD_PATH", path(Some(&settings.build_path))),
        ("BUILDKITE_HOOKS_PATH", path(settings.hooks_path.as_deref())),
        ("BUILDKITE_PLUGINS_PATH", path(settings.plugins_path.as_deref())),
        ("BUILDKITE_GIT_CLONE_FLAGS", settings.git_clone_flags.clone()),
        ("BUILDKITE_GIT_FETCH_FLAGS", settings.git_fetch_flags.clone()),
        ("BUILDKITE_GIT_CLEAN_FLAGS", settings.git_clean_flags.clone()),
        ("BUILDKITE_GIT_CHECKOUT_FLAGS", settings.git_checkout_flags.clone()),
        ("BUILDKITE_GIT_SUBMODULES", settings.git_submodules.to_string()),
        ("BUILDKITE_CHECKOUT_ATTEMPTS", settings.checkout_attempts.to_string()),
        ("BUILDKITE_COMMAND_EVAL", settings.command_eval.to_string()),
        (
            "BUILDKITE_PLUGINS_ENABLED",
            (settings.plugins && settings.command_eval && settings.local_hooks).to_string(),
        ),
        ("BUILDKITE_LOCAL_HOOKS_ENABLED", settings.local_hooks.to_string()),
        ("BUILDKITE_SHELL", settings.shell.clone()),
        ("BUILDKITE_PTY", settings.pty.to_string()),
        ("BUILDKITE_CANCEL_SIGNAL", settings.cancel_signal.clone()),
        ("BUILDKITE_CANCEL_GRACE_PERIOD", settings.cancel_grace.as_secs().to_string()),
        ("BUILDKITE_REDACTED_VARS", settings.redacted_vars.join(",")),
        ("BUILDKITE_ENV_FILE", path(Some(&job.folder.join(ENV_FILE)))),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The server's variables as `NAME="value"` lines, for hooks that read the file.
pub(super) fn env_file(server: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in server {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        text.push_str(&format!("{name}=\"{quoted}\"\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let values = [
            ("BUILDKITE_AGENT_TOKEN", "t"),
            ("BUILDKITE_AGENT_ENDPOINT", "http://127.0.0.1:1/v3"),
            ("BUILDKITE_BUILD_PATH", "/builds"),
        ];
        let get = |name: &str| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        crate::config::load(&crate::config::StartArgs::default(), get).unwrap().0
    }

    fn composed(process: &[(&str, &str)], server: &[(&str, &str)]) -> Vars {
        let server = server.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let facts = JobFacts {
            job_id: "job-1",
            agent: "a1",
            endpoint: "http://127.0.0.1:1/v3",
            token: "access",
            request_headers: &[("Buildkite-Shard".to_owned(), "7".to_owned())].into(),
            folder: Path::new("/tmp/job"),
            agent_pid: 42,
        };
        compose(&process.iter().copied().collect(), &server, &settings(), &facts)
    }

    #[test]
    fn row_01_order_is_process_server_agent() {
        let vars = composed(
            &[("A", "process"), ("B", "process"), ("BUILDKITE_AGENT_TOKEN", "registration")],
            &[("B", "server"), ("BUILDKITE_SHELL", "evil"), ("BUILDKITE_BUILD_PATH", "/evil")],
        );
        assert_eq!(vars.get("A").as_deref(), Some("process"));
        assert_eq!(vars.get("B").as_deref(), Some("server"));
        assert_eq!(vars.get("BUILDKITE_SHELL").as_deref(), Some("/bin/bash -e -c"));
        assert_eq!(
            vars.get("BUILDKITE_IGNORED_ENV").as_deref(),
            Some("BUILDKITE_BUILD_PATH,BUILDKITE_SHELL")
        );
        assert_eq!(vars.get("BUILDKITE_AGENT_TOKEN"), None);
        assert_eq!(vars.get("BUILDKITE_AGENT_PID").as_deref(), Some("42"));
        assert_eq!(vars.get("BUILDKITE_REQUEST_HEADER_BUILDKITE_SHARD").as_deref(), Some("7"));
    }

    #[test]
    fn row_01_no_ignored_env_without_a_collision() {
        assert_eq!(composed(&[], &[("FOO", "1")]).get("BUILDKITE_IGNORED_ENV"), None);
    }

    #[test]
    fn row_02_env_file_has_the_servers_variables_only() {
        let server = [("A".to_owned(), "x \"y\"\nz".to_owned())].into();
        assert_eq!(env_file(&server), "A=\"x \\\"y\\\"\\nz\"\n");
    }
}
