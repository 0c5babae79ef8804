//! The whole lab in one value: for `lab up`, the demo and the journeys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::alarms::Alarms;
use crate::bake::{Baked, bake};
use crate::build_server::BuildServer;
use crate::endpoint::{ACCOUNT, Endpoint};
use crate::function_url::FunctionUrls;
use crate::group::service::Groups;
use crate::imds::RoleSessions;
use crate::instances::containers::ContainerInstances;
use crate::instances::described::Described;
use crate::instances::kind::{InstanceKind, LabInstances};
use crate::instances::processes::ProcessInstances;
use crate::instances::{Site, programs};
use crate::moto::Moto;
use crate::readback::Readback;
use crate::schedule::{Schedules, Workshop};
use crate::stack::{NO_IMAGE, Stack, StackOrder, Stacks};

/// The lab's region.
pub const REGION: &str = "us-east-1";

/// A minute of AWS.
const MINUTE: Duration = Duration::from_secs(60);

/// What kind of lab.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// Everything lies here; a temporary folder, removed at the end, when not given.
    pub folder: Option<PathBuf>,
    /// Folder of the programs; found beside the running one when not given.
    pub programs: Option<PathBuf>,
    /// What instances are.
    pub instances: InstanceKind,
    /// More variables for the processes of instances.
    pub instance_environment: Vec<(String, String)>,
    /// Variables of functions that win over the template's, such as a shorter `LAMBDA_TIMEOUT`.
    pub function_environment: Vec<(String, String)>,
    /// How long a minute of schedules, alarms and warm-ups lasts: a real one when not given. What reads the clock itself
    /// does not know: a scaler needs `PUBLISH_EVERY` and `LAMBDA_TIMEOUT` to fit.
    pub minute: Option<Duration>,
    /// No schedule fires before [`Schedules::release`].
    pub hold_schedules: bool,
}

/// A running lab. Dropping it ends every process it started; [`Lab::stop`] also waits for that.
pub struct Lab {
    // Fields drop in this order: those that call others first.
    tasks: Tasks,
    build_server: Option<BuildServer>,
    schedules: Arc<Schedules>,
    urls: Arc<FunctionUrls>,
    groups: Arc<Groups>,
    instances: LabInstances,
    ami: Option<Baked>,
    services: watch::Sender<Vec<SocketAddr>>,
    stacks: Arc<Stacks>,
    endpoint: Arc<Endpoint>,
    moto: Moto,
    programs: PathBuf,
    folder: Folder,
}

enum Folder {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Lab {
    /// Starts moto, the endpoint and the keepers of groups and schedules; no stack and no CI yet.
    ///
    /// # Errors
    /// A part does not start; the message says which and what to do.
    pub async fn start(options: LabOptions) -> Result<Self> {
        let folder = match options.folder {
            Some(folder) => Folder::Given(prepared(&folder)?),
            None => Folder::Temporary(tempfile::Builder::new().prefix("lab-").tempdir()?),
        };
        let root = folder.path();
        let programs = options.programs.map_or_else(programs, Ok)?;
        let moto = Moto::start(root).await?;
        let endpoint = Arc::new(Endpoint::start(moto.url()).await?);
        let sessions = Arc::clone(&endpoint) as Arc<dyn RoleSessions>;
        let site = Site {
            folder: root.join("instances"),
            programs: programs.clone(),
            endpoint: endpoint.url().to_owned(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            environment: options.instance_environment,
        };
        let services = watch::Sender::new(vec![address_of(endpoint.url())?]);
        let (instances, ami) = instances(options.instances, site, &services, Arc::clone(&sessions)).await?;
        let readback = Readback::new(moto.url(), REGION).await;
        let described = Described::new(instances.port(), readback.clone());
        let groups = Groups::new(Box::new(readback.clone()), Arc::new(described));
        endpoint.set_autoscaling(Arc::clone(&groups) as Arc<_>);
        let workshop = Workshop {
            folder: root.join("functions"),
            program: programs.join("scaler"),
            endpoint: endpoint.url().to_owned(),
            region: REGION.to_owned(),
            environment: options.function_environment,
            minute: options.minute.unwrap_or(MINUTE),
        };
        // An environment beside the schedule's, as Lambda starts one where the first is busy.
        let beside = Workshop { folder: root.join("functions-by-url"), ..workshop.clone() };
        let urls = FunctionUrls::start(beside, Arc::clone(&sessions), root).await?;
        let urls = Arc::new(urls);
        let schedules = Arc::new(Schedules::new(workshop, sessions));
        if options.hold_schedules {
            schedules.hold();
        }
        let alarms = Alarms::new(
            readback.clone(),
            Arc::clone(&groups),
            Arc::clone(&schedules),
            options.minute.unwrap_or(MINUTE),
        );
        let session = session(&endpoint).await;
        let stacks =
            Stacks::new(session, readback, Arc::clone(&groups), Arc::clone(&schedules), Arc::clone(&urls));
        let stacks = Arc::new(stacks);
        stacks.prepare(ami.as_ref().map_or(NO_IMAGE, |baked| &baked.ami)).await?;
        let tasks = Tasks(vec![
            tokio::spawn(Arc::clone(&groups).run()),
            tokio::spawn(alarms.run()),
            tokio::spawn(Arc::clone(&stacks).follow(Arc::clone(&endpoint))),
        ]);
        Ok(Self {
            tasks,
            build_server: None,
            schedules,
            urls,
            groups,
            instances,
            ami,
            services,
            stacks,
            endpoint,
            moto,
            programs,
            folder,
        })
    }

    /// Everything of this lab lies below.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the programs that the lab runs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The endpoint: URL, calls, faults, sessions.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where moto answers, past all decisions.
    #[must_use]
    pub fn moto_url(&self) -> &str {
        self.moto.url()
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The instances.
    #[must_use]
    pub fn instances(&self) -> &LabInstances {
        &self.instances
    }

    /// What container instances boot; process instances have no AMI.
    #[must_use]
    pub fn ami(&self) -> Option<&Baked> {
        self.ami.as_ref()
    }

    /// Lets instances reach a service of this machine, such as a git server, under the address that it has here.
    /// Process instances need no leave.
    pub fn let_reach(&self, service: SocketAddr) {
        self.services.send_modify(|all| all.push(service));
    }

    /// The schedules and their invocations.
    #[must_use]
    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// The function URLs and their invocations.
    #[must_use]
    pub fn function_urls(&self) -> &FunctionUrls {
        &self.urls
    }

    /// Stacks.
    #[must_use]
    pub fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// A session of the lab's user.
    pub async fn session(&self) -> aws::Session {
        session(&self.endpoint).await
    }

    /// What makes awscli and every AWS program speak to the lab as its user. Holds secrets: for a child's
    /// environment only.
    #[must_use]
    pub fn admin_environment(&self) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> =
            self.endpoint.admin().environment().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        variables.insert("AWS_ENDPOINT_URL".to_owned(), self.endpoint.url().to_owned());
        variables.insert("AWS_REGION".to_owned(), REGION.to_owned());
        variables.insert("AWS_DEFAULT_REGION".to_owned(), REGION.to_owned());
        variables
    }

    /// Starts the CI, once.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_build_server(&mut self) -> Result<&BuildServer> {
        let server = match self.build_server.take() {
            Some(server) => server,
            None => {
                let server = BuildServer::start(&self.programs, &self.folder().join("build-server")).await?;
                self.let_reach(address_of(server.url())?);
                server
            }
        };
        Ok(self.build_server.insert(server))
    }

