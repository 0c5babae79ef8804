//! Looks at an image below its root. Decides nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::access::{self, Guarded, SUDO_RULE};
use super::contents::{PLUGIN_FOLDERS, PLUGINS, PROGRAM_FOLDERS, PROGRAMS, SETTINGS, UNITS, wanted_by};
use crate::boot::files::AGENT_USER;
use crate::hooks::scripts::{HOOK_SCRIPTS, script};
use crate::layout::Layout;

/// Where agent-bootstrap lies on an image.
pub const PROGRAM: &str = "/usr/local/bin/agent-bootstrap";

/// A file that should have a certain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Not there, or not readable.
    Missing,
    /// There with another text.
    Other,
    /// As it should be.
    Same,
}

/// A unit of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// File name.
    pub name: &'static str,
    /// Is it this version's?
    pub text: Text,
    /// Targets that should start it and do not.
    pub not_started_by: Vec<String>,
}

/// A hook of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: &'static str,
    /// Does it call this program?
    pub text: Text,
    /// May it be executed?
    pub executable: bool,
}

/// The agents' user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUser {
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Is it in the group `docker`?
    pub docker: bool,
}

/// What is asked of a whole system only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The agents' user, if there is one.
    pub user: Option<AgentUser>,
    /// Does Docker start with the system?
    pub docker_starts: bool,
    /// Files that would give all instances of the image one identity.
    pub identity: Vec<PathBuf>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// In the order of [`PROGRAMS`].
    pub programs: Vec<Option<PathBuf>>,
    /// In the order of [`PLUGINS`].
    pub plugins: Vec<Option<PathBuf>>,
    /// In the order of [`UNITS`].
    pub units: Vec<Unit>,
    /// In the order of [`HOOK_SCRIPTS`].
    pub hooks: Vec<Hook>,
    /// In the order of [`SETTINGS`].
    pub settings: Vec<bool>,
    /// Our own programs, units, hooks and the sudo rule, as far as they are there.
    pub guarded: Vec<Guarded>,
    /// Absent for a folder on someone's machine.
    pub system: Option<System>,
}

/// Looks below `root`.
#[must_use]
pub fn image(root: &Path) -> Image {
    let units = root.join("etc/systemd/system");
    let hooks = Layout::below(root).hooks();
    let unit = |&(name, text): &(&'static str, &str)| Unit {
        name,
        text: compared(&units.join(name), text),
        not_started_by: wanted_by(text)
            .filter(|target| !starts(&units, target, name))
            .map(str::to_owned)
            .collect(),
    };
    let hook = |&(name, template): &(&'static str, &str)| Hook {
        name,
        text: compared(&hooks.join(name), &script(template, Path::new(PROGRAM), Path::new("/"))),
        executable: is_executable(&hooks.join(name)),
    };
    let programs: Vec<_> =
        PROGRAMS.iter().map(|program| find(root, &PROGRAM_FOLDERS, program.name)).collect();
    let ours = PROGRAMS.iter().zip(&programs).filter(|(program, _)| program.ours);
    let ours = ours.filter_map(|(_, found)| found.clone());
    let guarded = ours
        .chain(UNITS.iter().map(|(name, _)| units.join(name)))
        .chain(HOOK_SCRIPTS.iter().map(|(name, _)| hooks.join(name)))
        .chain([root.join(SUDO_RULE)]);
    Image {
        guarded: access::look(guarded),
        programs,
        plugins: PLUGINS.iter().map(|(name, _)| find(root, &PLUGIN_FOLDERS, name)).collect(),
        units: UNITS.iter().map(unit).collect(),
        hooks: HOOK_SCRIPTS.iter().map(hook).collect(),
        settings: SETTINGS.iter().map(|path| root.join(path).is_file()).collect(),
        system: (root == Path::new("/")).then(|| system(root)),
    }
}

fn system(root: &Path) -> System {
    let units = root.join("etc/systemd/system");
    System {
        user: agent_user(root),
        docker_starts: starts(&units, "multi-user.target", "docker.service"),
        identity: identity(root),
    }
}

fn agent_user(root: &Path) -> Option<AgentUser> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).ok()?;
    let fields = row(&passwd, AGENT_USER)?;
    let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let docker = row(&groups, "docker")
        .and_then(|group| group.get(3).map(|members| members.split(',').any(|member| member == AGENT_USER)))
        .unwrap_or(false);
    Some(AgentUser { home: (*fields.get(5)?).to_owned(), shell: (*fields.get(6)?).to_owned(), docker })
}

/// The fields of a name's row in a table such as `/etc/passwd`.
fn row<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    table.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)
}

fn identity(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let machine = root.join("etc/machine-id");
    let id = fs::read_to_string(&machine).unwrap_or_default();
    // systemd's own word for an image that never booted.
    if !id.trim().is_empty() && id.trim() != "uninitialized" {
        found.push(machine);
    }
    let keys = fs::read_dir(root.join("etc/ssh")).into_iter().flatten().flatten().map(|entry| entry.path());
    found.extend(keys.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && name.ends_with("_key")
    }));
    found.sort();
    found
}

