//! A `watch` in this process: keeper and socket as the program joins them, before a group and agents in memory.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use agent_bootstrap::boot::files::{self, Owner};
use agent_bootstrap::disk::decide::{Limits, Space};
use agent_bootstrap::disk::fake_engine::FakeEngine;
use agent_bootstrap::disk::guard::{self, Guard};
use agent_bootstrap::failure::Failure;
use agent_bootstrap::layout::Layout;
use agent_bootstrap::units::process::Process;
use agent_bootstrap::units::{AgentUnit, UnitManager};
use agent_bootstrap::watch::asker::Users;
use agent_bootstrap::watch::client;
use agent_bootstrap::watch::clock::{EvenClock, MachineClock, ThisMachine};
use agent_bootstrap::watch::fake_group::FakeGroup;
use agent_bootstrap::watch::group::Size;
use agent_bootstrap::watch::keeper::{Keeper, Orders, Ports};
use agent_bootstrap::watch::protocol::{Answer, Request, Status};
use agent_bootstrap::watch::scaler::ScalerWord;
use agent_bootstrap::watch::server;
use agent_bootstrap::watch::settings::NewestSettings;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{AwsState, Policy, Refusal};
use nix::unistd::Uid;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub const HOOK: &str = "terminating";

/// Longer than anything takes here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agents' user on this stage.
pub const AGENTS: u32 = 4321;

/// One agent: does it run, was it told to leave?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agent {
    pub runs: bool,
    pub told: bool,
    pub cancelled: bool,
    pub logs_run: bool,
    /// Processes of agents, where a test has some.
    pub processes: [Option<Process>; 2],
}

struct Agents(Rc<RefCell<Agent>>);

impl UnitManager for Agents {
    fn start(&self, _unit: &AgentUnit) -> Result<(), Failure> {
        self.0.borrow_mut().runs = true;
        Ok(())
    }

    fn stop(&self, _number: u32) -> Result<(), Failure> {
        self.0.borrow_mut().told = true;
        Ok(())
    }

    fn cancel(&self, _number: u32) -> Result<(), Failure> {
        self.0.borrow_mut().cancelled = true;
        Ok(())
    }

    fn stop_logs(&self) -> Result<(), Failure> {
        self.0.borrow_mut().logs_run = false;
        Ok(())
    }

    fn start_logs(&self) -> Result<(), Failure> {
        self.0.borrow_mut().logs_run = true;
        Ok(())
    }

    fn ships_logs(&self) -> Result<bool, Failure> {
        Ok(self.0.borrow().logs_run)
    }

    fn is_active(&self, _number: u32) -> Result<bool, Failure> {
        Ok(self.0.borrow().runs)
    }

    fn processes(&self, _agents: &[AgentUnit]) -> Result<Vec<Process>, Failure> {
        Ok(self.0.borrow().processes.into_iter().flatten().collect())
    }
}

/// What reading the settings anew tells: changed or not, or that they cannot be read.
struct Settings(Rc<RefCell<Option<bool>>>);

impl NewestSettings for Settings {
    async fn have_changed(&self) -> Result<bool, Failure> {
        let read = *self.0.borrow();
        read.ok_or_else(|| Failure::unavailable("s3:GetObject on s3://b/settings.yml: no answer".to_owned()))
    }
}

/// What the scaler says: that it kept idle instances just now, that it never did, or nothing that can be read.
struct Scaler(Rc<RefCell<Option<bool>>>);

impl ScalerWord for Scaler {
    async fn kept_at(&self) -> Result<Option<Timestamp>, Refusal> {
        let keeps = *self.0.borrow();
        let keeps = keeps.ok_or_else(|| Refusal::Failed("ssm:GetParameter: no answer".to_owned()))?;
        Ok(keeps.then(Timestamp::now))
    }
}

/// This machine's clocks, whose time of day is set as the test wants.
#[derive(Clone)]
pub struct Clock {
    machine: ThisMachine,
    pub ahead: Rc<Cell<SignedDuration>>,
}

impl MachineClock for Clock {
    fn time_of_day(&self) -> Timestamp {
        self.machine.time_of_day() + self.ahead.get()
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }
}

pub struct Stage {
    pub clock: Clock,
    pub engine: FakeEngine,
    pub settings_changed: Rc<RefCell<Option<bool>>>,
    pub scaler_keeps: Rc<RefCell<Option<bool>>>,
    pub group: FakeGroup,
    pub agent: Rc<RefCell<Agent>>,
    pub orders: Orders,
    layout: Layout,
    _root: tempfile::TempDir,
    watch: Option<Running>,
}

struct Running {
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    kept: JoinHandle<Result<(), Failure>>,
    serving: JoinHandle<()>,
    guarding: JoinHandle<()>,
}

