//! The built-in checkout: git commands in the order of the open-source agent.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::Executor;
use super::phases::Step;
use super::process::Ended;

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Everything there is, when the server does not give out single commits.
const ALL_BRANCHES: &str = "+refs/heads/*:refs/remotes/origin/*";
const ALL_TAGS: &str = "+refs/tags/*:refs/tags/*";

/// New hosts are taken, changed ones refused.
const SSH: &str = "ssh -o StrictHostKeyChecking=accept-new";

/// Hosts are remembered below the job's `HOME`: ssh by itself takes the home of the user database, and would write
/// outside an instance of the lab. Git gives the text to a shell; the inner quotes are for ssh.
fn known_hosts(home: &str) -> &'static str {
    // Where it cannot be made, ssh says so and goes on without remembering.
    let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(PathBuf::from(home).join(".ssh"));
    "-o UserKnownHostsFile='\"'\"$HOME\"'/.ssh/known_hosts\"'"
}

impl Executor {
    /// The checkout's folder: hooks may set another one before the checkout.
    pub(super) fn checkout_path(&self) -> PathBuf {
        self.vars
            .filled("BUILDKITE_BUILD_CHECKOUT_PATH")
            .map_or_else(|| self.config.checkout_path.clone(), PathBuf::from)
    }

    /// Makes the folder, empty if a clean one is asked for, and goes there.
    pub(super) async fn prepare_folder(&mut self) -> Step {
        let path = self.checkout_path();
        if self.vars.is_true("BUILDKITE_CLEAN_CHECKOUT") {
            self.console.header("Cleaning the checkout").await;
            self.remove_checkout().await?;
        }
        if let Err(error) = std::fs::create_dir_all(&path) {
            self.console.error(&format!("Cannot make the folder {}: {error}", path.display())).await;
            return Err(Ended::Exited(1));
        }
        self.cwd = path;
        Ok(())
    }

