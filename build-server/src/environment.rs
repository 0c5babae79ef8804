//! The environment of a job, made when an agent accepts it. Meaning of each name: `agent-api.md` §3.1.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::{
    dispatch::Tags,
    request::{BuildRequest, JobRequest},
};

/// What the server knows beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Organization slug.
    pub organization: &'a str,
    /// How people reach the server, without a final slash.
    pub base_url: &'a str,
    /// Build id.
    pub build: &'a str,
    /// Build number.
    pub number: i64,
    /// Job id.
    pub job: &'a str,
    /// Agent id.
    pub agent: &'a str,
    /// Agent name.
    pub agent_name: &'a str,
    /// Agent tags.
    pub tags: &'a Tags,
    /// How often the job went back to the queue.
    pub attempts: i64,
}

/// `BUILDKITE_…` names that users may set; everything else with that prefix belongs to server and agent.
const USERS: [&str; 16] = [
    "BUILDKITE_ARTIFACT_PATHS",
    "BUILDKITE_ARTIFACT_UPLOAD_DESTINATION",
    "BUILDKITE_BUILD_AUTHOR",
    "BUILDKITE_BUILD_AUTHOR_EMAIL",
    "BUILDKITE_CLEAN_CHECKOUT",
    "BUILDKITE_GIT_CHECKOUT_FLAGS",
    "BUILDKITE_GIT_CLEAN_FLAGS",
    "BUILDKITE_GIT_CLONE_FLAGS",
    "BUILDKITE_GIT_FETCH_FLAGS",
    "BUILDKITE_GIT_LFS_ENABLED",
    "BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS",
    "BUILDKITE_GIT_SUBMODULES",
    "BUILDKITE_REFSPEC",
    "BUILDKITE_SKIP_CHECKOUT",
    "BUILDKITE_SOURCE",
    "BUILDKITE_TAG",
];

/// Settings of plugins and of the secrets hook.
const USERS_PREFIX: &str = "BUILDKITE_PLUGIN_";

/// What is wrong with a variable a user wants to set.
pub fn user_variable_fault(name: &str, value: &str) -> Option<&'static str> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(named) {
        Some("a name is letters, digits and _, no digit first")
    } else if value.contains('\0') {
        Some("a value holds no NUL")
    } else if matches!(name, "BUILDKITE" | "CI") || reserved(name) {
        Some("the server or the agent sets this name")
    } else {
        None
    }
}

fn reserved(name: &str) -> bool {
    name.starts_with("BUILDKITE_") && !name.starts_with(USERS_PREFIX) && !USERS.contains(&name)
}

/// The whole environment. Every variable that agents insist on is there and not empty.
pub fn of_job(build: &BuildRequest, job: &JobRequest, facts: &Facts<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    env.insert("BUILDKITE_SOURCE".to_owned(), "api".to_owned());
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    for (name, value) in build.env.iter().chain(&job.env) {
        set(name, value.clone());
    }
    for (name, value) in of_build(build, facts).into_iter().chain(of_step(job, facts)) {
        set(name, value);
    }
    for (name, value) in of_pull_request(build) {
        set(name, value);
    }
    for (key, value) in facts.tags.iter() {
        set(&format!("BUILDKITE_AGENT_META_DATA_{}", upper(key)), value.to_owned());
    }
    if !facts.tags.iter().any(|(key, _)| key == "queue") {
        set("BUILDKITE_AGENT_META_DATA_QUEUE", facts.tags.queue().to_owned());
    }
    env
}

fn of_build(build: &BuildRequest, facts: &Facts<'_>) -> [(&'static str, String); 19] {
    let Facts { organization, base_url, number, .. } = facts;
    let pipeline = &build.pipeline;
    [
        ("BUILDKITE", "true".into()),
        ("CI", "true".into()),
        ("BUILDKITE_REPO", build.repo.clone()),
        ("BUILDKITE_COMMIT", build.commit.clone()),
        ("BUILDKITE_BRANCH", build.branch.clone()),
        ("BUILDKITE_MESSAGE", build.message.clone()),
        ("BUILDKITE_BUILD_ID", facts.build.into()),
        ("BUILDKITE_BUILD_NUMBER", number.to_string()),
        ("BUILDKITE_BUILD_URL", format!("{base_url}/{organization}/{pipeline}/builds/{number}")),
        ("BUILDKITE_ORGANIZATION_SLUG", (*organization).into()),
        ("BUILDKITE_ORGANIZATION_ID", name_id(&[organization])),
        ("BUILDKITE_PIPELINE_SLUG", pipeline.clone()),
        ("BUILDKITE_PIPELINE_NAME", pipeline.clone()),
        ("BUILDKITE_PIPELINE_ID", name_id(&[organization, pipeline])),
        ("BUILDKITE_PIPELINE_PROVIDER", provider(&build.repo).into()),
        ("BUILDKITE_PIPELINE_DEFAULT_BRANCH", "main".into()),
        ("BUILDKITE_COMPUTE_TYPE", "self-hosted".into()),
        ("BUILDKITE_REBUILT_FROM_BUILD_ID", String::new()),
        ("BUILDKITE_TRIGGERED_FROM_BUILD_ID", String::new()),
    ]
}