impl Stage {
    /// An idle instance in service, in a group between 0 and 3, whose agent runs.
    pub fn new(hook: Option<&str>) -> Self {
        let root = tempfile::Builder::new().prefix("tm").tempdir().unwrap();
        let layout = Layout::below(root.path());
        for folder in [layout.run(), layout.instance_file().parent().unwrap().to_owned()] {
            files::folder(&folder, 0o755, Owner::own()).unwrap();
        }
        // On a stack's instance a client waits for `watch`.
        files::file(&layout.instance_file(), b"{}", 0o644, Owner::own()).unwrap();
        let policy = Policy {
            in_group: true,
            idle_period: Some(SignedDuration::ZERO),
            fail_safe_after: None,
            has_hook: hook.is_some(),
            heartbeat_interval: SignedDuration::from_mins(5),
            update_check: SignedDuration::from_millis(20),
            update_concurrency: 1,
            max_age: None,
            after_job: false,
            drain_on_rebalance: false,
            spot_grace: SignedDuration::from_secs(60),
        };
        let orders = Orders {
            instance: "i-1".to_owned(),
            agents: vec![AgentUnit { number: 1, name: "ci-i-1-1".to_owned(), program: "agent".into() }],
            policy,
            hook: hook.map(str::to_owned),
            poll_interval: SignedDuration::from_millis(5),
            memory: layout.run().join("watch.json"),
        };
        Self {
            clock: Clock { machine: ThisMachine::new(), ahead: Rc::default() },
            engine: FakeEngine::default(),
            settings_changed: Rc::new(RefCell::new(Some(false))),
            scaler_keeps: Rc::new(RefCell::new(Some(false))),
            group: FakeGroup::new(Size { min: 0, max: 3, desired: 1, live: 1 }, hook, AwsState::InService),
            agent: Rc::new(RefCell::new(Agent { runs: true, ..Agent::default() })),
            orders,
            layout,
            _root: root,
            watch: None,
        }
    }

    /// Starts `watch`; a former one is stopped first.
    pub async fn watch(&mut self) {
        self.stop().await;
        let units = Box::new(Agents(Rc::clone(&self.agent)));
        let settings = Settings(Rc::clone(&self.settings_changed));
        let (disk, guard_end) = guard::ends();
        let (group, metadata) = (self.group.clone(), self.group.clone());
        let clock = EvenClock::new(self.clock.clone());
        let scaler = Scaler(Rc::clone(&self.scaler_keeps));
        let ports = Ports { group, metadata, settings, scaler, units, disk, clock };
        let (engine, space) = (self.engine.clone(), self.space());
        let limits = Limits { free: Some(20), inodes: None, unused_for: SignedDuration::from_secs(1) };
        let guard = Guard::new("i-1", Some(engine), space, self.layout.builds(), limits, guard_end);
        let guarding = tokio::task::spawn_local(guard.run(Duration::from_millis(5)));
        let keeper = Keeper::new(ports, self.orders.clone()).unwrap();
        let (calls, received) = mpsc::channel(64);
        let users = Users { agents: Some(Uid::from_raw(AGENTS)) };
        let listener = server::bind(&self.layout.watch_socket()).unwrap();
        let serving = tokio::spawn(server::serve(listener, users, calls));
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = tokio::task::spawn_local(keeper.run(received, async {
            let _ = stopped.await;
        }));
        self.watch = Some(Running { stop, kept, serving, guarding });
    }

    /// Ends `watch` as SIGTERM does.
    pub async fn stop(&mut self) {
        let Some(Running { stop, kept, serving, guarding }) = self.watch.take() else { return };
        drop(stop);
        kept.await.unwrap().unwrap();
        serving.abort();
        guarding.abort();
    }

    /// A disk of 100 bytes that holds what the engine has.
    fn space(&self) -> impl Fn(&PathBuf) -> std::io::Result<Space> + use<> {
        let engine = self.engine.clone();
        move |_| Ok(Space { total: 100, free: 100 - engine.used(), inodes: None })
    }

    pub async fn ask(&self, request: &Request) -> Answer {
        client::ask(&self.layout, request, Duration::from_secs(10)).await.unwrap()
    }

    pub async fn job_starts(&self, job: &str, pid: Option<i32>) -> Answer {
        self.ask(&Request::JobStarted { job: job.to_owned(), pid }).await
    }

    pub async fn job_ends(&self, job: &str) -> Answer {
        self.ask(&Request::JobFinished { job: job.to_owned() }).await
    }

    pub async fn status(&self) -> Status {
        self.ask(&Request::Status).await.status.unwrap()
    }

    /// Asks until it is so: each question makes the keeper go on.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let look = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect(what)
    }

    /// Asks until the agent was told to leave.
    pub async fn until_told(&self) {
        self.until_agent(|agent| agent.told).await;
    }

    /// Asks until the agent is as wanted.
    pub async fn until_agent(&self, wanted: impl Fn(&Agent) -> bool) {
        let look = async {
            while !wanted(&self.agent.borrow()) {
                self.status().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the agent is as wanted");
    }

    /// A shell of this user, with the program as `$PROGRAM` and this root.
    pub fn shell(&self, user: u32, script: &str) -> tokio::process::Command {
        // Temporary folders are their owner's alone.
        files::folder(self.layout.root(), 0o755, Owner::own()).unwrap();
        files::folder(&self.layout.run().join("jobs"), 0o777, Owner::own()).unwrap();
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", script]).uid(user).gid(user).env_clear().env("PATH", "/usr/bin:/bin");
        shell.env("PROGRAM", env!("CARGO_BIN_EXE_agent-bootstrap")).env("TIDEMARK_ROOT", self.layout.root());
        shell.kill_on_drop(true).env("AWS_ECR_LOGIN", "false");
        shell
    }

    /// Runs a verb of the program as this user.
    pub async fn program(&self, user: u32, verb: &str) -> std::process::Output {
        // Temporary folders are their owner's alone.
        files::folder(self.layout.root(), 0o755, Owner::own()).unwrap();
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_agent-bootstrap"));
        program.arg("--root").arg(self.layout.root()).arg(verb).uid(user).gid(user);
        program.output().await.unwrap()
    }

    pub fn is_protected(&self) -> bool {
        self.group.member().is_some_and(|member| member.protected)
    }
}