    async fn remove_checkout(&mut self) -> Step {
        let path = self.checkout_path();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.console.error(&format!("Cannot remove {}: {error}", path.display())).await;
                Err(Ended::Exited(1))
            }
            _ => Ok(()),
        }
    }

    /// The repository at the build's commit, after several attempts if need be.
    pub(super) async fn checkout(&mut self) -> Step {
        self.console.header("Preparing working directory").await;
        let Some(repository) = self.vars.filled("BUILDKITE_REPO") else {
            self.console.comment("BUILDKITE_REPO is empty: no checkout").await;
            return Ok(());
        };
        if self.vars.filled("GIT_SSH_COMMAND").is_none() {
            let command = match self.vars.filled("HOME") {
                Some(home) => format!("{SSH} {}", known_hosts(&home)),
                None => SSH.to_owned(),
            };
            self.vars.set("GIT_SSH_COMMAND", &command);
        }
        let attempts = self.config.checkout_attempts;
        for attempt in 1.. {
            let result = self.checkout_once(&repository).await;
            if result.is_ok() || attempt >= attempts || *self.cancel.borrow() {
                result?;
                break;
            }
            let pause = Duration::from_secs(1 << attempt.min(10)).min(LONGEST_PAUSE);
            self.console
                .comment(&format!(
                    "Attempt {attempt} of {attempts} failed, the next one follows in {pause:?}"
                ))
                .await;
            let mut cancel = self.cancel.clone();
            // Either way it goes on: the next attempt sees a cancel.
            let _ = tokio::time::timeout(pause, cancel.wait_for(|cancel| *cancel)).await;
            self.remove_checkout().await?;
            self.prepare_folder().await?;
        }
        self.report_commit().await;
        Ok(())
    }

    async fn checkout_once(&mut self, repository: &str) -> Step {
        if self.cwd.join(".git").is_dir() {
            self.git(&["remote", "set-url", "origin", repository]).await?;
        } else {
            let flags = self.flags("BUILDKITE_GIT_CLONE_FLAGS");
            self.git_with("clone", &flags, &["--", repository, "."]).await?;
        }
        self.clean().await?;
        self.fetch().await?;
        let commit = self.vars.filled("BUILDKITE_COMMIT").unwrap_or_else(|| "HEAD".into());
        let target = if commit == "HEAD" { "FETCH_HEAD" } else { &commit };
        let flags = self.flags("BUILDKITE_GIT_CHECKOUT_FLAGS");
        self.git_with("checkout", &flags, &[target]).await?;
        if self.vars.is_true("BUILDKITE_GIT_SUBMODULES") && self.has_submodules() {
            self.git(&["submodule", "sync", "--recursive"]).await?;
            self.git(&["submodule", "update", "--init", "--recursive", "--force"]).await?;
            self.git(&["submodule", "foreach", "--recursive", "git reset --hard"]).await?;
        }
        self.clean().await
    }

    async fn clean(&mut self) -> Step {
        let flags = self.flags("BUILDKITE_GIT_CLEAN_FLAGS");
        if self.has_submodules() && self.vars.is_true("BUILDKITE_GIT_SUBMODULES") {
            let each = format!("git clean {}", shell_words::join(&flags));
            self.git(&["submodule", "foreach", "--recursive", &each]).await?;
        }
        self.git_with("clean", &flags, &[]).await
    }

    async fn fetch(&mut self) -> Step {
        let flags = self.flags("BUILDKITE_GIT_FETCH_FLAGS");
        let text = |name: &str| self.vars.filled(name).unwrap_or_default();
        let (commit, branch) = (text("BUILDKITE_COMMIT"), text("BUILDKITE_BRANCH"));
        let wanted = wanted(
            &text("BUILDKITE_REFSPEC"),
            &text("BUILDKITE_PULL_REQUEST"),
            &text("BUILDKITE_PIPELINE_PROVIDER"),
            &commit,
            &branch,
        );
        let refs: Vec<&str> =
            ["--", "origin"].into_iter().chain(wanted.refs.iter().map(String::as_str)).collect();
        let fetched = self.git_with("fetch", &flags, &refs).await;
        if fetched.is_ok() || !wanted.is_commit || *self.cancel.borrow() {
            return fetched;
        }
        self.console.comment("The server gives out no single commits: fetching all branches and tags").await;
        self.git_with("fetch", &flags, &["--", "origin", ALL_BRANCHES, ALL_TAGS]).await
    }

    fn has_submodules(&self) -> bool {
        self.cwd.join(".gitmodules").is_file()
    }

    fn flags(&self, name: &str) -> Vec<String> {
        shell_words::split(&self.vars.filled(name).unwrap_or_default()).unwrap_or_default()
    }

    async fn git_with(&mut self, verb: &str, flags: &[String], rest: &[&str]) -> Step {
        let args: Vec<&str> =
            [verb].into_iter().chain(flags.iter().map(String::as_str)).chain(rest.iter().copied()).collect();
        self.git(&args).await
    }

    async fn git(&mut self, args: &[&str]) -> Step {
        self.console.prompt(&format!("git {}", shell_words::join(args))).await;
        let ended = self.spawn("git", args).await;
        if ended.is_success() {
            return Ok(());
        }
        let verb = args.first().unwrap_or(&"");
        self.console.error(&format!("git {verb} exited with status {}", ended.status())).await;
        Err(ended)
    }
}

/// What is fetched.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    refs: Vec<String>,
    /// Only then all branches may bring it too.
    is_commit: bool,
}

fn wanted(refspec: &str, pull_request: &str, provider: &str, commit: &str, branch: &str) -> Wanted {
    let is_pull_request = !pull_request.is_empty() && pull_request != "false" && provider.contains("github");
    let (refs, is_commit) = if !refspec.is_empty() {
        (refspec.split_whitespace().map(String::from).collect(), false)
    } else if is_pull_request {
        (vec![format!("refs/pull/{pull_request}/head")], false)
    } else if commit == "HEAD" {
        (vec![branch.to_owned()], false)
    } else {
        (vec![commit.to_owned()], true)
    };
    Wanted { refs, is_commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_11_what_is_fetched() {
        let table = [
            (("refs/x refs/y", "7", "github", "c0ffee", "main"), vec!["refs/x", "refs/y"], false),
            (("", "7", "github_enterprise", "c0ffee", "main"), vec!["refs/pull/7/head"], false),
            (("", "7", "gitlab", "c0ffee", "main"), vec!["c0ffee"], true),
            (("", "false", "github", "HEAD", "main"), vec!["main"], false),
            (("", "", "github", "c0ffee", "main"), vec!["c0ffee"], true),
        ];
        for ((refspec, pull_request, provider, commit, branch), refs, is_commit) in table {
            let refs = refs.into_iter().map(String::from).collect();
            assert_eq!(wanted(refspec, pull_request, provider, commit, branch), Wanted { refs, is_commit });
        }
    }
}
