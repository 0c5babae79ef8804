//! Offers every loaded secret to the open-source agent's redactor. It is a second net: its failure is a warning.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::exports::Change;
use crate::config::Environment;
use crate::secrets::Bundle;

/// The agent ignores shorter values: redacting them would make logs unreadable.
const SHORTEST: usize = 6;
/// The agent ignores longer ones.
const LONGEST: usize = 64 * 1024;
/// Bytes of one call.
const AT_ONCE: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything in a bundle that must not appear in a log, each once. Logs are made of lines, so the lines of longer
/// texts count by themselves too.
#[must_use]
pub fn values(bundle: &Bundle) -> Vec<Zeroizing<String>> {
    let variables = bundle.changes.iter().filter_map(|change| match change {
        Change::Set(_, value) => Some(value.as_str()),
        Change::Unset(_) => None,
    });
    let keys = bundle.ssh_keys.iter().map(|key| key.text.as_str());
    let passwords: Vec<Zeroizing<String>> =
        bundle.git_files.iter().flat_map(|file| crate::git_credential::file::passwords(&file.text)).collect();
    let texts = variables.chain(keys).chain(passwords.iter().map(|p| p.as_str()));
    let mut seen = std::collections::BTreeSet::new();
    for text in texts {
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        for value in std::iter::once(text).chain(lines).map(str::trim) {
            if (SHORTEST..LONGEST).contains(&value.len()) {
                seen.insert(value);
            }
        }
    }
    seen.into_iter().map(|value| Zeroizing::new(value.to_owned())).collect()
}

/// Gives the values to `buildkite-agent redactor add` on its stdin, if that program is there. Returns a warning.
pub async fn offer(values: &[Zeroizing<String>], environment: &Environment) -> Option<String> {
    if values.is_empty() {
        return None;
    }
    let program = on_path("buildkite-agent", &environment.get("PATH")?)?;
    for body in bodies(values) {
        let added = tokio::time::timeout(PATIENCE, add(&program, &body)).await;
        let problem = match added {
            Ok(Ok(status)) if status.success() => continue,
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        return Some(format!(
            "secrets: warning: buildkite-agent redactor add: {problem}; values may show in the job's log \
             (an older agent has no such command)"
        ));
    }
    None
}

/// JSON objects of at most about [`AT_ONCE`] bytes; names are numbers, since names tell nothing there.
fn bodies(values: &[Zeroizing<String>]) -> Vec<Zeroizing<String>> {
    let mut bodies = vec![Zeroizing::new(String::with_capacity(AT_ONCE / 8))];
    for (number, value) in values.iter().enumerate() {
        let quoted = Zeroizing::new(serde_json::Value::from(value.as_str()).to_string());
        if bodies.last().is_some_and(|body| body.len() + quoted.len() > AT_ONCE) {
            bodies.push(Zeroizing::new(String::new()));
        }
        if let Some(body) = bodies.last_mut() {
            let separator = if body.is_empty() { '{' } else { ',' };
            body.push(separator);
            body.push_str(&format!("\"secret{number}\":"));
            body.push_str(&quoted);
        }
    }
    for body in &mut bodies {
        body.push('}');
    }
    bodies
}

async fn add(program: &std::path::Path, body: &str) -> std::io::Result<std::process::ExitStatus> {
    let mut child = Command::new(program)
        .args(["redactor", "add", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read says why by its exit.
        let _ = stdin.write_all(body.as_bytes()).await;
    }
    child.wait().await
}

fn on_path(program: &str, path: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests;
