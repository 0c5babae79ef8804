//! What was seen of an image becomes checks with fix lines. Pure.

use std::path::PathBuf;

use super::access;
use super::contents::{PLUGINS, PROGRAMS, SETTINGS};
use super::observe::{Hook, Image, System, Text, Unit};
use crate::doctor::report::Check;

/// All checks of an image, of a folder only those of Tidemark's own files.
#[must_use]
pub fn checks(image: &Image) -> Vec<Check> {
    let whole = image.system.is_some();
    let programs = PROGRAMS.iter().zip(&image.programs).filter(|(program, _)| whole || program.ours);
    let mut checks: Vec<Check> = programs
        .map(|(program, found)| present(program.name, found.as_ref(), program.fix, program.optional))
        .collect();
    if whole {
        let plugins = PLUGINS.iter().zip(&image.plugins);
        checks.extend(plugins.map(|((name, fix), found)| present(name, found.as_ref(), fix, false)));
    }
    checks.extend(image.units.iter().map(unit));
    checks.extend(image.hooks.iter().map(hook));
    checks.extend(SETTINGS.iter().zip(&image.settings).map(|(path, there)| setting(path, *there)));
    checks.push(access::check(&image.guarded, whole));
    checks.extend(image.system.iter().flat_map(system));
    checks
}

fn present(name: &'static str, found: Option<&PathBuf>, fix: &str, optional: bool) -> Check {
    match found {
        Some(path) => Check::ok(name, path.display().to_string()),
        None if optional => Check::warn(name, "not installed", fix),
        None => Check::fail(name, "not installed", fix),
    }
}

fn unit(unit: &Unit) -> Check {
    match unit.text {
        Text::Missing => Check::fail(
            unit.name,
            "no such unit",
            "install it from agent-bootstrap/units into /etc/systemd/system",
        ),
        Text::Other => Check::fail(
            unit.name,
            "of another version than agent-bootstrap, or changed",
            "install both from one build; put changes into a drop-in folder beside it",
        ),
        Text::Same if unit.not_started_by.is_empty() => Check::ok(unit.name, "installed and enabled"),
        Text::Same => Check::fail(
            unit.name,
            format!("not started by {}", unit.not_started_by.join(", ")),
            format!("systemctl enable {}", unit.name),
        ),
    }
}

fn hook(hook: &Hook) -> Check {
    let fix = "install it from packer/rootfs/etc/buildkite-agent/hooks, mode 0755";
    match (hook.text, hook.executable) {
        (Text::Same, true) => Check::ok(hook.name, "this program's hook"),
        (Text::Same, false) => Check::fail(hook.name, "the hook may not be executed", fix),
        (Text::Missing, _) => Check::fail(hook.name, "no such hook", fix),
        (Text::Other, _) => Check::fail(hook.name, "another hook, that does not call this program", fix),
    }
}

fn setting(path: &'static str, there: bool) -> Check {
    if there {
        return Check::ok(path, "there");
    }
    Check::fail(path, "no such file", "install it from packer/rootfs")
}

fn system(system: &System) -> Vec<Check> {
    let user = match &system.user {
        None => {
            Check::fail("user", "no user buildkite-agent", "make it, with a home and in the group docker")
        }
        Some(user) if !user.docker => Check::fail(
            "user",
            "buildkite-agent is not in the group docker",
            "usermod -aG docker buildkite-agent",
        ),
        Some(user) => Check::ok("user", format!("buildkite-agent at home in {}, {}", user.home, user.shell)),
    };
    let engine = if system.docker_starts {
        Check::ok("engine", "docker.service starts with the system")
    } else {
        Check::fail(
            "engine",
            "docker.service does not start with the system",
            "systemctl enable docker.service",
        )
    };
    let files: Vec<String> = system.identity.iter().map(|path| path.display().to_string()).collect();
    let identity = if files.is_empty() {
        Check::ok("identity", "each instance finds its own")
    } else {
        Check::fail(
            "identity",
            format!("all instances would share {}", files.join(", ")),
            "remove SSH host keys and empty /etc/machine-id: both are made anew at boot",
        )
    };
    vec![user, engine, identity]
}

#[cfg(test)]
mod tests;
