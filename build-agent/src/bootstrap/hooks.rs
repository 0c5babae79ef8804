//! Hooks: finding them, running them in a bash that sources them, and taking over what they changed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::Executor;
use super::config::PROTECTED;
use super::phases::Step;
use super::process::Ended;
use crate::vars::{Changes, Vars};

/// Whose hook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The instance's, in the hooks folder.
    Agent,
    /// The checkout's, in `.buildkite/hooks`.
    Repository,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Repository => "repository",
        }
    }
}

impl Executor {
    /// Runs the hooks of a phase in order; the first that fails ends the phase.
    pub(super) async fn hooks(&mut self, phase: &str, scopes: &[Scope]) -> Step {
        for scope in scopes {
            if let Some(path) = self.find_hook(*scope, phase) {
                self.hook(*scope, phase, &path).await?;
            }
        }
        Ok(())
    }

    /// The hook's file, if there is one.
    pub(super) fn find_hook(&self, scope: Scope, phase: &str) -> Option<PathBuf> {
        let folder = match scope {
            Scope::Agent => self.config.hooks_path.clone()?,
            Scope::Repository => self.checkout_path().join(".buildkite/hooks"),
        };
        Some(folder.join(phase)).filter(|path| path.is_file())
    }

    /// Runs one hook.
    pub(super) async fn hook(&mut self, scope: Scope, phase: &str, path: &Path) -> Step {
        self.console.header(&format!("Running {} {phase} hook", scope.name())).await;
        if scope == Scope::Repository && !self.config.local_hooks {
            self.console.error("Hooks of the repository are off on this agent (no-local-hooks)").await;
            return Err(Ended::Exited(1));
        }
        let ended = self.source(path).await;
        self.vars.set("BUILDKITE_LAST_HOOK_EXIT_STATUS", ended.status().to_string());
        if ended.is_success() {
            return Ok(());
        }
        self.console
            .error(&format!("The {} {phase} hook exited with status {}", scope.name(), ended.status()))
            .await;
        Err(ended)
    }

    async fn source(&mut self, path: &Path) -> Ended {
        self.console.prompt(&path.display().to_string()).await;
        let dump = self.folder.join("hook-env");
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                self.console.error(&format!("Cannot find this program: {error}")).await;
                return Ended::Exited(1);
            }
        };
        let _ = std::fs::remove_file(&dump);
        let script = wrapper(path, &program, &dump);
        let ended = self.spawn("/bin/bash", &["-c".as_ref(), script.as_os_str()]).await;
        if ended.is_success() {
            self.take_over(&dump).await;
        }
        let _ = std::fs::remove_file(&dump);
        ended
    }

    /// A hook that left by `exit` wrote no dump, and changes nothing.
    async fn take_over(&mut self, dump: &Path) {
        let Ok(dump) = std::fs::read(dump) else { return };
        let Some(end) = dump.iter().position(|byte| *byte == 0) else { return };
        let cwd = PathBuf::from(OsString::from_vec(dump[..end].to_vec()));
        let changes = self.vars.changes_to(&Vars::from_dump(&dump[end + 1..]));
        let (changes, dropped) = without_protected(changes);
        for name in dropped {
            self.console.comment(&format!("{name} is protected: the hook's change is dropped")).await;
        }
        self.console.hide_named(&changes.set, &self.config.redacted_vars).await;
        for (name, _) in changes.set.iter() {
            let how = if self.vars.contains(&name.to_string_lossy()) { "changed" } else { "added" };
            self.console.comment(&format!("{} {how}", name.to_string_lossy())).await;
        }
        for name in &changes.unset {
            self.console.comment(&format!("{} removed", name.to_string_lossy())).await;
        }
        self.vars.apply(changes);
        if cwd.is_dir() {
            self.cwd = cwd;
        }
    }
}

/// Sources the hook without errexit and keeps its status; the dump tells what it changed.
fn wrapper(hook: &Path, program: &Path, dump: &Path) -> OsString {
    let mut script = OsString::from(". ");
    for (path, then) in
        [(hook, "\nbuild_agent_status=$?\n"), (program, " env-dump "), (dump, "\nexit $build_agent_status\n")]
    {
        script.push(quote(path));
        script.push(then);
    }
    script
}

fn quote(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_encoded_bytes();
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

fn without_protected(mut changes: Changes) -> (Changes, Vec<&'static str>) {
    let mut dropped = Vec::new();
    for name in PROTECTED {
        let unset = changes.unset.iter().position(|other| other == name).map(|at| changes.unset.remove(at));
        if changes.set.remove(name).is_some() || unset.is_some() {
            dropped.push(name);
        }
    }
    (changes, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_variables_stay() {
        let changes = Changes {
            set: Vars::from_iter([("BUILDKITE_SHELL", "sh"), ("A", "1")]),
            unset: vec!["BUILDKITE_HOOKS_PATH".into(), "B".into()],
        };
        let (kept, dropped) = without_protected(changes);
        assert_eq!(kept, Changes { set: Vars::from_iter([("A", "1")]), unset: vec!["B".into()] });
        assert_eq!(dropped, ["BUILDKITE_HOOKS_PATH", "BUILDKITE_SHELL"]);
    }

    #[test]
    fn paths_with_quotes() {
        assert_eq!(quote(Path::new("/a 'b'")), r"'/a '\''b'\'''");
    }
}
