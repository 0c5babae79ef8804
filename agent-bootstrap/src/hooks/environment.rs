//! The environment hook: the job's secrets, its ssh-agent, git and Docker configuration, or the reason why not.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::exports::{self, Change};
use super::job_folder::JobFolder;
use super::{builds, git_config, pre_exit, redactor, repository, ssh_agent};
use crate::config::{self, Environment, JobConfig, SecretsConfig};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::registry;
use crate::secrets::s3::{KmsKeys, S3SecretStore};
use crate::secrets::{self, Bundle, Loaded};
use crate::watch;

/// Does all steps and returns the text for the shell.
///
/// # Errors
/// The first step that fails; then nothing that was started is left.
pub async fn run(layout: &Layout, environment: &Environment) -> Result<Zeroizing<String>, Failure> {
    let lookup = |name: &str| environment.get(name);
    let defaults = config::settings::read_file(&layout.hook_settings())?;
    let config = JobConfig::read(&lookup, defaults.clone()).map_err(|faults| config::failure(&faults))?;
    // First of all: an instance that drains must not begin a job.
    watch::client::job_started(layout, &config.job_id).await?;
    for name in &config.ignored {
        eprintln!("configuration: {name} of this job is ignored: the instance's settings decide it");
    }
    let job = JobFolder::of(layout, &config.job_id);
    // A hook that ran before in this job may have left an ssh-agent.
    pre_exit::clean(&job)?;
    let done = prepare(layout, environment, &config, &job, &defaults.unwrap_or_default()).await;
    if done.is_err() {
        // The first failure is the one to tell; pre-exit will try again to clean up.
        let _ = pre_exit::clean(&job);
    }
    done
}

async fn prepare(
    layout: &Layout,
    environment: &Environment,
    config: &JobConfig,
    job: &JobFolder,
    defaults: &BTreeMap<String, String>,
) -> Result<Zeroizing<String>, Failure> {
    job.create()?;
    builds::give_back(layout, environment.get("BUILDKITE_BUILD_CHECKOUT_PATH").as_deref()).await;
    let bundle = secrets_of(config, environment).await?;
    if let Some(warning) = redactor::offer(&redactor::values(&bundle), environment).await {
        eprintln!("{warning}");
    }
    let mut changes = bundle.changes.clone();
    let mut applied = environment.clone();
    apply(&mut applied, &changes);
    if !bundle.ssh_keys.is_empty() {
        changes.extend(ssh_agent::start(job, &bundle.ssh_keys).await?);
    }
    if !bundle.git_files.is_empty() {
        let lookup = |name: &str| applied.get(name);
        changes.extend(git_config::configure(layout, job, &config.job_id, &bundle.git_files, &lookup)?);
    }
    let layered = |name: &str| applied.get(name).or_else(|| defaults.get(name).cloned());
    let docker = registry::prepare(layout, &config.job_id, &layered).await?;
    changes.extend(docker.0.into_iter().map(|(name, value)| Change::set(name, value)));
    Ok(exports::render(&effective(changes, environment)))
}

/// The job's secrets; none for forks and where no bucket is configured, each said in one line.
async fn secrets_of(config: &JobConfig, environment: &Environment) -> Result<Bundle, Failure> {
    let Some(secrets) = &config.secrets else {
        eprintln!("secrets: none: BUILDKITE_PLUGIN_S3_SECRETS_BUCKET is not set");
        return Ok(Bundle::default());
    };
    let foreign = repository::foreign(config.pull_request.as_ref(), config.repository.as_deref());
    if let Some(reason) = foreign.filter(|_| !config.forks_allowed) {
        eprintln!("secrets: none: {reason}, and SECRETS_FOR_FORKS is none");
        return Ok(Bundle::default());
    }
    let session = secrets::session(secrets).await?;
    let (store, keys) = (S3SecretStore::new(&session, &secrets.bucket), KmsKeys::new(&session));
    let bundle = whole(secrets::load(&store, &keys, secrets, environment).await, secrets)?;
    eprintln!("{}", summary(&bundle, secrets));
    let over_ssh = config.repository.as_deref().is_some_and(repository::is_ssh);
    if bundle.ssh_keys.is_empty() && over_ssh {
        eprintln!(
            "secrets: no SSH key for this repository: upload one with \
             aws s3 cp --sse aws:kms FILE s3://{}/{}/private_ssh_key",
            secrets.bucket, secrets.pipeline
        );
    }
    Ok(bundle)
}

/// All of the secrets or none.
fn whole(loaded: Loaded, secrets: &SecretsConfig) -> Result<Bundle, Failure> {
    let Some(first) = loaded.faults.first() else { return Ok(loaded.bundle) };
    let more = match loaded.faults.len() - 1 {
        0 => String::new(),
        more => format!(
            " (and {more} more: agent-bootstrap secrets check --pipeline {} lists all)",
            crate::hooks::exports::quote(&secrets.pipeline)
        ),
    };
    Err(Failure { code: first.code, message: format!("{}{more}", first.message) })
}

/// What was loaded, in numbers and places, never in values.
fn summary(bundle: &Bundle, secrets: &SecretsConfig) -> String {
    let count = |kind: &str| bundle.contents.iter().filter(|c| c.kind == kind).count();
    let names = |kind: &str| -> usize {
        let of_kind = bundle.contents.iter().filter(|c| c.kind == kind);
        of_kind.flat_map(|c| &c.variables).collect::<BTreeSet<_>>().len()
    };
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let mut parts = Vec::new();
    if count("env") > 0 {
        parts.push(format!("{} ({})", plural(count("env"), "env file"), plural(names("env"), "variable")));
    }
    if count("ssh-key") > 0 {
        parts.push(plural(count("ssh-key"), "ssh key"));
    }
    if count("git-credentials") > 0 {
        parts.push(format!("{} git-credentials", count("git-credentials")));
    }
    if count("secret-file") > 0 {
        parts.push(plural(count("secret-file"), "secret file"));
    }
    let what = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
    format!("secrets: {what} from s3://{} (pipeline {})", secrets.bucket, secrets.pipeline)
}

fn apply(environment: &mut Environment, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Set(name, value) => environment.set(name, value),
            Change::Unset(name) => environment.unset(name),
        }
    }
}

/// The last change of each name, in the order in which names first appear, without those that change nothing.
fn effective(changes: Vec<Change>, environment: &Environment) -> Vec<Change> {
    let name_of = |change: &Change| match change {
        Change::Set(name, _) | Change::Unset(name) => name.clone(),
    };
    let mut order: Vec<String> = Vec::new();
    let mut last: BTreeMap<String, Change> = BTreeMap::new();
    for change in changes {
        let name = name_of(&change);
        if last.insert(name.clone(), change).is_none() {
            order.push(name);
        }
    }
    let kept = order.into_iter().filter_map(|name| last.remove(&name)).filter(|change| match change {
        Change::Set(name, value) => !environment.holds(name, value),
        Change::Unset(name) => environment.get(name).is_some(),
    });
    kept.collect()
}

#[cfg(test)]
mod tests;
