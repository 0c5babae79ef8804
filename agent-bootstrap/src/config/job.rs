//! What a hook needs to know about its job.

use std::collections::BTreeMap;

use super::settings::visible;
use super::{Fault, Lookup, Settings};
use crate::secrets::encryption;

const BUCKET: &str = "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET";
const REGION: &str = "BUILDKITE_PLUGIN_S3_SECRETS_REGION";
const PREFIX: &str = "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET_PREFIX";
const SLUG: &str = "BUILDKITE_PIPELINE_SLUG";
const JOB_ID: &str = "BUILDKITE_JOB_ID";
const FOR_FORKS: &str = "SECRETS_FOR_FORKS";
const ENV_FORMAT: &str = "SECRETS_ENV_FORMAT";
const KMS_KEY: &str = "SECRETS_KMS_KEY";
const REQUIRE_KEY: &str = "SECRETS_REQUIRE_KEY";
const USE_KMS: &str = "BUILDKITE_USE_KMS";

/// A job's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobConfig {
    /// The job's id: names its folder on this instance.
    pub job_id: String,
    /// URL of the pipeline's repository (`BUILDKITE_REPO`).
    pub repository: Option<String>,
    /// The pull request this job builds, if any.
    pub pull_request: Option<PullRequest>,
    /// Do pull requests from forks get secrets (`SECRETS_FOR_FORKS=all`)?
    pub forks_allowed: bool,
    /// Where the secrets lie; `None` where no bucket is configured.
    pub secrets: Option<SecretsConfig>,
    /// Guarded settings that the job's environment tried to change in vain.
    pub ignored: Vec<&'static str>,
}

/// A pull request, as the CI's variables tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number, `BUILDKITE_PULL_REQUEST`; empty where only the repository is told.
    pub number: String,
    /// URL of the repository it comes from, `BUILDKITE_PULL_REQUEST_REPO`.
    pub repository: Option<String>,
}

/// A pipeline's secrets: where they lie and what is asked of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsConfig {
    /// The secrets bucket.
    pub bucket: String,
    /// Its region, if it is not the instance's own.
    pub region: Option<String>,
    /// The pipeline's folder in the bucket, without slashes at its ends.
    pub pipeline: String,
    /// How objects must be encrypted.
    pub encryption: encryption::Policy,
    /// How this pipeline's env files are read.
    pub env_format: EnvFormat,
}

/// How env files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvFormat {
    /// Assignments only, parsed, never run.
    Typed,
    /// Shell programs, run by a child bash.
    Shell,
}

impl JobConfig {
    /// Reads a job's configuration from its environment and the settings file's values.
    ///
    /// # Errors
    /// All faults at once.
    pub fn read(environment: Lookup<'_>, file: Option<BTreeMap<String, String>>) -> Result<Self, Vec<Fault>> {
        let mut settings = Settings::new(environment, file);
        let job_id = job_id(environment).unwrap_or_else(|fault| {
            settings.fault(fault.name, fault.detail);
            String::new()
        });
        let forks_allowed = forks_allowed(&mut settings);
        let secrets = secrets(&mut settings, None);
        let repository = settings.open("BUILDKITE_REPO");
        let pull_request = pull_request(&settings);
        let (ignored, faults) = settings.finish();
        if faults.is_empty() {
            Ok(Self { job_id, repository, pull_request, forks_allowed, secrets, ignored })
        } else {
            Err(faults)
        }
    }
}

