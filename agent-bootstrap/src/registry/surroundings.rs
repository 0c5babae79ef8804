//! How the credential helper finds its job when it was called without the job's environment.
//!
//! `sudo docker pull` and `env -i docker pull` call the helper without `DOCKER_CONFIG`, AWS settings or root. The
//! calling processes still hold them: the helper looks through its ancestors for the first one with a job's
//! `DOCKER_CONFIG` and starts itself again with what it lacks. Without such an ancestor there is no job, and only the
//! instance's own ECR access is left.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::job_folder::{JobFolder, Marker};
use crate::failure::Failure;

/// Variables by name.
type Environment = BTreeMap<String, String>;

/// Longest way up the process tree.
const ANCESTORS: usize = 64;

/// Starts this program again with the job's variables that it lacks; returns when it lacks none.
///
/// # Errors
/// When the program cannot be started again.
pub fn restore(operation: &str) -> Result<(), Failure> {
    let own: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let lacking = lacking(&own, ancestors_environments());
    if lacking.is_empty() {
        return Ok(());
    }
    let program =
        std::env::current_exe().map_err(|e| Failure::failed(format!("the helper's own path: {e}")))?;
    let fault = Command::new(&program).args(["docker-credential", operation]).envs(lacking).exec();
    Err(Failure::failed(format!("start of {} with the job's environment: {fault}", program.display())))
}

/// What `own` lacks of the job's variables. Names that are set are never replaced, so starting again ends.
fn lacking(own: &Environment, ancestors: impl Iterator<Item = Environment>) -> Environment {
    let mut found = Environment::new();
    let marker = match own.get("DOCKER_CONFIG") {
        Some(folder) => marker_at(folder),
        None => {
            let mut jobs = ancestors.filter_map(|environment| {
                let marker = marker_at(environment.get("DOCKER_CONFIG")?)?;
                Some((environment, marker))
            });
            jobs.next().map(|(environment, marker)| {
                found.extend(environment.into_iter().filter(|(name, _)| is_jobs_own(name)));
                marker
            })
        }
    };
    for (name, value) in marker.unwrap_or_default().environment {
        found.entry(name).or_insert(value);
    }
    found.retain(|name, _| !own.contains_key(name));
    found
}

fn is_jobs_own(name: &str) -> bool {
    name == "DOCKER_CONFIG" || name.starts_with("AWS_") || name.starts_with("TIDEMARK_")
}

fn marker_at(folder: &str) -> Option<Marker> {
    JobFolder::at(Path::new(folder)).map(|(_, marker)| marker)
}

/// The environments that this process's ancestors were started with, nearest first, as far as they may be read:
/// those of the same user, and all of them for root.
fn ancestors_environments() -> impl Iterator<Item = Environment> {
    let own = std::os::unix::process::parent_id();
    std::iter::successors(Some(own), |pid| parent(*pid))
        .take_while(|pid| *pid > 1)
        .take(ANCESTORS)
        .filter_map(|pid| fs::read(format!("/proc/{pid}/environ")).ok())
        .map(|content| parsed(&content))
}

/// The fourth field of `stat`; the second one, in brackets, may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

fn parsed(content: &[u8]) -> Environment {
    let lines = content.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn job(dir: &tempfile::TempDir) -> String {
        let marker =
            Marker { environment: environment(&[("AWS_ENDPOINT_URL", "http://marker")]), known: Vec::new() };
        JobFolder::make(dir.path(), &[], &marker).unwrap();
        dir.path().to_str().unwrap().to_owned()
    }

    #[test]
    fn an_ancestors_job_gives_what_is_lacking_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = job(&dir);
        let ancestors = [
            environment(&[("DOCKER_CONFIG", "/absent"), ("AWS_REGION", "wrong")]),
            environment(&[
                ("DOCKER_CONFIG", &folder),
                ("AWS_REGION", "r"),
                ("AWS_PROFILE", "p"),
                ("SECRET", "s"),
            ]),
        ];
        let lacks = lacking(&environment(&[("AWS_PROFILE", "own")]), ancestors.into_iter());
        let expected =
            [("AWS_ENDPOINT_URL", "http://marker"), ("AWS_REGION", "r"), ("DOCKER_CONFIG", folder.as_str())];
        assert_eq!(lacks, environment(&expected));
    }

    #[test]
    fn with_the_jobs_own_folder_only_the_marker_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let folder = job(&dir);
        let ancestor = environment(&[("DOCKER_CONFIG", &folder), ("AWS_PROFILE", "p")]);
        let own = environment(&[("DOCKER_CONFIG", &folder)]);
        let lacks = lacking(&own, std::iter::once(ancestor.clone()));
        assert_eq!(lacks, environment(&[("AWS_ENDPOINT_URL", "http://marker")]));
        let mut again = own;
        again.extend(lacks);
        assert!(lacking(&again, std::iter::once(ancestor)).is_empty(), "starting again ends");
    }

    #[test]
    fn another_configuration_folder_is_the_users_own_wish() {
        let dir = tempfile::tempdir().unwrap();
        let ancestor = environment(&[("DOCKER_CONFIG", &job(&dir))]);
        let own = environment(&[("DOCKER_CONFIG", "/home/me/.docker")]);
        assert!(lacking(&own, std::iter::once(ancestor)).is_empty());
    }

    #[test]
    fn environments_of_processes_are_read() {
        assert_eq!(parsed(b"A=1\0B=x=y\0broken\0\xff=1\0"), environment(&[("A", "1"), ("B", "x=y")]));
        assert!(parent(std::process::id()).is_some());
    }
}
