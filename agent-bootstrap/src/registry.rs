//! Registries: a Docker configuration for each job, logins, ECR tokens, the credential helper.
//!
//! # Layout
//! - [`server`], [`settings`], [`challenge`]: pure; names of registries, the job's settings, what registries ask for.
//! - [`job_folder`]: the job's private configuration; [`logins`]: its own logins; [`tokens`]: ECR's, per instance.
//! - [`credential_helper`]: its protocol; [`surroundings`]: how it finds its job when `sudo` strips the
//!   environment.
//! - [`login_check`]: is a login good?; [`aws_ecr`]: tokens from AWS.
//!
//! See `docs/registries.md`.

pub mod aws_ecr;
pub mod challenge;
pub mod credential_helper;
pub mod instance;
pub mod job_folder;
pub mod login_check;
pub mod logins;
mod private;
pub mod server;
pub mod settings;
pub mod surroundings;
pub mod tokens;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::layout::Layout;
use aws_ecr::AwsEcr;
use credential_helper::{Helper, Refusal};
use job_folder::{HELPER_PROGRAM, JobFolder, Marker};
use logins::{Login, Logins};
use settings::{DockerLogin, EcrSettings, Lookup};
use tokens::{TokenSource, Tokens};

/// Answers Docker's credential helper protocol on stdin and stdout.
///
/// # Errors
/// The exit code of the answer; clients read it as "no login" or as a failure by what stands on stdout.
pub async fn run(layout: &Layout, operation: &str) -> Result<(), Failure> {
    surroundings::restore(operation)?;
    let answer = match of_this_process(layout) {
        Ok(helper) => {
            let input = if operation == "list" { Zeroizing::default() } else { input()? };
            helper.answer(operation, &input, Timestamp::now()).await
        }
        Err(failure) => Err(Refusal::trouble(failure.code, failure.message)),
    };
    let said = match &answer {
        Ok(text) => text.as_str(),
        Err(refusal) => &refusal.said,
    };
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{said}").and_then(|()| stdout.flush());
    written.map_err(|fault| Failure::failed(format!("the answer to stdout: {fault}")))?;
    answer.map(|_| ()).map_err(|refusal| Failure { code: refusal.code, message: refusal.explained })
}

/// Longest request: a login with a large token.
const LONGEST_REQUEST: u64 = 256 * 1024;

fn input() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut input = Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(LONGEST_REQUEST).read_to_end(&mut input);
    read.map_err(|fault| Failure::failed(format!("the request on stdin: {fault}")))?;
    Ok(input)
}

fn of_this_process(layout: &Layout) -> Result<Helper<AwsEcr>, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = ecr_settings(layout, &variable)?;
    let job = variable("DOCKER_CONFIG").and_then(|path| JobFolder::at(Path::new(&path)));
    let known = match &job {
        Some((_, marker)) => {
            marker.known.iter().filter_map(|name| server::Server::parse(name).ok()).collect()
        }
        None => known(layout, &settings, &variable),
    };
    let folder = job.as_ref().map(|(folder, _)| folder.path());
    Ok(Helper {
        logins: folder.map(Logins::of),
        tokens: tokens_of(layout, folder, &variable),
        known,
        settings,
        source: AwsEcr,
    })
}

/// What the environment hook exports for Docker.
#[derive(Debug, Default)]
pub struct Exports(pub Vec<(String, String)>);

