//! The bash hooks in the agent's hooks folder: two lines each, the same for the open-source agent and `build-agent`.

use std::path::Path;

use super::exports::quote;

/// File name in the hooks folder and text, with `PROGRAM` and `ROOT` to be put in by [`script`]. The program's failure
/// fails the job before anything is evaluated.
pub const HOOK_SCRIPTS: [(&str, &str); 3] = [
    (
        "environment",
        "#!/bin/bash\n\
         tidemark_exports=\"$(PROGRAM --root ROOT hook environment)\" || exit $?\n\
         eval \"$tidemark_exports\"\n",
    ),
    (
        "pre-command",
        "#!/bin/bash\n\
         tidemark_exports=\"$(PROGRAM --root ROOT hook pre-command)\" || exit $?\n\
         eval \"$tidemark_exports\"\n",
    ),
    (
        "pre-exit",
        "#!/bin/bash\n\
         PROGRAM --root ROOT hook pre-exit\n",
    ),
];

/// A hook's text with the paths of one instance. `--root` stands in the text so that no job can move it by setting
/// `TIDEMARK_ROOT`.
#[must_use]
pub fn script(template: &str, program: &Path, root: &Path) -> String {
    let quoted = |path: &Path| quote(&path.to_string_lossy());
    // Both in one pass: a path may hold the other's placeholder.
    let pieces = template.split("PROGRAM").map(|piece| piece.replace("ROOT", &quoted(root)));
    pieces.collect::<Vec<_>>().join(&quoted(program))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_scripts_pass_shellcheck() {
        let folder = tempfile::tempdir().unwrap();
        for (name, template) in HOOK_SCRIPTS {
            let path = folder.path().join(name);
            std::fs::write(&path, script(template, Path::new("/usr/bin/agent-bootstrap"), Path::new("/")))
                .unwrap();
            let output = Command::new("shellcheck")
                .arg(&path)
                .output()
                .expect("shellcheck is installed by make setup");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }

    #[test]
    fn the_image_has_these_hooks() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packer/rootfs/etc/buildkite-agent/hooks");
        for (name, template) in HOOK_SCRIPTS {
            let own = script(template, Path::new("/usr/local/bin/agent-bootstrap"), Path::new("/"));
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), own, "{name}");
        }
    }

    #[test]
    fn a_failing_program_stops_the_hook_before_anything_is_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("it's a PROGRAM at ROOT");
        std::fs::write(&program, "#!/bin/bash\necho 'export A=half'\nexit 77\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for (name, template) in &HOOK_SCRIPTS[..2] {
            let text = script(template, &program, folder.path());
            let output = Command::new("bash").args(["-c", &format!("{text}echo reached")]).output().unwrap();
            assert_eq!(output.status.code(), Some(77), "{name}");
            assert_eq!(output.stdout, b"", "{name}");
        }
    }
}