    /// The CI, if it runs.
    #[must_use]
    pub fn build_server(&self) -> Option<&BuildServer> {
        self.build_server.as_ref()
    }

    /// Deploys a stack of the project's template for the CI of the lab. `parameters` win over the lab's own.
    ///
    /// # Errors
    /// The CI or the stack does not start.
    pub async fn deploy_stack(&mut self, name: &str, parameters: &[(&str, &str)]) -> Result<Stack> {
        self.deploy_tagged_stack(name, parameters, &[]).await
    }

    /// The same with tags of the stack's own.
    ///
    /// # Errors
    /// The CI or the stack does not start.
    pub async fn deploy_tagged_stack(
        &mut self,
        name: &str,
        parameters: &[(&str, &str)],
        tags: &[(&str, &str)],
    ) -> Result<Stack> {
        use secrecy::ExposeSecret;
        let server = self.start_build_server().await?;
        let mut all = BTreeMap::from([
            ("BuildkiteAgentToken".to_owned(), server.registration_token().expose_secret().to_owned()),
            ("AgentEndpoint".to_owned(), server.agent_endpoint()),
        ]);
        all.extend(parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let template = project_template()?;
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let tags = tags.iter().map(owned).collect();
        self.stacks.deploy(&StackOrder { name: name.to_owned(), template, parameters: all, tags }).await
    }

    /// Ends everything and waits until nothing is left.
    ///
    /// # Errors
    /// A process does not end.
    pub async fn stop(self) -> Result<()> {
        let Self { tasks, build_server, schedules, urls, instances, endpoint, moto, .. } = self;
        drop(tasks);
        schedules.stop().await;
        urls.stop().await;
        instances.terminate_all().await;
        if let Some(server) = build_server {
            server.stop().await?;
        }
        drop(endpoint);
        moto.stop().await
    }
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The folder, made if need be, as an absolute path.
fn prepared(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("make the lab's folder {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("lab's folder {}", folder.display()))
}

/// Instances of this kind, and the AMI of containers, which is baked if need be.
async fn instances(
    kind: InstanceKind,
    site: Site,
    services: &watch::Sender<Vec<SocketAddr>>,
    sessions: Arc<dyn RoleSessions>,
) -> Result<(LabInstances, Option<Baked>)> {
    match kind {
        InstanceKind::Processes => {
            Ok((LabInstances::Processes(Arc::new(ProcessInstances::new(site, sessions))), None))
        }
        InstanceKind::Containers(engine) => {
            let ami = bake(&engine, &site.programs, &|what| tracing::info!("{what}")).await?;
            let all = ContainerInstances::new(site, engine, services.subscribe(), sessions);
            Ok((LabInstances::Containers(Arc::new(all)), Some(ami)))
        }
    }
}

/// The address in a URL such as `http://127.0.0.1:40123`.
fn address_of(url: &str) -> Result<SocketAddr> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    address.parse().with_context(|| format!("address of {url}"))
}

async fn session(endpoint: &Endpoint) -> aws::Session {
    let admin = endpoint.admin();
    aws::Session::at(endpoint.url(), REGION, &admin.access_key_id, &admin.secret_access_key, None).await
}

/// The template of the project that the current folder or the running program belongs to.
pub(crate) fn project_template() -> Result<PathBuf> {
    crate::stack::template(&std::env::current_dir()?)
        .or_else(|_| crate::stack::template(&std::env::current_exe()?))
}