impl SecretsConfig {
    /// The configuration of `pipeline`, for `secrets check`: outside a job, so a bucket must be known.
    ///
    /// # Errors
    /// All faults at once.
    pub fn of_pipeline(
        environment: Lookup<'_>,
        file: Option<BTreeMap<String, String>>,
        pipeline: &str,
    ) -> Result<Self, Vec<Fault>> {
        let mut settings = Settings::new(environment, file);
        let secrets = secrets(&mut settings, Some(pipeline));
        if secrets.is_none() && settings.open(BUCKET).is_none() {
            settings.fault(BUCKET, "not set: name the bucket, or a folder with --dir");
        }
        let (_, faults) = settings.finish();
        match secrets {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }
}

/// The job's id, fit to name a folder.
///
/// # Errors
/// When it is absent or could leave the folder of jobs.
pub fn job_id(environment: Lookup<'_>) -> Result<String, Fault> {
    let fault = |detail: String| Fault { name: JOB_ID, detail };
    let id = environment(JOB_ID).unwrap_or_default();
    if id.is_empty() {
        return Err(fault("not set: the CI's agent sets it; this hook runs inside a job only".to_owned()));
    }
    let plain = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { Ok(id) } else { Err(fault(format!("'{}' is no job id", visible(&id)))) }
}

fn forks_allowed(settings: &mut Settings<'_>) -> bool {
    match settings.guarded(FOR_FORKS).as_deref() {
        None | Some("none") => false,
        Some("all") => true,
        Some(other) => {
            let detail = format!("'{}' is neither none nor all", visible(other));
            settings.fault(FOR_FORKS, detail);
            false
        }
    }
}

fn pull_request(settings: &Settings<'_>) -> Option<PullRequest> {
    let number = settings.open("BUILDKITE_PULL_REQUEST").filter(|n| n != "false").unwrap_or_default();
    let repository = settings.open("BUILDKITE_PULL_REQUEST_REPO");
    (!number.is_empty() || repository.is_some()).then_some(PullRequest { number, repository })
}

fn secrets(settings: &mut Settings<'_>, pipeline: Option<&str>) -> Option<SecretsConfig> {
    // Bucket and region are one thing: a job may name its own bucket only where the instance has none.
    let (bucket, region) = if settings.fixes(BUCKET) {
        (settings.guarded(BUCKET), settings.guarded(REGION))
    } else {
        (settings.open(BUCKET), settings.open(REGION))
    };
    let pipeline = match pipeline {
        Some(given) => Some((SLUG, given.to_owned())),
        None => match settings.guarded(PREFIX) {
            Some(prefix) => Some((PREFIX, prefix)),
            None => settings.open(SLUG).map(|slug| (SLUG, slug)),
        },
    };
    let encryption = encryption_policy(settings);
    let format = settings.guarded(ENV_FORMAT);
    let bucket = bucket?;
    if !is_bucket_name(&bucket) {
        settings.fault(BUCKET, format!("'{}' is no bucket name", visible(&bucket)));
    }
    let (name, pipeline) = pipeline.unwrap_or((SLUG, String::new()));
    if let Some(detail) = pipeline_fault(&pipeline, name == PREFIX) {
        settings.fault(name, detail);
    }
    let env_format = env_format(format.as_deref(), &pipeline);
    Some(SecretsConfig { bucket, region, pipeline, encryption, env_format })
}

fn encryption_policy(settings: &mut Settings<'_>) -> encryption::Policy {
    let key = settings.guarded(KMS_KEY);
    let require = settings.guarded(REQUIRE_KEY);
    let require_key = settings.switch(REQUIRE_KEY, require, false);
    let use_kms = settings.open(USE_KMS);
    let use_kms = settings.switch(USE_KMS, use_kms, true);
    if require_key && key.is_none() {
        settings.fault(REQUIRE_KEY, format!("true needs {KMS_KEY}: name the key that objects must have"));
    }
    encryption::Policy { use_kms, key, require_key }
}

fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

/// Why this cannot be a pipeline's folder. A slug is one path part; a configured prefix may have several.
fn pipeline_fault(pipeline: &str, is_prefix: bool) -> Option<String> {
    if pipeline.is_empty() {
        return Some("not set or empty: without it a job's secrets cannot be found".to_owned());
    }
    let shown = visible(pipeline);
    if pipeline.chars().any(char::is_control) {
        return Some(format!("'{shown}' holds control characters"));
    }
    if !is_prefix && pipeline.contains('/') {
        return Some(format!("'{shown}' holds a slash; a pipeline's slug has none"));
    }
    if pipeline.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Some(format!("'{shown}' holds an empty part, '.' or '..'"));
    }
    (pipeline.len() > 512).then(|| format!("'{shown}' is longer than 512 bytes"))
}

/// `typed`, `shell`, or the pipelines (commas between) whose env files are shell programs.
fn env_format(setting: Option<&str>, pipeline: &str) -> EnvFormat {
    let shell = match setting {
        None | Some("typed") => false,
        Some("shell") => true,
        Some(list) => list.split(',').any(|name| name.trim() == pipeline),
    };
    if shell { EnvFormat::Shell } else { EnvFormat::Typed }
}

#[cfg(test)]
mod tests;
