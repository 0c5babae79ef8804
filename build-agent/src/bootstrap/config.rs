//! What a job's process reads from its environment before any hook runs, and what hooks may not change.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::vars::Vars;

/// Variables without which no job can run; the server sets them.
const REQUIRED: [&str; 7] = [
    "BUILDKITE_JOB_ID",
    "BUILDKITE_REPO",
    "BUILDKITE_COMMIT",
    "BUILDKITE_BRANCH",
    "BUILDKITE_AGENT_NAME",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_PIPELINE_SLUG",
];

/// Changes of these by hooks are dropped.
pub(super) const PROTECTED: [&str; 14] = [
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_AGENT_DEBUG",
    "BUILDKITE_AGENT_PID",
    "BUILDKITE_BIN_PATH",
    "BUILDKITE_BUILD_PATH",
    "BUILDKITE_COMMAND_EVAL",
    "BUILDKITE_CONFIG_PATH",
    "BUILDKITE_GIT_SUBMODULES",
    "BUILDKITE_HOOKS_PATH",
    "BUILDKITE_LOCAL_HOOKS_ENABLED",
    "BUILDKITE_PLUGINS_ENABLED",
    "BUILDKITE_PLUGINS_PATH",
    "BUILDKITE_SHELL",
];

/// Fixed for the whole job.
#[derive(Debug, Clone)]
pub(super) struct JobConfig {
    pub job_id: String,
    pub hooks_path: Option<PathBuf>,
    /// Below `build_path`: agent, organization, pipeline.
    pub checkout_path: PathBuf,
    pub shell: Vec<String>,
    pub command: Option<String>,
    pub command_eval: bool,
    pub local_hooks: bool,
    pub pty: bool,
    pub cancel_signal: Signal,
    pub cancel_grace: Duration,
    pub checkout_attempts: u32,
    pub redacted_vars: Vec<String>,
}

impl JobConfig {
    /// # Errors
    /// One line for each fault.
    pub fn read(vars: &Vars) -> Result<Self, Vec<String>> {
        let mut faults: Vec<String> = REQUIRED
            .iter()
            .filter(|name| vars.filled(name).is_none())
            .map(|name| format!("{name} is missing or empty; the server must set it"))
            .collect();
        let text = |name: &str| vars.filled(name).unwrap_or_default();
        for name in ["BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG"] {
            let slug = text(name);
            if slug.contains('/') || slug.contains('\0') || slug == "." || slug == ".." {
                faults.push(format!("{name}={slug:?} is no folder name"));
            }
        }
        for name in ["BUILDKITE_COMMIT", "BUILDKITE_BRANCH", "BUILDKITE_REPO", "BUILDKITE_REFSPEC"] {
            if text(name).starts_with('-') {
                faults.push(format!("{name} starts with `-`: git would take it for an option"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let agent = text("BUILDKITE_AGENT_NAME").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let below = [agent, text("BUILDKITE_ORGANIZATION_SLUG"), text("BUILDKITE_PIPELINE_SLUG")];
        let build_path = PathBuf::from(text("BUILDKITE_BUILD_PATH"));
        Ok(Self {
            job_id: text("BUILDKITE_JOB_ID"),
            hooks_path: vars.filled("BUILDKITE_HOOKS_PATH").map(Into::into),
            checkout_path: below.iter().fold(build_path, |path, part| path.join(part)),
            shell: shell_words::split(&text("BUILDKITE_SHELL"))
                .ok()
                .filter(|shell| !shell.is_empty())
                .unwrap_or_else(|| ["/bin/bash", "-e", "-c"].map(String::from).into()),
            command: vars.filled("BUILDKITE_COMMAND"),
            command_eval: text("BUILDKITE_COMMAND_EVAL") != "false",
            local_hooks: text("BUILDKITE_LOCAL_HOOKS_ENABLED") != "false",
            pty: text("BUILDKITE_PTY") != "false",
            cancel_signal: Signal::from_str(&text("BUILDKITE_CANCEL_SIGNAL")).unwrap_or(Signal::SIGTERM),
            cancel_grace: Duration::from_secs(text("BUILDKITE_CANCEL_GRACE_PERIOD").parse().unwrap_or(10)),
            checkout_attempts: text("BUILDKITE_CHECKOUT_ATTEMPTS").parse().unwrap_or(6).clamp(1, 20),
            redacted_vars: vars
                .get("BUILDKITE_REDACTED_VARS")
                .unwrap_or_else(|| crate::config::REDACTED_VARS.into())
                .split(',')
                .map(|pattern| pattern.trim().to_owned())
                .filter(|pattern| !pattern.is_empty())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(changes: &[(&str, &str)]) -> Vars {
        let good = [
            ("BUILDKITE_JOB_ID", "j"),
            ("BUILDKITE_REPO", "r"),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_AGENT_NAME", "Web.1 x"),
            ("BUILDKITE_ORGANIZATION_SLUG", "acme"),
            ("BUILDKITE_PIPELINE_SLUG", "app"),
            ("BUILDKITE_BUILD_PATH", "/builds"),
        ];
        good.into_iter().chain(changes.iter().copied()).collect()
    }

    #[test]
    fn row_02_checkout_path() {
        let config = JobConfig::read(&vars(&[])).unwrap();
        assert_eq!(config.checkout_path, PathBuf::from("/builds/Web-1-x/acme/app"));
    }

    #[test]
    fn hostile_or_missing_values_are_all_told() {
        let bad = [
            ("BUILDKITE_PIPELINE_SLUG", ".."),
            ("BUILDKITE_ORGANIZATION_SLUG", "a/b"),
            ("BUILDKITE_COMMIT", "--upload-pack=x"),
            ("BUILDKITE_REPO", ""),
        ];
        assert_eq!(JobConfig::read(&vars(&bad)).unwrap_err().len(), 4);
    }
}
