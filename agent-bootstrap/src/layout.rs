//! Where things lie on an instance. Everything is below one root, `/` unless `TIDEMARK_ROOT` says otherwise: the
//! lab's process instances have a folder of their own as root.

use std::path::{Path, PathBuf};

/// The paths of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Paths below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What boot found out about the instance, as JSON: identity, group, queue. No secrets.
    #[must_use]
    pub fn instance_file(&self) -> PathBuf {
        self.root.join("etc/tidemark/instance.json")
    }

    /// Settings of the hooks, `NAME=value` lines, written by boot. The job's environment wins over them, except for
    /// the guarded names (`config.rs`), which protect secrets from the job.
    #[must_use]
    pub fn hook_settings(&self) -> PathBuf {
        self.root.join("etc/tidemark/hooks.env")
    }

    /// Configuration of the agents, in the open-source agent's own form.
    #[must_use]
    pub fn agent_config(&self) -> PathBuf {
        self.root.join("etc/buildkite-agent/buildkite-agent.cfg")
    }

    /// More variables of the agents' environment, `NAME="value"` lines. May hold secrets.
    #[must_use]
    pub fn agent_environment(&self) -> PathBuf {
        self.root.join("etc/buildkite-agent/environment")
    }

    /// The agents' hooks folder.
    #[must_use]
    pub fn hooks(&self) -> PathBuf {
        self.root.join("etc/buildkite-agent/hooks")
    }

    /// Where agents check out and build.
    #[must_use]
    pub fn builds(&self) -> PathBuf {
        self.root.join("var/lib/buildkite-agent/builds")
    }

    /// Home of the agents' user.
    #[must_use]
    pub fn agent_home(&self) -> PathBuf {
        self.root.join("var/lib/buildkite-agent")
    }

    /// State that outlives a reboot.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/tidemark")
    }

    /// What the last boot did and how long it took, as JSON.
    #[must_use]
    pub fn boot_report(&self) -> PathBuf {
        self.state().join("boot.json")
    }

    /// State that a reboot clears: sockets, pid files, caches of tokens, per-job folders.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run/tidemark")
    }

    /// Socket on which `watch` hears that jobs start and end.
    #[must_use]
    pub fn watch_socket(&self) -> PathBuf {
        self.run().join("watch.sock")
    }

    /// Where the Docker engine of this instance answers. Below the root, so never another machine's.
    #[must_use]
    pub fn docker_socket(&self) -> PathBuf {
        self.root.join("run/docker.sock")
    }

    /// A job's own folder (mode 0700): Docker configuration, ssh-agent socket, git credentials. Removed in pre-exit.
    #[must_use]
    pub fn job(&self, job_id: &str) -> PathBuf {
        self.run().join("jobs").join(job_id)
    }

    /// The process that ships the logs.
    #[must_use]
    pub fn logs_pid_file(&self) -> PathBuf {
        self.run().join("logs.pid")
    }

    /// Logs of processes that have no journal.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("var/log/tidemark")
    }
}
