//! Tells the server once what the build's commit is, as meta-data `buildkite:git:commit`.

use agent_api::client::{ApiError, Client};

use super::Executor;
use crate::tool;

const KEY: &str = "buildkite:git:commit";

impl Executor {
    /// A failure is a line in the log: the job can run without.
    pub(super) async fn report_commit(&mut self) {
        if self.vars.is_true("BUILDKITE_COMMIT_RESOLVED") {
            return;
        }
        if let Err(error) = self.try_report_commit().await {
            self.console.comment(&format!("The commit could not be reported: {error}")).await;
        }
    }

    async fn try_report_commit(&self) -> Result<(), ApiError> {
        let client: Client = tool::client_of(|name| self.vars.filled(name))?;
        if client.meta_data_exists(&self.config.job_id, KEY).await? {
            return Ok(());
        }
        let shown = tokio::process::Command::new("git")
            .args(["--no-pager", "log", "-1", "HEAD", "-s", "--no-color"])
            .arg("--format=commit %H%nabbrev-commit %h%nAuthor: %an <%ae>%n%n%w(0,4,4)%B")
            .current_dir(&self.cwd)
            .env_clear()
            .envs(self.vars.iter())
            .stdin(std::process::Stdio::null())
            .output()
            .await;
        match shown {
            Ok(output) if output.status.success() => {
                client.meta_data_set(&self.config.job_id, KEY, &String::from_utf8_lossy(&output.stdout)).await
            }
            Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

fn failed(cause: &str) -> ApiError {
    ApiError::Request { call: "git log", cause: cause.to_owned() }
}
