//! Fetched objects become what a job gets: variables, SSH keys, git credentials.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::env_file;
use super::fetch::Fetched;
use super::lookup::{self, Kind};
use super::shell_program;
use super::ssh_key;
use crate::config::{EnvFormat, Environment, SecretsConfig};
use crate::failure::Failure;
use crate::hooks::exports::{Change, name_fault};

/// Longest `NAME=value` that Linux hands to a program, with its closing NUL: 32 pages.
const LONGEST_VARIABLE: usize = 128 * 1024;

/// An SSH key that ssh-add takes.
pub struct SshKey {
    /// Where it lies, for people.
    pub uri: String,
    /// The key, repaired.
    pub text: Zeroizing<String>,
}

/// A git-credentials file.
pub struct GitFile {
    /// Where it lies, for people.
    pub uri: String,
    /// Its lines.
    pub text: Zeroizing<String>,
}

/// What a pipeline's job gets.
#[derive(Default)]
pub struct Bundle {
    /// Changes of the environment in the order of the files; later ones win.
    pub changes: Vec<Change>,
    /// SSH keys, the pipeline's first.
    pub ssh_keys: Vec<SshKey>,
    /// Git credentials, the pipeline's first.
    pub git_files: Vec<GitFile>,
    /// Every object read: what it is, where it lies, and the variables that come from it.
    pub contents: Vec<Content>,
}

/// An object in the listing of `secrets check` and in the summary.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Content {
    /// `env`, `ssh-key`, `git-credentials` or `secret-file`.
    pub kind: &'static str,
    /// Where it lies.
    pub object: String,
    /// Names of the variables it sets, in order, each once.
    pub variables: Vec<String>,
}

/// Reads all objects; each one that cannot be read is a fault.
pub async fn read(
    fetched: Vec<Fetched>,
    config: &SecretsConfig,
    environment: &Environment,
    faults: &mut Vec<Failure>,
) -> Bundle {
    let mut bundle = Bundle::default();
    let mut applied = environment.clone();
    for item in fetched {
        let result = match item.kind {
            Kind::SshKey => ssh(&mut bundle, &item),
            Kind::GitCredentials => git(&mut bundle, &item),
            Kind::EnvFile => env(&mut bundle, &item, config, &mut applied).await,
            Kind::SecretFile => secret_file(&mut bundle, &item),
        };
        if let Err(found) = result {
            faults.extend(found);
        }
    }
    bundle
}

type Outcome = Result<(), Vec<Failure>>;

fn ssh(bundle: &mut Bundle, item: &Fetched) -> Outcome {
    let text = ssh_key::read(&item.object.bytes)
        .map_err(|fault| vec![Failure::config(format!("secrets: SSH key {}: {fault}", item.uri))])?;
    bundle.ssh_keys.push(SshKey { uri: item.uri.clone(), text });
    bundle.contents.push(content("ssh-key", item, []));
    Ok(())
}

fn git(bundle: &mut Bundle, item: &Fetched) -> Outcome {
    let text = utf8(item)?;
    bundle.git_files.push(GitFile { uri: item.uri.clone(), text });
    bundle.contents.push(content("git-credentials", item, []));
    Ok(())
}

async fn env(
    bundle: &mut Bundle,
    item: &Fetched,
    config: &SecretsConfig,
    applied: &mut Environment,
) -> Outcome {
    let changes = match config.env_format {
        EnvFormat::Typed => typed(item, config, applied)?,
        EnvFormat::Shell => shell_program::run(&item.object.bytes, applied)
            .await
            .map_err(|fault| vec![Failure::config(format!("secrets: {}: {fault}", item.uri))])?,
    };
    let mut too_long = Vec::new();
    for change in &changes {
        match change {
            Change::Set(name, value) => {
                too_long.extend(length_fault(name, value, &item.uri));
                applied.set(name, value);
            }
            Change::Unset(name) => applied.unset(name),
        }
    }
    if !too_long.is_empty() {
        return Err(too_long);
    }
    bundle.contents.push(content("env", item, changes.iter().map(name_of)));
    bundle.changes.extend(changes);
    Ok(())
}

fn typed(item: &Fetched, config: &SecretsConfig, applied: &Environment) -> Result<Vec<Change>, Vec<Failure>> {
    let assignments = env_file::parse(&item.object.bytes, &|name| applied.get(name));
    let assignments = assignments.map_err(|faults| {
        let told = faults.iter().map(|fault| {
            let shell = if fault.is_program {
                format!(
                    "; nothing of it was run; if the file is meant as a shell program, allow that with \
                     SECRETS_ENV_FORMAT=shell (or ={}) in the stack's settings",
                    config.pipeline
                )
            } else {
                String::new()
            };
            Failure::config(format!("secrets: {} {fault}{shell}", item.uri))
        });
        told.collect::<Vec<_>>()
    })?;
    Ok(assignments.into_iter().map(|a| Change::Set(a.name, a.value)).collect())
}

fn secret_file(bundle: &mut Bundle, item: &Fetched) -> Outcome {
    let name = lookup::variable_of(&item.key).unwrap_or_default();
    if let Some(fault) = name_fault(name) {
        let line = format!("secrets: {}: its name {fault}; rename the object", item.uri);
        return Err(vec![Failure::config(line)]);
    }
    if item.object.bytes.contains(&0) {
        let line = format!(
            "secrets: {}: a NUL byte; no variable can hold one: encode it, for example as base64",
            item.uri
        );
        return Err(vec![Failure::config(line)]);
    }
    let value = utf8(item)?;
    if let Some(fault) = length_fault(name, &value, &item.uri) {
        return Err(vec![fault]);
    }
    bundle.contents.push(content("secret-file", item, [name]));
    bundle.changes.push(Change::Set(name.to_owned(), value));
    Ok(())
}

fn utf8(item: &Fetched) -> Result<Zeroizing<String>, Vec<Failure>> {
    std::str::from_utf8(&item.object.bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|error| {
        let place = error.valid_up_to();
        let line =
            format!("secrets: {}: not UTF-8 at byte {place}; encode it, for example as base64", item.uri);
        vec![Failure::config(line)]
    })
}

/// A longer variable would make every program of the job fail to start.
fn length_fault(name: &str, value: &str, uri: &str) -> Option<Failure> {
    let length = name.len() + 1 + value.len() + 1;
    (length > LONGEST_VARIABLE).then(|| {
        Failure::config(format!(
            "secrets: {uri}: {name} has {} bytes, and Linux starts no program with a variable of more than {} bytes; \
             fetch it as a file in the job instead",
            value.len(),
            LONGEST_VARIABLE - name.len() - 2
        ))
    })
}

fn name_of(change: &Change) -> &str {
    match change {
        Change::Set(name, _) | Change::Unset(name) => name,
    }
}

fn content<'a>(kind: &'static str, item: &Fetched, names: impl IntoIterator<Item = &'a str>) -> Content {
    let mut seen = BTreeSet::new();
    let variables = names.into_iter().filter(|n| seen.insert(*n)).map(str::to_owned).collect();
    Content { kind, object: item.uri.clone(), variables }
}

#[cfg(test)]
mod tests;
