//! What an image must hold, and what to do where it does not.

use super::access::SUDO_RULE;

/// A program that jobs, hooks or boot start.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Can agents and jobs do without it?
    pub optional: bool,
    /// Is it one of this project's?
    pub ours: bool,
    /// What it is for, and so what to do.
    pub fix: &'static str,
}

const fn needed(name: &'static str, fix: &'static str) -> Program {
    Program { name, optional: false, ours: false, fix }
}

const fn optional(name: &'static str, fix: &'static str) -> Program {
    Program { name, optional: true, ours: false, fix }
}

const fn ours(name: &'static str, fix: &'static str) -> Program {
    Program { name, optional: false, ours: true, fix }
}

/// Programs, in the order of the report.
pub const PROGRAMS: [Program; 19] = [
    ours("agent-bootstrap", "install it in /usr/local/bin, where units and hooks look for it"),
    ours("build-agent", "install it in /usr/local/bin, beside agent-bootstrap"),
    ours(
        "docker-credential-tidemark",
        "link it to agent-bootstrap in /usr/bin: Docker, and `sudo docker`, find it there",
    ),
    optional(
        "buildkite-agent",
        "give the build a way to Buildkite's packages if this agent is to run; build-agent needs none",
    ),
    needed("bash", "install bash: hooks and commands are run by it"),
    needed("git", "install git: every checkout uses it"),
    needed("git-lfs", "install git-lfs: checkouts of repositories with large files use it"),
    needed("ssh-agent", "install openssh-client: it holds the jobs' SSH keys"),
    needed("ssh-add", "install openssh-client: it loads the jobs' SSH keys"),
    needed("docker", "install the Docker client (docker-cli on Debian)"),
    needed("dockerd", "install the Docker engine (docker.io on Debian)"),
    needed("iptables", "install iptables: the Docker engine does not start without it"),
    needed("aws", "install the AWS CLI: jobs use it"),
    needed("jq", "install jq: jobs use it"),
    needed("curl", "install curl: jobs use it"),
    needed("sudo", "install sudo: the stack's extra sudo rule is for it"),
    needed("mdadm", "install mdadm: boot joins several disks of an instance with it"),
    needed("mkfs.ext4", "install e2fsprogs: boot makes file systems on an instance's disks"),
    needed("mkfs.xfs", "install xfsprogs: boot makes file systems on an instance's disks"),
];

/// Docker's plugins: file name and what to do.
pub const PLUGINS: [(&str, &str); 2] = [
    ("docker-buildx", "install docker-buildx: `docker build` uses it"),
    ("docker-compose", "install docker-compose: `docker compose` is this plugin"),
];

/// Where Docker looks for plugins, below the root.
pub const PLUGIN_FOLDERS: [&str; 4] = [
    "usr/local/lib/docker/cli-plugins",
    "usr/local/libexec/docker/cli-plugins",
    "usr/lib/docker/cli-plugins",
    "usr/libexec/docker/cli-plugins",
];

/// Folders of programs, below the root, as units have them on their `PATH`.
pub const PROGRAM_FOLDERS: [&str; 6] =
    ["usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin", "bin", "sbin"];

/// This version's units: file name and text.
pub const UNITS: [(&str, &str); 6] = [
    ("tidemark-agent@.service", include_str!("../../../units/tidemark-agent@.service")),
    ("tidemark-authorized-keys.service", include_str!("../../../units/tidemark-authorized-keys.service")),
    ("tidemark-authorized-keys.timer", include_str!("../../../units/tidemark-authorized-keys.timer")),
    ("tidemark-boot.service", include_str!("../../../units/tidemark-boot.service")),
    ("tidemark-logs.service", include_str!("../../../units/tidemark-logs.service")),
    ("tidemark-watch.service", include_str!("../../../units/tidemark-watch.service")),
];

/// Settings of the system: path below the root.
pub const SETTINGS: [&str; 4] = [
    SUDO_RULE,
    "etc/sysctl.d/60-tidemark.conf",
    "etc/systemd/journald.conf.d/60-tidemark.conf",
    "etc/systemd/system/sshd-keygen.service.d/60-tidemark.conf",
];

/// The targets that a unit is started with.
pub fn wanted_by(unit: &str) -> impl Iterator<Item = &str> {
    unit.lines().filter_map(|line| line.strip_prefix("WantedBy=")).flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_unit_of_the_project_is_asked_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let asked: BTreeSet<String> = UNITS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, asked, "name the unit in UNITS");
    }

    #[test]
    fn the_image_gets_every_file_that_is_asked_for() {
        let rootfs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packer/rootfs");
        for path in SETTINGS {
            assert!(rootfs.join(path).is_file(), "{path}");
        }
    }
}
