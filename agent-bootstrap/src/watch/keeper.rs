//! Carries out what `decide` says: the one task that owns what is known about this instance.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use lifecycle::rollout::Newer;
use lifecycle::{Action, Observed, Outcome, Policy, Record, Refusal, State, Step, Word, decide};
use tokio::sync::{mpsc, oneshot};

use super::asker::{self, Agents, Asker, Standing};
use super::clock::EvenClock;
use super::group::Group;
use super::jobs::{Job, Memory};
use super::metadata::Metadata;
use super::protocol::{Answer, Request, Status};
use super::scaler::ScalerWord;
use super::server::Call;
use super::settings::NewestSettings;
use super::updates::Updates;
use crate::disk::decide::Activity;
use crate::disk::guard::KeeperEnd;
use crate::failure::Failure;
use crate::units::process::Process;
use crate::units::{AgentUnit, UnitManager};

/// More jobs than any instance has agents for: somebody plays with the socket.
const MOST_JOBS: usize = 1000;

/// Notices are read at every so-many-th look: with the usual interval every 5 s, as EC2 advises.
const LOOKS_PER_NOTICES: u32 = 5;

/// What a keeper works with.
pub struct Ports<G, M, S, W> {
    /// The group.
    pub group: G,
    /// The metadata.
    pub metadata: M,
    /// The settings that the user data names.
    pub settings: S,
    /// The scaler's word.
    pub scaler: W,
    /// The agents.
    pub units: Box<dyn UnitManager>,
    /// The disk guard.
    pub disk: KeeperEnd,
    /// The time.
    pub clock: EvenClock,
}

/// What a keeper goes by.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The instance's id.
    pub instance: String,
    /// Its agents.
    pub agents: Vec<AgentUnit>,
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
    process: Option<Process>,
    since: Timestamp,
    answer: oneshot::Sender<Answer>,
}

/// Owns what is known about this instance.
pub struct Keeper<G, M, S, W> {
    ports: Ports<G, M, S, W>,
    orders: Orders,
    memory: Memory,
    seen: Observed,
    waiting: Vec<Waiting>,
    agents: Agents,
    looks: u32,
    updates: Updates,
}

