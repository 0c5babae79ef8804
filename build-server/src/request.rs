//! What users ask for: builds with their jobs, checked before anything is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::environment;

/// Most jobs of a build.
pub const JOBS_LIMIT: usize = 1000;
const TEXT_LIMIT: usize = 64 * 1024;
const ENV_BYTES_LIMIT: usize = 128 * 1024;

/// Body of `POST /api/builds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// Pipeline slug.
    pub pipeline: String,
    /// Git URL.
    pub repo: String,
    /// 7 to 64 hex digits, or `HEAD` of the branch.
    #[serde(default = "head")]
    pub commit: String,
    /// Branch name.
    #[serde(default = "main_branch")]
    pub branch: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Of every job; a job's own wins.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The pull request it builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// The same key with the same request is the same build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// At least one.
    pub jobs: Vec<JobRequest>,
}

/// A pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// Its number, above 0.
    pub number: u64,
    /// Git URL of the repository it comes from.
    pub repo: String,
    /// The branch it wants to be merged into.
    #[serde(default)]
    pub base_branch: String,
}

/// One job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Shell text.
    pub command: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// Step key, unique in the build.
    #[serde(default)]
    pub key: String,
    /// The queue whose agents may run it.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// Further tags an agent must have, `key=value`.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Higher is dispatched first.
    #[serde(default)]
    pub priority: i64,
    /// Wins over the build's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The server cancels it after so many minutes of running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_minutes: Option<u32>,
}

fn head() -> String {
    "HEAD".into()
}

fn main_branch() -> String {
    "main".into()
}

fn default_queue() -> String {
    "default".into()
}

/// A name that is safe as one path segment and as a tag.
pub fn is_slug(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=100).contains(&text.len()) && text.chars().all(good) && !text.starts_with(['-', '.'])
}

impl BuildRequest {
    /// Every fault at once, each with its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, field: &str, rule: &str| {
            if !good {
                faults.push(format!("{field}: {rule}"));
            }
        };
        check(is_slug(&self.pipeline), "pipeline", "1 to 100 letters, digits, - _ . (not first)");
        check(is_git_url(&self.repo), "repo", "a git URL");
        check(is_commit(&self.commit), "commit", "7 to 64 hex digits or HEAD");
        check(is_branch(&self.branch), "branch", "a branch name");
        check(is_text(&self.message), "message", "text of at most 64 KiB");
        if let Some(pull_request) = &self.pull_request {
            check(pull_request.number > 0, "pull_request.number", "above 0");
            check(is_git_url(&pull_request.repo), "pull_request.repo", "a git URL");
            let base = &pull_request.base_branch;
            check(base.is_empty() || is_branch(base), "pull_request.base_branch", "a branch name");
        }
        if let Some(key) = &self.idempotency_key {
            check((1..=200).contains(&key.len()), "idempotency_key", "1 to 200 bytes");
        }
        check((1..=JOBS_LIMIT).contains(&self.jobs.len()), "jobs", "1 to 1000 jobs");
        faults.extend(env_faults("env", &self.env));
        for (n, job) in self.jobs.iter().enumerate() {
            faults.extend(job.faults().into_iter().map(|fault| format!("jobs[{n}].{fault}")));
        }
        faults
    }
}

impl JobRequest {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        check(!self.command.trim().is_empty() && is_text(&self.command), "command: text of at most 64 KiB");
        check(is_text(&self.label), "label: text of at most 64 KiB");
        check(self.key.is_empty() || is_slug(&self.key), "key: 1 to 100 letters, digits, - _ .");
        check(is_slug(&self.queue), "queue: 1 to 100 letters, digits, - _ . (not first)");
        check(self.agents.len() <= 50, "agents: at most 50 rules");
        let rule =
            |r: &String| r.len() <= 300 && r.split_once('=').is_some_and(|(k, _)| is_slug(k) && k != "queue");
        check(self.agents.iter().all(rule), "agents: rules are key=value; the queue has its own field");
        let timeout = self.timeout_minutes;
        check(timeout.is_none_or(|m| (1..=10_080).contains(&m)), "timeout_minutes: 1 to 10080");
        faults.extend(env_faults("env", &self.env));
        faults
    }
}

