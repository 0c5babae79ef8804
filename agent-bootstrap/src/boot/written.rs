//! The phase `files`: everything that agents, hooks and `watch` read.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use secrecy::SecretString;

use super::files::{self, Owner};
use super::identity::{Identity, InstanceFile};
use super::settings::{AgentSettings, Settings};
use super::{access, agent_config};
use crate::failure::Failure;
use crate::hooks::scripts::{HOOK_SCRIPTS, script};
use crate::layout::Layout;
use crate::secrets::env_file::Assignment;

/// What goes into the files.
#[derive(Debug)]
pub struct Contents<'a> {
    /// Who the instance is.
    pub identity: &'a Identity,
    /// What it is to be.
    pub settings: &'a Settings,
    /// The agents' token.
    pub token: &'a SecretString,
    /// More variables of their environment.
    pub environment: &'a [Assignment],
    /// The version of Docker's daemon, if there is one.
    pub docker: Option<&'a str>,
}

/// Writes folders, the agents' configuration and the hooks; the agent program's full path. Writing them again changes
/// nothing but what is different.
///
/// # Errors
/// Names the file; or there is no such agent program.
pub fn write(layout: &Layout, contents: &Contents<'_>) -> Result<PathBuf, Failure> {
    let settings = contents.settings;
    let own = own_folder()?;
    let program = agent_program(&settings.agents, &own)?;
    let (root, agents) = (Owner::own(), Owner::of_agents());
    for (folder, mode, owner) in [
        (layout.instance_file().parent().map(PathBuf::from), 0o755, root),
        (Some(layout.state()), 0o755, root),
        (Some(layout.run()), 0o755, root),
        // Jobs' hooks write here, as the agents' user.
        (Some(layout.run().join("jobs")), 0o700, agents),
        (Some(layout.run().join("ecr")), 0o700, agents),
        (Some(layout.hooks()), 0o755, root),
        (Some(layout.agent_home()), 0o755, agents),
        (Some(layout.builds()), 0o755, agents),
        (Some(layout.logs()), 0o755, root),
    ] {
        folder.map_or(Ok(()), |folder| files::folder(&folder, mode, owner))?;
    }
    let keep = settings.agents.keep_job_processes;
    let config = agent_config::agent_config(
        layout,
        contents.identity,
        settings,
        contents.token,
        contents.docker,
        &agent_config::bootstrap_script(&own.join("agent-bootstrap"), &program, keep),
    );
    files::file(&layout.agent_config(), config.as_bytes(), 0o640, agents)?;
    let environment = agent_config::environment(contents.environment);
    files::file(&layout.agent_environment(), environment.as_bytes(), 0o600, root)?;
    if let Some(mirrors) = &settings.agents.open_source.git_mirrors_path {
        let mirrors = layout.root().join(mirrors.trim_start_matches('/'));
        files::folder(&mirrors, 0o755, agents)?;
    }
    access::allow_sudo(layout, settings.access.sudo_rule.as_deref())?;
    let hook_settings = agent_config::hook_settings(&settings.hooks_env);
    files::file(&layout.hook_settings(), hook_settings.as_bytes(), 0o644, root)?;
    for (name, template) in HOOK_SCRIPTS {
        let text = script(template, &own.join("agent-bootstrap"), layout.root());
        files::file(&layout.hooks().join(name), text.as_bytes(), 0o755, root)?;
    }
    // On an AMI the link is part of the image and this folder may be read-only; then it is there already.
    files::link(&own.join("docker-credential-tidemark"), Path::new("agent-bootstrap"))?;
    Ok(program)
}

/// Writes the instance file: from now on `watch` looks after this instance.
///
/// # Errors
/// Names the file.
pub fn introduce(
    layout: &Layout,
    identity: &Identity,
    settings: &Settings,
    program: &Path,
    booted_in: Option<SignedDuration>,
) -> Result<(), Failure> {
    let program = program.to_string_lossy().into_owned();
    let instance = InstanceFile::new(identity.clone(), settings, program, booted_in);
    let text = serde_json::to_string_pretty(&instance).map_err(|e| Failure::failed(e.to_string()))?;
    files::file(&layout.instance_file(), text.as_bytes(), 0o644, Owner::own())
}

fn own_folder() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::failed(format!("where this program lies cannot be told: {e}")))?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}

/// A channel of the open-source agent lies beside it as `buildkite-agent-<channel>`; jobs, which call it by its plain
/// name, get the same one.
fn agent_program(settings: &AgentSettings, own: &Path) -> Result<PathBuf, Failure> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let search: Vec<PathBuf> =
        std::iter::once(own.to_owned()).chain(std::env::split_paths(&on_path)).collect();
    let plain = &settings.program;
    let Some(release) = settings.open_source.release else {
        return files::program(plain, &search).ok_or_else(|| {
            Failure::config(format!(
                "agent-program: no program `{plain}` beside agent-bootstrap or on PATH; install it in the image or name \
                 another one in the setting `agent-program`"
            ))
        });
    };
    let name = format!("{plain}-{release}");
    let program = files::program(&name, &search).ok_or_else(|| {
        Failure::config(format!(
            "agent-release: this image has no program `{name}`; bake it, or set another agent-release"
        ))
    })?;
    if let (Some(folder), Some(target), Some(link)) =
        (program.parent(), program.file_name(), Path::new(plain).file_name())
    {
        files::link(&folder.join(link), Path::new(target))?;
    }
    Ok(program)
}
