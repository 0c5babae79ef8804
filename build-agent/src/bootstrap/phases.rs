//! The order of a job's phases and what follows from the failure of each.

use super::Executor;
use super::hooks::Scope;
use super::process::Ended;

/// `Err` is a phase that failed, with how.
pub(super) type Step = Result<(), Ended>;

const BOTH: [Scope; 2] = [Scope::Agent, Scope::Repository];

impl Executor {
    /// The whole job. A failing pre-exit hook has the last word on the status.
    pub(super) async fn run(&mut self) -> Ended {
        let checkout = self.checkout_path().into_os_string();
        self.vars.set("BUILDKITE_BUILD_CHECKOUT_PATH", checkout);
        self.greet().await;
        let work = self.work().await;
        let exit = self.hooks("pre-exit", &BOTH).await;
        exit.and(work).err().unwrap_or(Ended::Exited(0))
    }

    async fn greet(&self) {
        let Some(ignored) = self.vars.get("BUILDKITE_IGNORED_ENV") else { return };
        self.console.header("Detected protected environment variables").await;
        self.console.comment("The agent's own values were kept for these").await;
        for name in ignored.split(',') {
            self.console.comment(name).await;
        }
    }

    async fn work(&mut self) -> Step {
        self.hooks("environment", &[Scope::Agent]).await?;
        self.refuse_plugins().await?;
        self.unless_cancelled()?;
        self.checkout_phase().await?;
        self.unless_cancelled()?;
        let command = self.command_phase().await;
        let artifacts = self.artifact_phase().await;
        command.and(artifacts)
    }

    fn unless_cancelled(&self) -> Step {
        if *self.cancel.borrow() { Err(Ended::Signaled(self.config.cancel_signal as i32)) } else { Ok(()) }
    }

    async fn refuse_plugins(&mut self) -> Step {
        if self.vars.filled("BUILDKITE_PLUGINS").is_none() {
            return Ok(());
        }
        self.console
            .error("This step has plugins, and this agent cannot run plugins yet; remove them from the step")
            .await;
        Err(Ended::Exited(1))
    }

    async fn checkout_phase(&mut self) -> Step {
        self.hooks("pre-checkout", &[Scope::Agent]).await?;
        self.prepare_folder().await?;
        match self.find_hook(Scope::Agent, "checkout") {
            Some(path) => self.hook(Scope::Agent, "checkout", &path).await?,
            None => self.checkout().await?,
        }
        self.hooks("post-checkout", &BOTH).await
    }

    async fn command_phase(&mut self) -> Step {
        self.hooks("pre-command", &BOTH).await?;
        self.unless_cancelled()?;
        let repository = self.find_hook(Scope::Repository, "command").map(|path| (Scope::Repository, path));
        let hook = repository.or_else(|| Some((Scope::Agent, self.find_hook(Scope::Agent, "command")?)));
        let command = match hook {
            Some((scope, path)) => self.hook(scope, "command", &path).await,
            None => self.command().await,
        };
        let status = command.err().map_or(0, Ended::status);
        self.vars.set("BUILDKITE_COMMAND_EXIT_STATUS", status.to_string());
        self.hooks("post-command", &BOTH).await.and(command)
    }

    /// Runs also after a failed command, if the step has artifacts.
    async fn artifact_phase(&mut self) -> Step {
        if self.vars.filled("BUILDKITE_ARTIFACT_PATHS").is_none() {
            return Ok(());
        }
        self.hooks("pre-artifact", &BOTH).await?;
        self.console.header("Uploading artifacts").await;
        self.console
            .error("This agent cannot upload artifacts yet; remove artifact_paths from the step")
            .await;
        Err(Ended::Exited(1))
    }
}
