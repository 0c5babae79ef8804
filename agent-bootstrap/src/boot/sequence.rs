//! Which phase needs what of which other one. What need not wait runs side by side.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use aws::session::Patience;
use aws::{Imds, Session};
use jiff::{SignedDuration, Timestamp};
use lifecycle::AwsState;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::bootstrap_script::{self, Ran};
use super::ends::Ends;
use super::identity::{Identity, InstanceFile};
use super::phases::{self, Phases};
use super::reference::Reference;
use super::report::Report;
use super::settings::{self, EndSettings, Settings};
use super::written::{self, Contents};
use super::{access, agent_config, docker, fetch, storage, user_data};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::secrets::env_file::{self, Assignment};
use crate::units::{AgentUnit, Machine, UnitManager};
use crate::watch::metadata::{ImdsMetadata, Metadata as _};

/// Time from one look at the group's intention to the next, in a warm pool.
const WARM_LOOK: Duration = Duration::from_secs(1);

/// An environment that is larger is none that a process could be started with.
const MOST_ENVIRONMENT: usize = 128 * 1024;

/// One attempt a call: the phases try again, and know why.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(10),
    attempts: 1,
};

/// How a boot that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Agents were started.
    Ready,
    /// The group ends the instance instead.
    NotWanted,
}

/// What the boot knows so far, for its ends.
#[derive(Debug, Clone, Default)]
pub struct Known {
    identity: Option<Identity>,
    session: Option<Session>,
    ends: EndSettings,
}

impl Known {
    /// Those who are told how it ends; none as long as it does not know itself.
    #[must_use]
    pub fn ends(&self) -> Option<Ends<'_>> {
        let (identity, session) = self.identity.as_ref().zip(self.session.as_ref())?;
        Some(Ends { session, identity, settings: &self.ends })
    }
}

/// What was fetched and made ready side by side.
struct Parts {
    token: SecretString,
    environment: Vec<Assignment>,
    script: Option<Zeroizing<Vec<u8>>>,
    docker: Option<String>,
}

/// An instance that has everything but running agents.
struct Prepared {
    identity: Identity,
    settings: Settings,
    program: PathBuf,
}

/// One boot.
pub struct Sequence<'a> {
    layout: &'a Layout,
    units: &'a dyn UnitManager,
    machine: &'a dyn Machine,
    budget: Duration,
    imds: Imds,
    phases: Phases,
    known: RefCell<Known>,
    /// In the warm pool.
    waited: Cell<bool>,
}

impl<'a> Sequence<'a> {
    /// Starts the clock.
    #[must_use]
    pub fn new(
        layout: &'a Layout,
        units: &'a dyn UnitManager,
        machine: &'a dyn Machine,
        budget: Duration,
    ) -> Self {
        let phases = Phases::new(budget);
        let (known, waited) = (RefCell::default(), Cell::default());
        Self { layout, units, machine, budget, imds: Imds::new(), phases, known, waited }
    }

    /// What is known by now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// The boot so far.
    #[must_use]
    pub fn report(&self, error: Option<String>, now: Timestamp) -> Report {
        let instance = self.known.borrow().identity.as_ref().map(|i| i.instance_id.clone());
        Report::new(&self.phases, instance, error, now)
    }

    /// Prepares the instance and starts its agents. In a warm pool it waits in between until the group wants it in
    /// service, and then prepares it anew: token and settings may have changed meanwhile.
    ///
    /// # Errors
    /// The phase that failed, and why.
    pub async fn run(&self) -> Result<Ended, Failure> {
        loop {
            let prepared = self.prepare().await?;
            let target = self.phases.run(phases::LAUNCH_ACTION, || self.proceed()).await?;
            match target {
                Some(target) if target.is_leaving() => return Ok(Ended::NotWanted),
                Some(target) if target.is_warmed() => {
                    eprintln!("boot: prepared; agents start when the group wants this instance in service");
                    self.until_in_service().await;
                    self.phases.restart(self.budget);
                    self.waited.set(true);
                }
                _ => {
                    self.phases.run(phases::AGENTS, async || self.start(&prepared)).await?;
                    return Ok(Ended::Ready);
                }
            }
        }
    }

