//! Git's credential helper protocol, answered from the job's git-credentials files.

pub mod file;
pub mod request;

use std::io::{Read as _, Write as _};

use zeroize::Zeroizing;

use crate::config::{self, Environment};
use crate::failure::Failure;
use crate::hooks::git_config::file_name;
use crate::hooks::job_folder::JobFolder;
use crate::layout::Layout;
use request::Request;

/// Longest question that is read, in bytes.
const LONGEST_QUESTION: u64 = 1024 * 1024;

/// Answers one request on stdin and stdout. `job` is the job's id, else `BUILDKITE_JOB_ID` says it. There is nothing
/// to store or erase: the secrets bucket is the only place where credentials change.
///
/// # Errors
/// For an unknown operation or a job that is none. Not having an answer is no failure: git then asks others.
pub async fn run(layout: &Layout, operation: &str, job: Option<&str>) -> Result<(), Failure> {
    let question = question()?;
    match operation {
        "get" => {}
        // Git's protocol wants unknown operations ignored, so that it may add some.
        _ => return Ok(()),
    }
    let environment = Environment::of_process();
    let lookup = |name: &str| match job {
        Some(job) if name == "BUILDKITE_JOB_ID" => Some(job.to_owned()),
        _ => environment.get(name),
    };
    let job_id = config::job::job_id(&lookup).map_err(|fault| config::failure(&[fault]))?;
    let Some(answer) = answer(&JobFolder::of(layout, &job_id), &Request::parse(&question)) else {
        return Ok(());
    };
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(answer.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::failed(format!("git-credential: writing the answer: {error}")))
}

/// The first match: the pipeline's file is the first one.
fn answer(job: &JobFolder, request: &Request) -> Option<Zeroizing<String>> {
    let files = (0..).map_while(|number| job.read(&file_name(number)).map(Zeroizing::new));
    let mut garbage = 0;
    let mut found = None;
    for bytes in files {
        let text = String::from_utf8_lossy(&bytes);
        let (entries, unread) = file::parse(&text);
        garbage += unread;
        found = found.or_else(|| request.best_of(entries));
    }
    if garbage > 0 {
        eprintln!(
            "git-credential: {garbage} line(s) of git-credentials are no URL with a password and were ignored"
        );
    }
    found.map(|entry| entry.answer())
}

fn question() -> Result<Zeroizing<String>, Failure> {
    let mut question = Zeroizing::new(String::new());
    std::io::stdin()
        .take(LONGEST_QUESTION)
        .read_to_string(&mut question)
        .map_err(|error| Failure::failed(format!("git-credential: reading git's question: {error}")))?;
    Ok(question)
}