fn of_step(job: &JobRequest, facts: &Facts<'_>) -> [(&'static str, String); 9] {
    let timeout = job.timeout_minutes.map_or("false".to_owned(), |minutes| minutes.to_string());
    [
        ("BUILDKITE_JOB_ID", facts.job.into()),
        ("BUILDKITE_COMMAND", job.command.clone()),
        ("BUILDKITE_LABEL", job.label.clone()),
        ("BUILDKITE_STEP_KEY", job.key.clone()),
        ("BUILDKITE_STEP_ID", name_id(&["step", facts.job])),
        ("BUILDKITE_TIMEOUT", timeout),
        ("BUILDKITE_RETRY_COUNT", facts.attempts.to_string()),
        ("BUILDKITE_AGENT_ID", facts.agent.into()),
        ("BUILDKITE_AGENT_NAME", facts.agent_name.into()),
    ]
}

/// An absent number means a pull request to agents of GitHub repositories, so it is always there.
fn of_pull_request(build: &BuildRequest) -> [(&'static str, String); 3] {
    let of = |field: fn(&crate::request::PullRequest) -> String| build.pull_request.as_ref().map(field);
    [
        ("BUILDKITE_PULL_REQUEST", of(|pr| pr.number.to_string()).unwrap_or("false".into())),
        ("BUILDKITE_PULL_REQUEST_REPO", of(|pr| pr.repo.clone()).unwrap_or_default()),
        ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", of(|pr| pr.base_branch.clone()).unwrap_or_default()),
    ]
}

fn provider(repo: &str) -> &'static str {
    let known = ["github", "gitlab", "bitbucket"];
    let host = repo.split_once("://").map_or(repo, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    known.into_iter().find(|name| host.contains(name)).unwrap_or("git")
}

/// The same id for the same names, always.
pub fn name_id(names: &[&str]) -> String {
    let digest = Sha256::digest(names.join("/").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn upper(key: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    key.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(build: BuildRequest) -> BTreeMap<String, String> {
        let tags = Tags::parse(&["queue=q", "aws:instance-id=i-1"]);
        let facts = Facts {
            organization: "acme",
            base_url: "http://ci",
            build: "b",
            number: 7,
            job: "j",
            agent: "a",
            agent_name: "a-1",
            tags: &tags,
            attempts: 0,
        };
        of_job(&build, &build.jobs[0], &facts)
    }

    fn request(more: serde_json::Value) -> BuildRequest {
        let mut value = serde_json::json!({
            "pipeline": "app", "repo": "git@github.com:acme/app.git", "jobs": [{"command": "make"}]
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_whole_environment() {
        insta::assert_json_snapshot!(env(request(serde_json::json!({"env": {"A": "1"}}))));
    }

    #[test]
    fn a_pull_request_is_named() {
        let pr = serde_json::json!({"pull_request": {"number": 5, "repo": "https://h/fork.git"}});
        let env = env(request(pr));
        assert_eq!(env["BUILDKITE_PULL_REQUEST"], "5");
        assert_eq!(env["BUILDKITE_PULL_REQUEST_REPO"], "https://h/fork.git");
    }

    #[test]
    fn a_job_wins_over_its_build_and_nobody_over_the_server() {
        let env = env(request(serde_json::json!({
            "env": {"A": "build", "B": "build"}, "jobs": [{"command": "make", "env": {"A": "job", "CI": "no"}}]
        })));
        assert_eq!((env["A"].as_str(), env["B"].as_str(), env["CI"].as_str()), ("job", "build", "true"));
        assert!(user_variable_fault("CI", "no").is_some());
        for name in ["BUILDKITE_AGENT_TOKEN", "BUILDKITE_USE_KMS", "BUILDKITE_PULL_REQUEST", "1A", "", "A-B"]
        {
            assert!(user_variable_fault(name, "x").is_some(), "{name}");
        }
        for name in ["A", "_B", "BUILDKITE_CLEAN_CHECKOUT", "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET_PREFIX"] {
            assert_eq!(user_variable_fault(name, "x"), None, "{name}");
        }
    }

    #[test]
    fn providers_are_told_by_the_host() {
        for (repo, expected) in [
            ("git@github.com:acme/app.git", "github"),
            ("https://user:word@gitlab.example/x.git", "gitlab"),
            ("ssh://git@127.0.0.1:22/github.git", "git"),
        ] {
            assert_eq!(provider(repo), expected, "{repo}");
        }
    }
}