    async fn prepare(&self) -> Result<Prepared, Failure> {
        let (mut identity, user_data) =
            self.phases.run(phases::IDENTITY, async || self.metadata().await).await?;
        self.known.borrow_mut().identity = Some(identity.clone());
        let region = identity.region.clone();
        let session = self
            .phases
            .run(phases::SESSION, async || Ok(Session::load(Some(&region), PATIENCE).await?))
            .await?;
        self.known.borrow_mut().session = Some(session.clone());

        let group = self.phases.run(phases::GROUP, async || Ok(identity.find_group(&session).await?));
        let settings = self.phases.run(phases::SETTINGS, async || self.settings(&session, &user_data).await);
        let (group, settings) = tokio::try_join!(group, settings)?;
        identity.group = group;
        if let Some(budget) = settings.boot_timeout {
            self.phases.limit(budget);
        }
        {
            let mut known = self.known.borrow_mut();
            known.identity = Some(identity.clone());
            known.ends = settings.ends.clone();
        }

        let parts = self.parts(&session, &settings).await?;
        let contents = Contents {
            identity: &identity,
            settings: &settings,
            token: &parts.token,
            environment: &parts.environment,
            docker: parts.docker.as_deref(),
        };
        let program = self.phases.run(phases::FILES, async || written::write(self.layout, &contents)).await?;
        if let (Some(from), Some(script)) = (&settings.startup.bootstrap_script, &parts.script) {
            self.run_script(&identity, from, script).await?;
        }
        Ok(Prepared { identity, settings, program })
    }

