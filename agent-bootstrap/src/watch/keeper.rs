//! Carries out what `decide` says: the one task that owns what is known about this instance.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use lifecycle::{AwsState, Event, Record, State};
use tokio::sync::{mpsc, oneshot};

use super::attempts::Attempts;
use super::decide::{Action, Observed, Policy, Step, decide};
use super::group::{Group, Refusal, Size};
use super::jobs::Memory;
use super::metadata::Metadata;
use super::protocol::{Answer, Request, Status};
use super::rollout::{Newer, SettingsNews};
use super::server::Call;
use super::settings::NewestSettings;
use crate::failure::Failure;
use crate::units::UnitManager;
use crate::units::process::Process;

/// More jobs than any instance has agents for: somebody plays with the socket.
const MOST_JOBS: usize = 1000;

/// What a keeper works with.
pub struct Ports<G, M, S> {
    /// The group.
    pub group: G,
    /// The metadata.
    pub metadata: M,
    /// The settings that the user data names.
    pub settings: S,
    /// The agents.
    pub units: Box<dyn UnitManager>,
}

/// What a keeper goes by.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The instance's id.
    pub instance: String,
    /// How many agents it has.
    pub agents: u32,
    /// The policy.
    pub policy: Policy,
    /// The terminating hook's name.
    pub hook: Option<String>,
    /// Time from one look to the next.
    pub poll_interval: SignedDuration,
    /// Where the memory is kept.
    pub memory: PathBuf,
}

/// A job that asks to run.
#[derive(Debug)]
struct Waiting {
    job: String,
    agent: Option<Process>,
    since: Timestamp,
    answer: oneshot::Sender<Answer>,
}

/// Owns what is known about this instance.
pub struct Keeper<G, M, S> {
    ports: Ports<G, M, S>,
    orders: Orders,
    memory: Memory,
    waiting: Vec<Waiting>,
    target: Option<AwsState>,
    protected: Option<(bool, Timestamp)>,
    size: Option<(Size, Timestamp)>,
    turn: Option<(Option<Newer>, Timestamp)>,
    agents: Option<usize>,
    agents_told: bool,
    heartbeat: Option<Timestamp>,
    termination_asked: bool,
    attempts: Attempts,
}

