//! The step's command: a script of the checkout, or text for the shell.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Executor;
use super::phases::Step;
use super::process::Ended;

impl Executor {
    /// Runs the command that the server sent: hooks cannot change it.
    pub(super) async fn command(&mut self) -> Step {
        let Some(command) = self.config.command.clone() else {
            self.console.error("No command has been provided; give the step one, or a command hook").await;
            return Err(Ended::Exited(1));
        };
        let script = script_of(&command, &self.cwd);
        if script.is_none() && !self.config.command_eval {
            self.console.error("This agent runs only scripts of the repository (no-command-eval)").await;
            return Err(Ended::Exited(1));
        }
        let line = match &script {
            Some(path) => {
                self.console.open_header("Running script").await;
                if self.config.command_eval {
                    make_executable(path);
                }
                format!("./{}", path.strip_prefix(&self.cwd).unwrap_or(path).display())
            }
            None => {
                self.console.open_header("Running commands").await;
                command
            }
        };
        self.console.prompt(&line).await;
        let line = if script.is_some() { shell_words::quote(&line).into_owned() } else { line };
        let mut shell = self.config.shell.clone();
        shell.push(line);
        let ended = self.spawn(&shell[0], &shell[1..]).await;
        if ended.is_success() {
            return Ok(());
        }
        let how = match ended {
            Ended::Exited(status) => format!("exited with status {status}"),
            Ended::Signaled(signal) => format!("was ended by signal {signal}"),
        };
        self.console.error(&format!("The command {how}")).await;
        Err(ended)
    }
}

/// The file below `cwd` that the command names as a whole, line ends aside.
fn script_of(command: &str, cwd: &Path) -> Option<PathBuf> {
    let name: String = command.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let path = cwd.join(name.strip_prefix("./").unwrap_or(&name));
    let inside = path.canonicalize().ok()?.starts_with(cwd.canonicalize().ok()?);
    Some(path).filter(|path| inside && path.is_file())
}

fn make_executable(path: &Path) {
    if let Ok(found) = path.metadata() {
        let mode = found.permissions().mode() | 0o100;
        // A file that cannot be changed may be executable all the same; the shell tells if not.
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_07_script_or_text() {
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path().join("checkout");
        std::fs::create_dir_all(cwd.join("ci")).unwrap();
        std::fs::write(cwd.join("ci/test.sh"), "").unwrap();
        std::fs::write(folder.path().join("outside.sh"), "").unwrap();
        let table = [
            ("ci/test.sh", true),
            ("./ci/test.sh\n", true),
            ("ci/test.sh --flag", false),
            ("ci", false),
            ("echo hello", false),
            ("../outside.sh", false),
        ];
        for (command, is_script) in table {
            assert_eq!(script_of(command, &cwd).is_some(), is_script, "{command}");
        }
    }
}
