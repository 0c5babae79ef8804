//! Every key that the agent knows, its environment name, and typed reading with faults collected.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Loaded, Settings};

/// Key in the file, name in the environment.
const KEYS: [(&str, &str); 30] = [
    ("token", "BUILDKITE_AGENT_TOKEN"),
    ("name", "BUILDKITE_AGENT_NAME"),
    ("priority", "BUILDKITE_AGENT_PRIORITY"),
    ("tags", "BUILDKITE_AGENT_TAGS"),
    ("spawn", "BUILDKITE_AGENT_SPAWN"),
    ("endpoint", "BUILDKITE_AGENT_ENDPOINT"),
    ("build-path", "BUILDKITE_BUILD_PATH"),
    ("bootstrap-script", "BUILDKITE_BOOTSTRAP_SCRIPT_PATH"),
    ("hooks-path", "BUILDKITE_HOOKS_PATH"),
    ("plugins-path", "BUILDKITE_PLUGINS_PATH"),
    ("job-log-path", "BUILDKITE_JOB_LOG_PATH"),
    ("shell", "BUILDKITE_SHELL"),
    ("no-pty", "BUILDKITE_NO_PTY"),
    ("disconnect-after-job", "BUILDKITE_AGENT_DISCONNECT_AFTER_JOB"),
    ("disconnect-after-idle-timeout", "BUILDKITE_AGENT_DISCONNECT_AFTER_IDLE_TIMEOUT"),
    ("disconnect-after-uptime", "BUILDKITE_AGENT_DISCONNECT_AFTER_UPTIME"),
    ("cancel-grace-period", "BUILDKITE_CANCEL_GRACE_PERIOD"),
    ("cancel-signal", "BUILDKITE_CANCEL_SIGNAL"),
    ("git-clone-flags", "BUILDKITE_GIT_CLONE_FLAGS"),
    ("git-fetch-flags", "BUILDKITE_GIT_FETCH_FLAGS"),
    ("git-clean-flags", "BUILDKITE_GIT_CLEAN_FLAGS"),
    ("git-checkout-flags", "BUILDKITE_GIT_CHECKOUT_FLAGS"),
    ("no-git-submodules", "BUILDKITE_NO_GIT_SUBMODULES"),
    ("checkout-attempts", "BUILDKITE_CHECKOUT_ATTEMPTS"),
    ("no-command-eval", "BUILDKITE_NO_COMMAND_EVAL"),
    ("no-local-hooks", "BUILDKITE_NO_LOCAL_HOOKS"),
    ("no-plugins", "BUILDKITE_NO_PLUGINS"),
    ("redacted-vars", "BUILDKITE_REDACTED_VARS"),
    ("no-ansi-timestamps", "BUILDKITE_NO_ANSI_TIMESTAMPS"),
    ("acquire-job", "BUILDKITE_AGENT_ACQUIRE_JOB"),
];

/// Known keys with an environment name of their own kind.
const DEBUG: (&str, &str) = ("debug", "BUILDKITE_AGENT_DEBUG");

/// Values by key, and what is wrong with them so far.
pub(super) struct Reader {
    values: BTreeMap<&'static str, String>,
    warnings: Vec<String>,
    faults: Vec<String>,
}

impl Reader {
    pub fn new(
        pairs: Vec<(String, String)>,
        environment: impl Fn(&str) -> Option<String>,
        faults: Vec<String>,
    ) -> Self {
        let known = || KEYS.iter().chain([&DEBUG]);
        let (mut values, mut warnings) = (BTreeMap::new(), Vec::new());
        for (key, value) in pairs {
            match known().find(|(name, _)| *name == key) {
                Some((name, _)) => drop(values.insert(*name, value)),
                None => warnings.push(format!("setting {key} is not known and has no effect")),
            }
        }
        warnings.dedup();
        for (name, variable) in known() {
            if let Some(value) = environment(variable) {
                values.insert(name, value);
            }
        }
        Self { values, warnings, faults }
    }

    pub fn finish(self, settings: Settings) -> Loaded {
        if self.faults.is_empty() { Ok((settings, self.warnings)) } else { Err(self.faults) }
    }

    pub fn optional(&mut self, key: &'static str) -> Option<String> {
        self.values.get(key).filter(|value| !value.is_empty()).cloned()
    }

    pub fn text(&mut self, key: &'static str, default: &str) -> String {
        self.optional(key).unwrap_or_else(|| default.to_owned())
    }

    pub fn required(&mut self, key: &'static str, what: &str) -> String {
        let value = self.optional(key);
        if value.is_none() {
            let variable = KEYS.iter().find(|(name, _)| *name == key).map_or("", |(_, variable)| variable);
            self.faults.push(format!("{key} is missing: set it, or {variable}, to {what}"));
        }
        value.unwrap_or_default()
    }

    pub fn url(&mut self, key: &'static str) -> String {
        let value = self.required(key, "the server's API, for example https://ci.example/v3");
        let good = reqwest::Url::parse(&value).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !value.is_empty() && !good {
            self.faults.push(format!("{key}: {value:?} is no http(s) URL"));
        }
        value
    }

    pub fn switch(&mut self, key: &'static str) -> bool {
        match self.optional(key).as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                self.faults.push(format!("{key}: {other:?} is neither true nor false"));
                false
            }
        }
    }

    pub fn number(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(text) = self.optional(key) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.faults.push(format!(
                    "{key}: {text:?} is no number from {} to {}",
                    range.start(),
                    range.end()
                ));
                default
            }
        }
    }

    /// Seconds; 0 and absent mean never.
    pub fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        Some(self.number(key, 0, 0..=31_536_000)).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    pub fn list(&mut self, key: &'static str, default: &str) -> Vec<String> {
        let text = self.text(key, default);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect()
    }

    /// A program and its arguments, as a shell would split them; none if absent.
    pub fn command(&mut self, key: &'static str) -> Vec<String> {
        let text = self.words(key, "");
        shell_words::split(&text).unwrap_or_default()
    }

    /// Flags that a shell could split.
    pub fn words(&mut self, key: &'static str, default: &str) -> String {
        let text = self.text(key, default);
        if let Err(error) = shell_words::split(&text) {
            self.faults.push(format!("{key}: {error}"));
        }
        text
    }

    pub fn signal(&mut self, key: &'static str) -> String {
        let text = self.text(key, "SIGTERM");
        if Signal::from_str(&text).is_err() {
            self.faults.push(format!("{key}: {text:?} is no signal, for example SIGTERM"));
        }
        text
    }
}