impl<G: Group, M: Metadata, S: NewestSettings> Keeper<G, M, S> {
    /// A keeper that remembers what a former one knew.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn new(ports: Ports<G, M, S>, orders: Orders) -> Result<Self, Failure> {
        let memory = Memory::load(&orders.memory)?.unwrap_or_else(|| Memory::new(Timestamp::now()));
        Ok(Self {
            ports,
            orders,
            memory,
            waiting: Vec::new(),
            target: None,
            protected: None,
            size: None,
            turn: None,
            agents: None,
            agents_told: false,
            heartbeat: None,
            termination_asked: false,
            attempts: Attempts::default(),
        })
    }

    /// Keeps the instance until `stop`: looks at every interval, answers calls as they come.
    ///
    /// # Errors
    /// When the memory cannot be written: a job must not start that a restart would forget.
    pub async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(self.orders.poll_interval.unsigned_abs());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                _ = ticks.tick() => self.look().await?,
                Some(call) = calls.recv() => self.take(call)?,
            }
            self.advance().await?;
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        // No answer leaves what was known: a leaving instance stays leaving.
        if let Ok(target) = self.ports.metadata.target_state().await {
            self.target = target;
        }
        self.agents = self.count_agents();
        let any_agent = self.agents != Some(0);
        let ended = self.memory.ended(|agent| agent.map_or(any_agent, Process::is_alive));
        for job in ended {
            self.finish(&job, "its agent is gone")?;
        }
        Ok(())
    }

    fn count_agents(&self) -> Option<usize> {
        let active: Result<Vec<bool>, Failure> =
            (1..=self.orders.agents).map(|number| self.ports.units.is_active(number)).collect();
        active.ok().map(|active| active.into_iter().filter(|a| *a).count())
    }

    fn take(&mut self, call: Call) -> Result<(), Failure> {
        match call.request {
            Request::JobStarted { .. } if self.memory.jobs.len() + self.waiting.len() >= MOST_JOBS => {
                reply(call.answer, Answer::refused("too many jobs are said to run here"));
            }
            Request::JobStarted { job, pid } => {
                let agent = pid.and_then(Process::running);
                self.waiting.push(Waiting { job, agent, since: Timestamp::now(), answer: call.answer });
            }
            Request::JobFinished { job } => {
                self.finish(&job, "its hook says so")?;
                reply(call.answer, Answer::done());
            }
            Request::Status => reply(call.answer, Answer { status: Some(self.status()), ..Answer::done() }),
        }
        Ok(())
    }

    fn finish(&mut self, job: &str, why: &str) -> Result<(), Failure> {
        let before = self.memory.jobs.len();
        self.memory.finish(job, Timestamp::now());
        if self.memory.jobs.len() == before {
            return Ok(());
        }
        self.say(&serde_json::json!({ "job": job, "over": why }));
        if self.memory.jobs.is_empty() && self.memory.state == State::Busy {
            self.enter(Event::LastJobFinished);
        }
        self.memory.save(&self.orders.memory)
    }

    fn status(&self) -> Status {
        Status {
            state: self.memory.state,
            protected: self.protected.map(|(protected, _)| protected),
            jobs: self.memory.jobs.keys().cloned().collect(),
            idle_since: self.memory.jobs.is_empty().then_some(self.memory.idle_since),
            target: self.target.clone(),
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: self.memory.state,
            target: self.target.clone(),
            protected: self.protected,
            jobs: self.memory.jobs.len(),
            waiting_since: self.waiting.iter().map(|w| w.since).min(),
            idle_since: self.memory.idle_since,
            size: self.size,
            turn: self.turn,
            agents: self.agents,
            agents_told: self.agents_told,
            heartbeat: self.heartbeat,
            termination_asked: self.termination_asked,
            attempts: self.attempts.clone(),
        }
    }

    /// Does what is to be done until nothing is. Every step either changes what is observed or is held off after
    /// its failure, so this ends; the bound only guards against a mistake in `decide`.
    async fn advance(&mut self) -> Result<(), Failure> {
        for _ in 0..16 {
            let steps = decide(&self.orders.policy, &self.observed(), Timestamp::now());
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.carry_out(step).await?;
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, step: Step) -> Result<(), Failure> {
        let action = step.step;
        let result = self.act(&step).await;
        let now = Timestamp::now();
        let mut line = serde_json::json!(step);
        match result {
            Ok(()) => self.attempts.succeed(action),
            Err(refusal) => {
                line["failed"] = refusal.to_string().into();
                self.attempts.fail(action, self.orders.poll_interval, now);
                self.learn(action, &refusal, now);
            }
        }
        self.say(&line);
        self.memory.save(&self.orders.memory)
    }

    async fn act(&mut self, step: &Step) -> Result<(), Refusal> {
        let group = &self.ports.group;
        let hook = self.orders.hook.clone().unwrap_or_default();
        match step.step {
            Action::DescribeInstance => {
                let member = group.describe_instance().await?;
                let member =
                    member.ok_or_else(|| Refusal::Absent("the group does not know it".to_owned()))?;
                self.protected = Some((member.protected, Timestamp::now()));
            }
            Action::DescribeSize => self.size = Some((group.describe_size().await?, Timestamp::now())),
            Action::DescribeRollout => {
                let turn = self.look_for_update().await?;
                self.turn = Some((turn, Timestamp::now()));
            }
            Action::Protect => {
                group.set_protection(true).await?;
                self.protected = Some((true, Timestamp::now()));
            }
            Action::Unprotect => {
                // Unknown until the answer is there: a lost answer may well have done it.
                self.protected = None;
                group.set_protection(false).await?;
                self.protected = Some((false, Timestamp::now()));
            }
            Action::Admit => self.admit()?,
            Action::Refuse => self.refuse(&step.why),
            Action::BeReady => {
                self.memory.idle_since = Timestamp::now();
                self.enter(Event::AgentsStarted);
                if !self.memory.jobs.is_empty() {
                    self.enter(Event::JobStarted);
                }
            }
            Action::Drain(reason) => self.enter(Event::Retire(reason)),
            Action::StopAgents => {
                for number in 1..=self.orders.agents {
                    self.ports.units.stop(number).map_err(|f| Refusal::Failed(f.message))?;
                }
                self.agents_told = true;
            }
            Action::Heartbeat => {
                group.heartbeat(&hook).await?;
                self.heartbeat = Some(Timestamp::now());
            }
            Action::Complete => {
                group.complete(&hook).await?;
                self.enter(Event::Drained);
            }
            Action::Terminate => {
                group.terminate_with_decrement().await?;
                self.termination_asked = true;
            }
            Action::Replace => {
                group.terminate_for_successor().await?;
                self.termination_asked = true;
            }
            Action::MarkUnhealthy => {
                group.mark_unhealthy().await?;
                self.termination_asked = true;
            }
            Action::Retire => self.enter(Event::Drained),
        }
        Ok(())
    }

    /// Settings that cannot be read (or would not boot) are unknown: nobody leaves for their sake.
    async fn look_for_update(&mut self) -> Result<Option<Newer>, Refusal> {
        let changed = self.ports.settings.have_changed().await;
        let rollout = self.ports.group.describe_rollout().await?;
        match &changed {
            Ok(false) => self.memory.elders = Some(rollout.in_service()),
            Ok(true) => {}
            Err(failure) => {
                self.say(&serde_json::json!({ "settings": "unknown", "failed": failure.message }))
            }
        }
        // A change before the first look: all that are there may have the old ones.
        let elders = self.memory.elders.get_or_insert_with(|| rollout.in_service());
        let settings = SettingsNews { changed: changed.unwrap_or(false), elders };
        Ok(rollout.turn_of(&self.orders.instance, settings, self.orders.policy.update_concurrency))
    }

    /// What a refusal tells.
    fn learn(&mut self, action: Action, refusal: &Refusal, now: Timestamp) {
        match (action, refusal) {
            // The action is over: completed before, timed out, or the hook does not exist.
            (Action::Complete, Refusal::NoAction(_) | Refusal::Absent(_)) => self.enter(Event::Drained),
            // Nothing but being replaced is left: further decrements would be refused as well.
            (Action::Terminate, Refusal::Minimum(_)) => {
                for _ in 0..2 {
                    self.attempts.fail(Action::Terminate, self.orders.poll_interval, now);
                }
            }
            _ => {}
        }
    }

    /// The job is remembered before its hook hears of it: a `watch` that ends in between must not forget it.
    fn admit(&mut self) -> Result<(), Refusal> {
        let (jobs, now) = (self.memory.clone(), Timestamp::now());
        for waiting in &self.waiting {
            self.memory.start(waiting.job.clone(), waiting.agent, now);
        }
        if let Err(failure) = self.memory.save(&self.orders.memory) {
            self.memory = jobs;
            return Err(Refusal::Failed(failure.message));
        }
        for waiting in std::mem::take(&mut self.waiting) {
            // A hook that went away leaves a job that ends with its agent.
            reply(waiting.answer, Answer::done());
        }
        if matches!(self.memory.state, State::Ready | State::Busy) {
            self.enter(Event::JobStarted);
        }
        Ok(())
    }

    fn refuse(&mut self, why: &str) {
        for waiting in std::mem::take(&mut self.waiting) {
            reply(waiting.answer, Answer::refused(why));
        }
    }

    fn enter(&mut self, event: Event) {
        match self.memory.state.after(event) {
            Ok(state) if state != self.memory.state => {
                self.memory.state = state;
                let record = Record::new(&self.orders.instance, state, Timestamp::now());
                self.say(&serde_json::json!(record));
            }
            Ok(_) => {}
            Err(illegal) => self.say(&serde_json::json!({ "ignored": illegal.to_string() })),
        }
    }

    /// One JSON line a decision, on stderr.
    fn say(&self, line: &serde_json::Value) {
        let mut entry = serde_json::json!({ "at": Timestamp::now(), "instance": self.orders.instance });
        if let (Some(entry), Some(line)) = (entry.as_object_mut(), line.as_object()) {
            entry.extend(line.clone());
        }
        eprintln!("{entry}");
    }
}

/// The asker may be gone; then nobody misses the answer.
fn reply(to: oneshot::Sender<Answer>, answer: Answer) {
    let _ = to.send(answer);
}