    /// None of these needs another one, but Docker, whose folder may lie on the instance storage.
    async fn parts(&self, session: &Session, settings: &Settings) -> Result<Parts, Failure> {
        let (layout, startup, access) = (self.layout, &settings.startup, &settings.access);
        let agents_run = self.agents_run();
        let token = self
            .phases
            .run(phases::TOKEN, async || fetch::agent_token(session, &settings.agents.token).await);
        let environment = self.fetch(phases::ENVIRONMENT, &startup.agent_environment, async |from| {
            let bytes = from.read(layout, session, MOST_ENVIRONMENT).await?;
            env_file::parse(&bytes, &|_| None).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Failure::config(format!("{from}: {}", faults.join("; ")))
            })
        });
        let script = self.fetch(phases::SCRIPT_FETCH, &startup.bootstrap_script, async |from| {
            from.read(layout, session, bootstrap_script::MOST_BYTES).await
        });
        let keys = self.fetch(phases::KEYS, &access.authorized_keys, async |from| {
            access::authorize(layout, access, &from.read(layout, session, access::MOST_BYTES).await?)
        });
        let docker = async {
            let storage = match startup.instance_storage {
                Some(filesystem) => {
                    let prepare = async || storage::prepare(layout, filesystem, agents_run).await;
                    self.phases.run(phases::STORAGE, prepare).await?
                }
                None => None,
            };
            let storage = storage.as_deref();
            let configure = async || {
                docker::configure(layout, self.machine, &settings.docker, storage, agents_run).await?;
                docker::version(layout).await
            };
            self.phases.run(phases::DOCKER, configure).await
        };
        let (token, environment, script, _, docker) =
            tokio::try_join!(token, environment, script, keys, docker)?;
        Ok(Parts { token, environment: environment.unwrap_or_default(), script, docker })
    }

    /// A phase that only some stacks have.
    async fn fetch<T>(
        &self,
        phase: phases::Phase,
        from: &Option<Reference>,
        mut work: impl AsyncFnMut(&Reference) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let Some(from) = from else { return Ok(None) };
        self.phases.run(phase, async || work(from).await).await.map(Some)
    }

    async fn run_script(&self, identity: &Identity, from: &Reference, script: &[u8]) -> Result<(), Failure> {
        if self.agents_run() {
            eprintln!("boot: bootstrap script: not run: agents run here");
            return Ok(());
        }
        let ran = self
            .phases
            .run(phases::SCRIPT, async || bootstrap_script::run(self.layout, identity, from, script).await)
            .await?;
        if ran == Ran::Before {
            eprintln!("boot: bootstrap script: this instance ran {from} before");
        }
        Ok(())
    }

    /// A boot that is run again beside running agents must not take their jobs away. Unknown counts as running.
    #[must_use]
    pub fn agents_run(&self) -> bool {
        let Ok(Some(instance)) = InstanceFile::read(self.layout) else { return false };
        (1..=instance.agents).any(|number| self.units.is_active(number).unwrap_or(true))
    }

    async fn metadata(&self) -> Result<(Identity, String), Failure> {
        let identity = Identity::read(&self.imds).await?;
        Ok((identity, self.imds.get("user-data").await?.unwrap_or_default()))
    }

    async fn settings(&self, session: &Session, user_data: &str) -> Result<Settings, Failure> {
        let parts = user_data::settings_parts(user_data)
            .map_err(|e| Failure::config(format!("{e}; correct the launch template's user data")))?;
        self.known.borrow_mut().ends = settings::ends(&parts);
        let parts = parts.into_iter().map(|part| fetch::resolve(session, part));
        let resolved = futures::future::try_join_all(parts).await?;
        settings::read(&resolved).map_err(|faults| {
            Failure::config(format!("{faults}; correct the stack's Settings and update the stack"))
        })
    }

    /// The launching hook goes on before agents start, not after: agents of an instance that the hook gives up would
    /// lose their jobs. Tells what the group wants of the instance.
    async fn proceed(&self) -> Result<Option<AwsState>, Failure> {
        let known = self.known();
        if let Some(ends) = known.ends() {
            ends.proceed().await?;
        }
        Ok(ImdsMetadata(self.imds.clone()).target_state().await?)
    }

    /// A warm instance may be stopped meanwhile, or wait for days. No answer is no order.
    async fn until_in_service(&self) {
        let metadata = ImdsMetadata(self.imds.clone());
        let waits = |target: AwsState| target.is_warmed() && !target.is_leaving();
        while metadata.target_state().await.ok().flatten().is_none_or(waits) {
            tokio::time::sleep(WARM_LOOK).await;
        }
    }

    /// From the machine's start to now; of an instance that has waited in the warm pool from the end of that. What was
    /// measured after this start of the machine stands: a reboot, or a boot that is run again, tells nothing of launches.
    fn booted_in(&self, identity: &Identity) -> Option<SignedDuration> {
        let before = InstanceFile::read(self.layout).ok().flatten();
        let same = |before: &InstanceFile| {
            let then = &before.identity;
            identity.launched.is_some()
                && (&then.instance_id, then.launched) == (&identity.instance_id, identity.launched)
        };
        let measured = before.filter(same).and_then(|before| before.booted_in);
        let resumed = self.waited.get().then(|| self.phases.so_far().1);
        let resumed = resumed.and_then(|ms| i64::try_from(ms).ok()).map(SignedDuration::from_millis);
        measured.or(resumed).or_else(|| lifecycle::idle::boot(identity.launched, Timestamp::now()))
    }

    fn start(&self, prepared: &Prepared) -> Result<(), Failure> {
        let Prepared { identity, settings, program } = prepared;
        // Before the agents: their jobs ask `watch` first.
        let booted_in = self.booted_in(identity);
        if let Some(took) = booted_in {
            eprintln!("boot: {:.1} s from the machine's start to its agents", took.as_secs_f64());
        }
        written::introduce(self.layout, identity, settings, program, booted_in)?;
        for number in 1..=settings.agents.count {
            let name = agent_config::agent_name(&settings.stack, &identity.instance_id, number);
            self.units.start(&AgentUnit { number, name, program: program.clone() })?;
        }
        Ok(())
    }
}