impl<G: Group, M: Metadata, S: NewestSettings, W: ScalerWord> Keeper<G, M, S, W> {
    /// A keeper that remembers what a former one knew.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn new(ports: Ports<G, M, S, W>, orders: Orders) -> Result<Self, Failure> {
        let now = ports.clock.now();
        let memory = Memory::load(&orders.memory)?.unwrap_or_else(|| Memory::new(now));
        let mut seen = memory.observed();
        // A clock that was set back meanwhile must not make it wait until that time comes again.
        seen.idle_since = seen.idle_since.min(now);
        seen.logs_told = seen.logs_told.map(|at| at.min(now));
        let (waiting, agents) = (Vec::new(), Agents::default());
        let updates = Updates::new(&orders.instance, orders.policy.update_concurrency);
        Ok(Self { ports, orders, memory, seen, waiting, agents, looks: 0, updates })
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
            self.tell_guard();
        }
    }

    /// What the disk guard may not touch, and when it may touch all.
    fn tell_guard(&self) {
        let seen = &self.seen;
        let closed = matches!(seen.state, State::Cordoned | State::Draining(_)) && seen.agents_told;
        let quiet = closed && seen.agents == Some(0) && seen.jobs == 0 && self.waiting.is_empty();
        let eldest_job = self.memory.jobs.values().map(|job| job.since).min();
        self.ports.disk.activity.send_if_modified(|told| {
            let quiet_since = quiet.then(|| told.quiet_since.unwrap_or_else(Timestamp::now));
            let activity = Activity { eldest_job, quiet_since };
            let changed = *told != activity;
            *told = activity;
            changed
        });
    }

    /// No answer leaves what was known: a leaving instance stays leaving.
    async fn look(&mut self) -> Result<(), Failure> {
        if let Ok(target) = self.ports.metadata.target_state().await {
            self.seen.target = target;
        }
        if self.looks.is_multiple_of(LOOKS_PER_NOTICES) {
            self.look_at_notices().await;
        }
        self.looks = self.looks.wrapping_add(1);
        self.seen.disk = *self.ports.disk.verdict.borrow();
        // Each question is a process under systemd, so it is asked only where the answer counts.
        let serves = matches!(self.seen.state, State::Ready | State::Busy);
        let known = self.memory.jobs.values().all(|job| job.agent.is_some());
        self.seen.agents = if serves && known { None } else { self.count_agents() };
        if self.seen.state.reason().is_some() {
            self.seen.logs = self.ports.units.ships_logs().ok();
        }
        let any_agent = self.seen.agents != Some(0);
        for job in self.memory.ended(any_agent, Process::is_alive) {
            self.finish(&job, "its process is gone")?;
        }
        Ok(())
    }

    async fn look_at_notices(&mut self) {
        if let Ok(notices) = self.ports.metadata.notices().await {
            let clock = &self.ports.clock;
            let spot = notices.spot.map(|time_of_day| clock.when(time_of_day));
            self.seen.notices = lifecycle::Notices { spot, ..notices };
        }
        if self.orders.policy.max_age.is_some() && self.seen.launched.is_none() {
            let launched = self.ports.metadata.launched().await.ok().flatten();
            self.seen.launched = launched.map(|time_of_day| self.ports.clock.when(time_of_day));
        }
    }

    fn count_agents(&self) -> Option<usize> {
        let active: Result<Vec<bool>, Failure> =
            self.orders.agents.iter().map(|agent| self.ports.units.is_active(agent.number)).collect();
        active.ok().map(|active| active.into_iter().filter(|a| *a).count())
    }

    fn take(&mut self, call: Call) -> Result<(), Failure> {
        if let Some(word) = call.request.word() {
            let by_operator = call.asker.standing == Standing::Operator;
            let answer =
                if by_operator { self.heed(word)? } else { Answer::refused("only root may say that") };
            reply(call.answer, answer);
            return Ok(());
        }
        if call.request == Request::Status {
            reply(call.answer, Answer { status: Some(self.status()), ..Answer::done() });
            return Ok(());
        }
        let owner = match self.owner(&call.asker) {
            Ok(owner) => owner,
            Err(reason) => {
                reply(call.answer, Answer::refused(reason));
                return Ok(());
            }
        };
        match call.request {
            Request::JobStarted { .. } if self.memory.jobs.len() + self.waiting.len() >= MOST_JOBS => {
                reply(call.answer, Answer::refused("too many jobs are said to run here"));
            }
            Request::JobStarted { job, pid } => {
                let agent = owner.map_or_else(|| pid.and_then(Process::running), |o| Some(o.agent));
                let (process, since) = (owner.and_then(|o| o.job), self.ports.clock.now());
                self.waiting.push(Waiting { job, agent, process, since, answer: call.answer });
                self.seen.waiting_since = self.waiting.iter().map(|w| w.since).min();
            }
            Request::JobFinished { job } => {
                // An agent has one job, whatever its hooks call it.
                let over = owner.map_or_else(|| vec![job], |o| self.memory.of_agent(o.agent));
                let known = over.iter().any(|job| self.memory.jobs.contains_key(job));
                for job in over {
                    self.finish(&job, "its hook says so")?;
                }
                let reason = self.memory.cancelled.clone().filter(|_| known);
                reply(call.answer, Answer { reason, ..Answer::done() });
            }
            _ => {}
        }
        Ok(())
    }

    /// Whose jobs the asker may speak of: those of the agent above it. An operator below no agent may speak of all.
    fn owner(&mut self, asker: &Asker) -> Result<Option<asker::Owner>, String> {
        if asker.standing == Standing::Stranger {
            return Err("only the agents' user and root may speak of jobs".to_owned());
        }
        let owner = self.agents.above(asker, &*self.ports.units, &self.orders.agents);
        match owner {
            Ok(None) if asker.standing == Standing::Agents => {
                Err("whoever says that is no job of an agent of this instance".to_owned())
            }
            Ok(owner) => Ok(owner),
            Err(_) if asker.standing == Standing::Operator => Ok(None),
            Err(failure) => Err(format!("which agent it is cannot be told: {failure}; retry the job")),
        }
    }

    /// What drains cannot be called back: agents are leaving, and others may count on it.
    fn heed(&mut self, word: Word) -> Result<Answer, Failure> {
        if let Some(reason) = self.seen.state.reason()
            && word != Word::DrainNow
        {
            return Ok(match word {
                Word::Drain => Answer { status: Some(self.status()), ..Answer::done() },
                _ => Answer::refused(format!("the instance is {} already", State::Draining(reason))),
            });
        }
        self.seen.word = word;
        self.say(&serde_json::json!({ "operator": word }));
        self.save()?;
        Ok(Answer { status: Some(self.status()), ..Answer::done() })
    }

    fn finish(&mut self, job: &str, why: &str) -> Result<(), Failure> {
        if !self.memory.finish(job) {
            return Ok(());
        }
        self.say(&serde_json::json!({ "job": job, "over": why }));
        let before = self.seen.state;
        self.seen.job_over(self.memory.jobs.len(), self.ports.clock.now());
        self.say_if_moved(before);
        self.save()
    }

    fn status(&self) -> Status {
        Status {
            state: self.seen.state,
            protected: self.seen.protected.map(|(protected, _)| protected),
            jobs: self.memory.jobs.keys().cloned().collect(),
            idle_since: self.memory.jobs.is_empty().then_some(self.seen.idle_since),
            target: self.seen.target.clone(),
        }
    }

    /// Does what is to be done until nothing is. Every step either changes what is observed or is held off after
    /// its failure, so this ends; the bound only guards against a mistake in `decide`.
    async fn advance(&mut self) -> Result<(), Failure> {
        for _ in 0..16 {
            let steps = decide(&self.orders.policy, &self.seen, self.ports.clock.now());
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
        let (action, before) = (step.step, self.seen.state);
        self.seen.begin(action);
        let result = self.act(&step).await;
        let (now, wait) = (self.ports.clock.now(), self.orders.poll_interval);
        let mut line = serde_json::json!(step);
        let moved = match result {
            Ok(outcome) => self.seen.succeed(action, outcome, now),
            Err(refusal) => {
                line["failed"] = refusal.to_string().into();
                self.seen.fail(action, &refusal, wait, now)
            }
        };
        self.say(&line);
        if let Err(illegal) = moved {
            self.say(&serde_json::json!({ "ignored": illegal.to_string() }));
        }
        self.say_if_moved(before);
        self.save()
    }

    async fn act(&mut self, step: &Step) -> Result<Outcome, Refusal> {
        let group = &self.ports.group;
        let hook = self.orders.hook.clone().unwrap_or_default();
        match step.step {
            Action::DescribeInstance => {
                let member = group.describe_instance().await?;
                let member =
                    member.ok_or_else(|| Refusal::Absent("the group does not know it".to_owned()))?;
                return Ok(Outcome::Protected(member.protected));
            }
            Action::DescribeSize => return Ok(Outcome::Size(group.describe_size().await?)),
            Action::DescribeRollout => return Ok(Outcome::Turn(self.look_for_update().await?)),
            Action::DescribeScaler => return Ok(Outcome::Kept(self.ports.scaler.kept_at().await?)),
            Action::Admit => return self.admit(),
            Action::Protect => group.set_protection(true).await?,
            Action::Unprotect => group.set_protection(false).await?,
            Action::Refuse => self.refuse(&step.why),
            Action::Uncordon => self.each_agent(|units, agent| units.start(agent))?,
            Action::StopAgents => self.each_agent(|units, agent| units.stop(agent.number))?,
            Action::CancelJobs => self.cancel_jobs(&step.why)?,
            Action::FlushLogs => self.ports.units.stop_logs().map_err(failed)?,
            Action::ShipLogs => self.ports.units.start_logs().map_err(failed)?,
            Action::Heartbeat => group.heartbeat(&hook).await?,
            Action::Complete => group.complete(&hook).await?,
            Action::Terminate => group.terminate_with_decrement().await?,
            Action::Replace => group.terminate_for_successor().await?,
            Action::MarkUnhealthy => group.mark_unhealthy().await?,
            Action::BeReady | Action::Cordon | Action::Drain(_) | Action::Retire => {}
        }
        Ok(Outcome::Done)
    }

    fn each_agent(
        &self,
        tell: impl Fn(&dyn UnitManager, &AgentUnit) -> Result<(), Failure>,
    ) -> Result<(), Refusal> {
        self.orders.agents.iter().try_for_each(|agent| tell(&*self.ports.units, agent)).map_err(failed)
    }

    /// The reason is kept first: it goes into the log of each job that ends by it.
    fn cancel_jobs(&mut self, why: &str) -> Result<(), Refusal> {
        self.memory.cancelled = Some(format!("the job was cancelled: {why}; retry it"));
        self.save().map_err(failed)?;
        self.each_agent(|units, agent| units.cancel(agent.number))
    }

    async fn look_for_update(&mut self) -> Result<Option<Newer>, Refusal> {
        let (group, settings) = (&self.ports.group, &self.ports.settings);
        let seen = self.updates.look(group, settings, &mut self.memory.settings).await?;
        if let Some(failure) = seen.unknown {
            self.say(&serde_json::json!({ "settings": "unknown", "failed": failure.message }));
        }
        Ok(seen.turn)
    }

    /// The job is remembered before its hook hears of it: a `watch` that ends in between must not forget it.
    fn admit(&mut self) -> Result<Outcome, Refusal> {
        // The time of day: the disk guard holds it against Docker's.
        let (jobs, now) = (self.memory.jobs.clone(), Timestamp::now());
        for waiting in &self.waiting {
            let (agent, process) = (waiting.agent, waiting.process);
            self.memory.start(waiting.job.clone(), Job { agent, process, since: now });
        }
        if let Err(failure) = self.save() {
            self.memory.jobs = jobs;
            return Err(failed(failure));
        }
        for waiting in std::mem::take(&mut self.waiting) {
            // A hook that went away leaves a job that ends with its agent.
            reply(waiting.answer, Answer::done());
        }
        Ok(Outcome::Jobs(self.memory.jobs.len()))
    }

    fn refuse(&mut self, why: &str) {
        for waiting in std::mem::take(&mut self.waiting) {
            reply(waiting.answer, Answer::refused(why));
        }
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.memory.remember(&self.seen);
        self.memory.save(&self.orders.memory)
    }

    fn say_if_moved(&self, before: State) {
        if self.seen.state != before {
            let record = Record::new(&self.orders.instance, self.seen.state, Timestamp::now());
            self.say(&serde_json::json!(record));
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

fn failed(failure: Failure) -> Refusal {
    Refusal::Failed(failure.message)
}

/// The asker may be gone; then nobody misses the answer.
fn reply(to: oneshot::Sender<Answer>, answer: Answer) {
    let _ = to.send(answer);
}