/// Environment hook: makes the job's private `DOCKER_CONFIG`. `environment` is the job's environment with the
/// variables of its env files already applied.
///
/// # Errors
/// Configuration (78) when a setting is malformed; with `TIDEMARK_ECR_EAGER=true` also what ECR answers.
pub async fn prepare(
    layout: &Layout,
    job_id: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Exports, Failure> {
    let settings = ecr_settings(layout, environment)?;
    let path = docker_folder(layout, job_id)?;
    let known = known(layout, &settings, environment);
    let marker = Marker {
        environment: ways_to_aws(layout, environment),
        known: known.iter().map(|server| server.as_str().to_owned()).collect(),
    };
    let home = environment("HOME").map_or_else(|| layout.agent_home(), PathBuf::from);
    let folder = JobFolder::make(&path, &job_folder::plugin_folders(&home.join(".docker")), &marker)
        .map_err(Failure::failed)?;
    // This process has the instance's credentials; tokens of a job's own are fetched by the job.
    if settings.eager && !has_own_credentials(environment) {
        fetch_all(&settings, &known, &instance_tokens(layout), &AwsEcr).await?;
    }
    Ok(Exports(exports(layout, &folder, environment)))
}

/// Pre-command hook: checks the registry login (`DOCKER_LOGIN_*`) and keeps it for the credential helper.
///
/// # Errors
/// Denied (77) for a wrong password, configuration (78) for a missing one, 69 or 75 when the registry gives no answer.
pub async fn pre_command(
    layout: &Layout,
    job_id: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Exports, Failure> {
    let Some(login) = DockerLogin::read(environment).map_err(Failure::config)? else {
        return Ok(Exports::default());
    };
    let path = docker_folder(layout, job_id)?;
    let (folder, _) = JobFolder::at(&path).ok_or_else(|| {
        Failure::failed(format!("{}: the environment hook has not made it: is it installed?", path.display()))
    })?;
    login_check::check(&login).await?;
    let kept = Login { user: login.user.clone(), secret: login.password.clone() };
    Logins::of(folder.path())
        .store(&login.server, &kept)
        .map_err(|fault| Failure::failed(format!("the login in {}: {fault}", folder.path().display())))?;
    folder.announce(std::slice::from_ref(&login.server)).map_err(Failure::failed)?;
    Ok(Exports::default())
}

fn ecr_settings(layout: &Layout, environment: &Lookup<'_>) -> Result<EcrSettings, Failure> {
    let defaults = instance::defaults(layout)?;
    let lookup = |name: &str| environment(name).or_else(|| defaults.get(name).cloned());
    EcrSettings::read(&lookup).map_err(|faults| Failure::config(faults.join("; ")))
}

/// The id becomes a folder's name.
fn docker_folder(layout: &Layout, job_id: &str) -> Result<PathBuf, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if job_id.is_empty() || !job_id.chars().all(plain) {
        return Err(Failure::config(format!("BUILDKITE_JOB_ID: `{}` is no job's id", job_id.escape_debug())));
    }
    Ok(layout.job(job_id).join("docker"))
}

fn known(layout: &Layout, settings: &EcrSettings, environment: &Lookup<'_>) -> Vec<server::Server> {
    let (account, region) = instance::account_and_region(layout);
    let region = environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION")).or(region);
    settings.known(account.as_ref(), region.as_deref())
}

/// Credentials of the job's own are another identity than the instance's: its tokens stay in the job's folder.
fn tokens_of(layout: &Layout, job: Option<&Path>, environment: &Lookup<'_>) -> Option<Tokens> {
    if has_own_credentials(environment) {
        return job.map(|folder| Tokens::in_folder(folder.join("ecr")));
    }
    Some(instance_tokens(layout))
}

fn instance_tokens(layout: &Layout) -> Tokens {
    Tokens::in_folder(layout.run().join("ecr"))
}

fn has_own_credentials(environment: &Lookup<'_>) -> bool {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ];
    names.iter().any(|name| environment(name).is_some_and(|value| !value.is_empty()))
}

/// `TIDEMARK_ECR_EAGER`: a job that would fail at its first pull fails here.
async fn fetch_all(
    settings: &EcrSettings,
    known: &[server::Server],
    tokens: &Tokens,
    source: &impl TokenSource,
) -> Result<(), Failure> {
    let asked = known.iter().filter_map(|server| Some((server, settings.registry(server)?)));
    let gets = asked.map(async |(server, registry)| {
        tokens.get(server, &registry, Timestamp::now(), source).await.map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("ECR login to {server}: {}", failure.message), ..failure }
        })
    });
    try_join_all(gets).await.map(|_| ())
}

/// What leads the helper to AWS and to this instance when its own environment does not.
fn ways_to_aws(layout: &Layout, environment: &Lookup<'_>) -> BTreeMap<String, String> {
    let names = [
        "AWS_CA_BUNDLE",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ECR_LOGIN",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_ECR",
        "AWS_ENDPOINT_URL_ECR_PUBLIC",
        "TIDEMARK_ECR_HOSTS",
    ];
    let set = names.iter().filter_map(|name| Some(((*name).to_owned(), environment(name)?)));
    let root = layout.root().to_string_lossy().into_owned();
    set.chain([("TIDEMARK_ROOT".to_owned(), root)]).collect()
}

/// Pure but for the look at `PATH`.
fn exports(layout: &Layout, folder: &JobFolder, environment: &Lookup<'_>) -> Vec<(String, String)> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut exports = vec![("DOCKER_CONFIG".to_owned(), text(folder.path().to_owned()))];
    // buildx keeps its builders beside the configuration unless told otherwise.
    if environment("BUILDX_CONFIG").is_none() {
        exports.push(("BUILDX_CONFIG".to_owned(), text(layout.agent_home().join(".docker/buildx"))));
    }
    if environment("REGISTRY_AUTH_FILE").is_none() {
        exports.push(("REGISTRY_AUTH_FILE".to_owned(), text(folder.auth_file())));
    }
    let path = environment("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    if !finds_this_program(&path) {
        exports.push(("PATH".to_owned(), format!("{}:{path}", text(folder.bin()))));
    }
    exports
}

/// On an AMI the helper's link lies in a system folder, and `PATH` stays as it is.
fn finds_this_program(path: &str) -> bool {
    let helper = std::env::split_paths(path).map(|folder| folder.join(HELPER_PROGRAM)).find(|f| f.exists());
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    match (helper.and_then(|h| real(&h)), std::env::current_exe().ok().and_then(|p| real(&p))) {
        (Some(found), Some(this)) => found == this,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