fn env_faults(field: &str, env: &BTreeMap<String, String>) -> Vec<String> {
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    let size = (bytes > ENV_BYTES_LIMIT).then(|| format!("{field}: at most 128 KiB in all"));
    let names = env.iter().filter_map(|(name, value)| {
        let fault = environment::user_variable_fault(name, value)?;
        Some(format!("{field}.{name}: {fault}"))
    });
    size.into_iter().chain(names).collect()
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_LIMIT && !text.contains('\0')
}

fn is_commit(commit: &str) -> bool {
    commit == "HEAD" || ((7..=64).contains(&commit.len()) && commit.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Agents give URLs and branches to git as arguments, so none may look like an option.
fn is_git_url(url: &str) -> bool {
    (1..=2048).contains(&url.len())
        && !url.starts_with('-')
        && !url.chars().any(|c| c.is_control() || c == ' ')
}

fn is_branch(branch: &str) -> bool {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    (1..=255).contains(&branch.len())
        && !branch.starts_with(['-', '/', '.'])
        && !branch.ends_with(['/', '.'])
        && !branch.contains("..")
        && !branch.contains("@{")
        && !branch.chars().any(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> serde_json::Value {
        serde_json::json!({"pipeline": "app", "repo": "git@host:org/app.git", "jobs": [{"command": "make"}]})
    }

    fn faults(change: serde_json::Value) -> Vec<String> {
        let mut value = good();
        for (key, field) in change.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value::<BuildRequest>(value).unwrap().faults()
    }

    #[test]
    fn a_short_request_gets_defaults() {
        let request: BuildRequest = serde_json::from_value(good()).unwrap();
        assert_eq!(request.faults(), Vec::<String>::new());
        assert_eq!((request.commit.as_str(), request.branch.as_str()), ("HEAD", "main"));
        assert_eq!(request.jobs[0].queue, "default");
    }

    #[test]
    fn hostile_fields_are_named() {
        use serde_json::json;
        for (change, field) in [
            (json!({"pipeline": ""}), "pipeline"),
            (json!({"pipeline": "a/../b"}), "pipeline"),
            (json!({"pipeline": ".."}), "pipeline"),
            (json!({"repo": "--upload-pack=x"}), "repo"),
            (json!({"repo": "a\nb"}), "repo"),
            (json!({"commit": "--help"}), "commit"),
            (json!({"commit": "abc"}), "commit"),
            (json!({"branch": "-f"}), "branch"),
            (json!({"branch": "a..b"}), "branch"),
            (json!({"env": {"A B": "1"}}), "env.A B"),
            (json!({"env": {"A": "\u{0}"}}), "env.A"),
            (json!({"env": {"BUILDKITE_AGENT_ACCESS_TOKEN": "x"}}), "env.BUILDKITE_AGENT_ACCESS_TOKEN"),
            (json!({"env": {"BIG": "x".repeat(200_000)}}), "env"),
            (json!({"pull_request": {"number": 0, "repo": "x"}}), "pull_request.number"),
            (json!({"jobs": []}), "jobs"),
            (json!({"jobs": [{"command": " "}]}), "jobs[0].command"),
            (json!({"jobs": [{"command": "x", "queue": "a b"}]}), "jobs[0].queue"),
            (json!({"jobs": [{"command": "x", "agents": ["queue=y"]}]}), "jobs[0].agents"),
            (json!({"jobs": [{"command": "x", "timeout_minutes": 0}]}), "jobs[0].timeout_minutes"),
            (json!({"idempotency_key": ""}), "idempotency_key"),
        ] {
            let found = faults(change.clone());
            assert!(found.iter().any(|f| f.starts_with(&format!("{field}:"))), "{field}: {found:?}");
        }
    }
}