/// Is the unit linked where the target looks for what it starts?
fn starts(units: &Path, target: &str, unit: &str) -> bool {
    units.join(format!("{target}.wants")).join(unit).symlink_metadata().is_ok()
}

fn compared(path: &Path, text: &str) -> Text {
    match fs::read_to_string(path) {
        Err(_) => Text::Missing,
        Ok(found) if found == text => Text::Same,
        Ok(_) => Text::Other,
    }
}

fn find(root: &Path, folders: &[&str], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| root.join(folder).join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str, mode: u32) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_empty_folder_holds_nothing() {
        let root = tempfile::tempdir().unwrap();
        let seen = image(root.path());
        assert!(seen.programs.iter().chain(&seen.plugins).all(Option::is_none));
        assert!(seen.units.iter().all(|unit| unit.text == Text::Missing));
        assert!(seen.hooks.iter().all(|hook| hook.text == Text::Missing && !hook.executable));
        assert!(!seen.settings.contains(&true));
        assert_eq!(seen.system, None);
    }

    #[test]
    fn programs_plugins_units_and_hooks_are_found_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        put(at, "usr/local/bin/agent-bootstrap", "", 0o755);
        put(at, "usr/sbin/mdadm", "", 0o755);
        put(at, "usr/bin/git", "not executable", 0o644);
        put(at, "usr/libexec/docker/cli-plugins/docker-compose", "", 0o755);
        let boot = UNITS.iter().position(|(name, _)| *name == "tidemark-boot.service").unwrap();
        let watch = UNITS.iter().position(|(name, _)| *name == "tidemark-watch.service").unwrap();
        put(at, "etc/systemd/system/tidemark-boot.service", UNITS[boot].1, 0o644);
        put(at, "etc/systemd/system/tidemark-watch.service", "[Unit]\n", 0o644);
        std::os::unix::fs::symlink("absent", at.join("link")).unwrap();
        fs::create_dir_all(at.join("etc/systemd/system/multi-user.target.wants")).unwrap();
        let wanted = at.join("etc/systemd/system/multi-user.target.wants/tidemark-boot.service");
        std::os::unix::fs::symlink("../tidemark-boot.service", wanted).unwrap();
        let own = script(HOOK_SCRIPTS[0].1, Path::new(PROGRAM), Path::new("/"));
        put(at, "etc/buildkite-agent/hooks/environment", &own, 0o755);
        put(at, "etc/buildkite-agent/hooks/pre-exit", "#!/bin/bash\n", 0o644);

        let seen = image(at);
        let by_name = |name: &str| {
            let index = PROGRAMS.iter().position(|program| program.name == name).unwrap();
            seen.programs[index].clone()
        };
        assert_eq!(by_name("agent-bootstrap"), Some(at.join("usr/local/bin/agent-bootstrap")));
        assert_eq!(by_name("mdadm"), Some(at.join("usr/sbin/mdadm")));
        assert_eq!(by_name("git"), None);
        assert_eq!(seen.plugins, [None, Some(at.join("usr/libexec/docker/cli-plugins/docker-compose"))]);
        let units: Vec<_> = seen.units.iter().map(|unit| (unit.text, unit.not_started_by.len())).collect();
        assert_eq!((units[boot], units[watch]), ((Text::Same, 0), (Text::Other, 1)));
        let hooks: Vec<_> = seen.hooks.iter().map(|hook| (hook.text, hook.executable)).collect();
        assert_eq!(hooks, [(Text::Same, true), (Text::Missing, false), (Text::Other, false)]);
    }

    #[test]
    fn a_system_has_its_user_its_services_and_no_identity_yet() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        assert_eq!(system(at), System { user: None, docker_starts: false, identity: Vec::new() });
        let user =
            "root:x:0:0::/root:/bin/sh\nbuildkite-agent:x:997:997::/var/lib/buildkite-agent:/bin/bash\n";
        put(at, "etc/passwd", user, 0o644);
        put(at, "etc/group", "root:x:0:\ndocker:x:996:admin,buildkite-agent\n", 0o644);
        put(at, "etc/machine-id", "uninitialized\n", 0o444);
        put(at, "etc/ssh/ssh_host_ed25519_key.pub", "", 0o644);
        put(at, "etc/systemd/system/multi-user.target.wants/docker.service", "", 0o644);
        let home = "/var/lib/buildkite-agent".to_owned();
        let user = Some(AgentUser { home, shell: "/bin/bash".into(), docker: true });
        assert_eq!(system(at), System { user, docker_starts: true, identity: Vec::new() });

        put(at, "etc/group", "docker:x:996:buildkite-agents\n", 0o644);
        put(at, "etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o644);
        put(at, "etc/ssh/ssh_host_ed25519_key", "", 0o600);
        let seen = system(at);
        assert!(!seen.user.unwrap().docker);
        assert_eq!(seen.identity, [at.join("etc/machine-id"), at.join("etc/ssh/ssh_host_ed25519_key")]);
    }
}
