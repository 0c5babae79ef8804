//! Git's credential helper for one job, configured through the environment: nobody's `~/.gitconfig` is touched.

use std::path::Path;

use super::exports::{Change, quote};
use super::job_folder::JobFolder;
use crate::config::Lookup;
use crate::failure::Failure;
use crate::git_credential::file;
use crate::layout::Layout;
use crate::secrets::bundle::GitFile;

/// Name of the n-th file of credentials in the job folder, the pipeline's first.
#[must_use]
pub fn file_name(number: usize) -> String {
    format!("git-credentials-{number}")
}

/// Stores the files in the job folder and names this program as git's helper for them.
///
/// # Errors
/// When a file cannot be written, or `GIT_CONFIG_COUNT` holds no number.
pub fn configure(
    layout: &Layout,
    job: &JobFolder,
    job_id: &str,
    files: &[GitFile],
    environment: Lookup<'_>,
) -> Result<Vec<Change>, Failure> {
    for (number, file) in files.iter().enumerate() {
        job.write(&file_name(number), file.text.as_bytes())?;
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("secrets: the path of this program for git: {error}")))?;
    let mut pairs = vec![("credential.helper", helper(&program, layout.root(), job_id))];
    // Git leaves the path out of its question unless it is told otherwise.
    if files.iter().any(|f| file::names_paths(&f.text)) {
        pairs.push(("credential.useHttpPath", "true".to_owned()));
    }
    append(&pairs, environment)
}

/// A shell command of git's configuration. It names no secret, only where to look.
fn helper(program: &Path, root: &Path, job_id: &str) -> String {
    let quoted = |path: &Path| quote(&path.to_string_lossy());
    format!("!{} --root {} git-credential --job {}", quoted(program), quoted(root), quote(job_id))
}

/// After the pairs that are there already: `GIT_CONFIG_COUNT` counts them.
fn append(pairs: &[(&str, String)], environment: Lookup<'_>) -> Result<Vec<Change>, Failure> {
    let count = environment("GIT_CONFIG_COUNT").filter(|c| !c.is_empty()).unwrap_or_else(|| "0".to_owned());
    let count: u16 = count.parse().map_err(|_| {
        Failure::config(
            "configuration: GIT_CONFIG_COUNT: no number up to 65535, so git would fail in this job",
        )
    })?;
    let mut changes = Vec::new();
    let mut next = usize::from(count);
    for (key, value) in pairs {
        changes.push(Change::set(format!("GIT_CONFIG_KEY_{next}"), *key));
        changes.push(Change::set(format!("GIT_CONFIG_VALUE_{next}"), value.as_str()));
        next += 1;
    }
    changes.push(Change::set("GIT_CONFIG_COUNT", next.to_string()));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::exports::render;

    #[test]
    fn pairs_are_appended_to_what_is_there() {
        let there = |name: &str| (name == "GIT_CONFIG_COUNT").then(|| "2".to_owned());
        let changes = append(&[("credential.helper", "!x".to_owned())], &there).unwrap();
        let text = render(&changes);
        assert!(text.contains("export GIT_CONFIG_KEY_2='credential.helper'\n"), "{}", *text);
        assert!(
            text.contains("export GIT_CONFIG_VALUE_2='!x'\n") && text.contains("COUNT='3'\n"),
            "{}",
            *text
        );
        let wrong = append(&[], &|_| Some("many".to_owned()));
        assert_eq!(wrong.unwrap_err().code, 78);
    }
}
