//! Env files that are shell programs (`SECRETS_ENV_FORMAT=shell`): run by a child bash, whose changed variables are
//! taken over. The program comes by stdin and the variables by stdout, so no value is ever an argument.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::config::Environment;
use crate::hooks::exports::{Change, name_fault};

/// What went wrong. Never holds words of the program: bash repeats them in its messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Bash could not be started, or did not read.
    #[error("the shell program could not be run by bash: {0}")]
    Start(std::io::ErrorKind),
    /// Bash cannot parse it.
    #[error("line {0}: bash finds a syntax error in this shell program; try it with bash -n FILE")]
    Syntax(String),
    /// It ended itself.
    #[error("the shell program ended before its end (exit {0}): it must not call exit or exec")]
    Ended(String),
    /// It took too long.
    #[error("the shell program did not end within {0} s: it must not wait for anything")]
    TimedOut(u64),
    /// A variable that cannot be exported.
    #[error("{0} {1}")]
    Variable(String, &'static str),
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Stdout carries the variables; what the program prints would mix with them, and may be secret: both its streams end
/// here. `$0` is the absolute path of env, which the program cannot change.
const RUN: &str = r#"exec 3>&1 >/dev/null 2>&1; set -o allexport; . /dev/stdin; exec "$0" -0 >&3"#;

/// Bash itself changes these.
const NOT_TAKEN: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// Runs a program in `environment`; returns what it changed.
///
/// # Errors
/// When it cannot be run to its end, or sets what cannot be exported.
pub async fn run(program: &[u8], environment: &Environment) -> Result<Vec<Change>, Fault> {
    let parsed = bash(&["-n"], program, environment).await?;
    if !parsed.status.success() {
        return Err(Fault::Syntax(line_of(&parsed.stderr)));
    }
    let ran = bash(&["-c", RUN, "/usr/bin/env"], program, environment).await?;
    let dump = Zeroizing::new(ran.stdout);
    if !ran.status.success() || dump.is_empty() {
        let code = ran.status.code().map_or_else(|| "by a signal".to_owned(), |c| c.to_string());
        return Err(Fault::Ended(code));
    }
    changes(&dump, environment)
}

/// `-p`: neither BASH_ENV nor functions from the job's environment are read.
async fn bash(arguments: &[&str], program: &[u8], environment: &Environment) -> Result<Output, Fault> {
    let start = |error: std::io::Error| Fault::Start(error.kind());
    let mut child = Command::new("bash")
        .args(["--noprofile", "--norc", "-p"])
        .args(arguments)
        .env_clear()
        .envs(environment.iter())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends early closes the pipe; its exit tells more than the failed write.
            let _ = stdin.write_all(program).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output =
        tokio::time::timeout(PATIENCE, both).await.map_err(|_| Fault::TimedOut(PATIENCE.as_secs()))?;
    output.map_err(start)
}

/// The number in bash's `line 3:`; the words after it stay unseen.
fn line_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let after = text.split_once("line ").map_or("", |(_, rest)| rest);
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    if digits.is_empty() { "?".to_owned() } else { digits }
}

fn changes(dump: &[u8], environment: &Environment) -> Result<Vec<Change>, Fault> {
    let mut changes = Vec::new();
    let mut left: std::collections::BTreeSet<String> =
        environment.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    for pair in dump.split(|b| *b == 0).filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let name = String::from_utf8_lossy(&pair[..equals]).into_owned();
        let value = std::str::from_utf8(pair.get(equals + 1..).unwrap_or_default());
        left.remove(&name);
        // Exported functions have names like BASH_FUNC_f%%; a job's variables they are not.
        if NOT_TAKEN.contains(&name.as_str()) || !crate::hooks::exports::is_identifier(&name) {
            continue;
        }
        match value {
            Ok(value) if environment.holds(&name, value) => {}
            Ok(value) => match name_fault(&name) {
                None => changes.push(Change::set(name, value)),
                Some(fault) => return Err(Fault::Variable(name, fault)),
            },
            // Not UTF-8, and not set by the program: none of its business.
            Err(_) if environment.get(&name).is_some() => {}
            Err(_) => return Err(Fault::Variable(name, "is not UTF-8: encode it, for example as base64")),
        }
    }
    left.retain(|name| !NOT_TAKEN.contains(&name.as_str()) && name_fault(name).is_none());
    changes.extend(left.into_iter().map(Change::Unset));
    Ok(changes)
}

#[cfg(test)]
mod tests;
