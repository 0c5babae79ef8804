//! From a bare instance to running agents, in phases whose times are reported.

pub mod agent_config;
pub mod fetch;
pub mod files;
pub mod identity;
pub mod phases;
pub mod settings;
pub mod user_data;

use std::path::{Path, PathBuf};

use aws::session::Patience;
use aws::{Imds, Session};
use secrecy::SecretString;

use crate::failure::Failure;
use crate::hooks::scripts::{HOOK_SCRIPTS, script};
use crate::layout::Layout;
use crate::units::{self, AgentUnit, UnitManager};
use files::Owner;
use identity::{Identity, InstanceFile};
use phases::Phases;
use settings::Settings;

/// Arguments of `boot`.
#[derive(Debug, clap::Args)]
pub struct BootArgs {
    /// How agents are run: systemd or processes
    #[arg(long, env = "TIDEMARK_UNIT_MANAGER", hide_env_values = true)]
    unit_manager: Option<String>,
}

/// Runs all phases. A second run changes nothing that is right already and starts nothing twice.
///
/// # Errors
/// The phase that failed, why, and what to do. The instance is then marked unhealthy, so that its group replaces it.
pub async fn run(layout: &Layout, args: BootArgs) -> Result<(), Failure> {
    let units = units::of_machine(layout, args.unit_manager.as_deref())?;
    let mut phases = Phases::new();
    let identity = phases.run("identity", async { Ok(Identity::read(&Imds::new()).await?) }).await;
    let identity = identity.map_err(|failure| Failure {
        message: format!(
            "{}; this instance cannot have itself replaced: boot again when its metadata answers, or terminate it",
            failure.message
        ),
        ..failure
    })?;
    let session = phases
        .run("session", async { Ok(Session::load(Some(&identity.region), Patience::default()).await?) })
        .await?;
    let booted = Boot { layout, session: &session, units: &*units }.run(identity.clone(), &mut phases).await;
    if booted.is_err() {
        mark_unhealthy(&session, &identity.instance_id).await;
    }
    booted?;
    phases.report(layout)
}

struct Boot<'a> {
    layout: &'a Layout,
    session: &'a Session,
    units: &'a dyn UnitManager,
}

impl Boot<'_> {
    async fn run(&self, mut identity: Identity, phases: &mut Phases) -> Result<(), Failure> {
        phases.run("group", async { Ok(identity.find_group(self.session).await?) }).await?;
        let settings = phases.run("settings", self.settings()).await?;
        let token =
            phases.run("agent token", fetch::agent_token(self.session, &settings.agents.token)).await?;
        let program = phases.run("files", async { self.files(identity.clone(), &settings, &token) }).await?;
        phases.run("agents", async { self.start(&identity, &settings, &program) }).await
    }

    async fn settings(&self) -> Result<Settings, Failure> {
        let user_data = Imds::new().get("user-data").await?.unwrap_or_default();
        let parts = user_data::settings_parts(&user_data).map_err(|e| Failure::config(e.to_string()))?;
        let mut resolved = Vec::with_capacity(parts.len());
        for part in parts {
            resolved.push(fetch::resolve(self.session, part).await?);
        }
        settings::read(&resolved).map_err(|faults| {
            Failure::config(format!("{faults}; correct the stack's Settings and update the stack"))
        })
    }

    fn files(
        &self,
        identity: Identity,
        settings: &Settings,
        token: &SecretString,
    ) -> Result<PathBuf, Failure> {
        let layout = self.layout;
        let own = own_folder()?;
        let program = agent_program(&settings.agents.program, &own)?;
        let (root, agents) = (Owner::own(), Owner::of_agents());
        let instance = InstanceFile::new(identity.clone(), settings, program.to_string_lossy().into_owned());
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
        let config = agent_config::agent_config(layout, &identity, settings, token);
        files::file(&layout.agent_config(), config.as_bytes(), 0o640, agents)?;
        let hook_settings = agent_config::hook_settings(&settings.hooks_env);
        files::file(&layout.hook_settings(), hook_settings.as_bytes(), 0o644, root)?;
        for (name, template) in HOOK_SCRIPTS {
            let text = script(template, &own.join("agent-bootstrap"), layout.root());
            files::file(&layout.hooks().join(name), text.as_bytes(), 0o755, root)?;
        }
        link_credential_helper(&own)?;
        // Last, since `watch` waits for it.
        let text = serde_json::to_string_pretty(&instance).map_err(|e| Failure::failed(e.to_string()))?;
        files::file(&layout.instance_file(), text.as_bytes(), 0o644, root)?;
        Ok(program)
    }

    fn start(&self, identity: &Identity, settings: &Settings, program: &Path) -> Result<(), Failure> {
        for number in 1..=settings.agents.count {
            let name = agent_config::agent_name(&settings.stack, &identity.instance_id, number);
            self.units.start(&AgentUnit { number, name, program: program.to_owned() })?;
        }
        Ok(())
    }
}

fn own_folder() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::failed(format!("where this program lies cannot be told: {e}")))?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}

fn agent_program(name: &str, own: &Path) -> Result<PathBuf, Failure> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let search: Vec<PathBuf> =
        std::iter::once(own.to_owned()).chain(std::env::split_paths(&on_path)).collect();
    files::program(name, &search).ok_or_else(|| {
        Failure::config(format!(
            "agent-program: no program `{name}` beside agent-bootstrap or on PATH; install it in the image or name \
             another one in the setting `agent-program`"
        ))
    })
}

/// On an AMI the link is part of the image and this folder may be read-only; then it is there already.
fn link_credential_helper(own: &Path) -> Result<(), Failure> {
    files::link(&own.join("docker-credential-tidemark"), Path::new("agent-bootstrap"))
}

/// The group then replaces this instance. Nothing more can be done if the call fails, so that is only said.
async fn mark_unhealthy(session: &Session, instance: &str) {
    let call = session
        .autoscaling()
        .set_instance_health()
        .instance_id(instance)
        .health_status("Unhealthy")
        .should_respect_grace_period(false)
        .send();
    match call.await {
        Ok(_) => eprintln!("boot: {instance} is marked unhealthy; its group replaces it"),
        Err(error) => {
            let error = aws::CallError::new(&error, "autoscaling:SetInstanceHealth", instance);
            eprintln!("boot: {instance} could not be marked unhealthy: {error}; terminate it by hand");
        }
    }
}
