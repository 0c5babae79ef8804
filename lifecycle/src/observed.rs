//! What is known of an instance, and what each deed and each event teaches. Pure; `watch` keeps one, and so may
//! whoever plays an instance on a clock of its own.

use jiff::{SignedDuration, Timestamp};

use crate::attempts::Attempts;
use crate::decide::Action;
use crate::rollout::Newer;
use crate::{AwsState, Event, IllegalMove, Reason, Refusal, Size, State};

/// What the metadata service announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notices {
    /// When EC2 takes the spot instance back.
    pub spot: Option<Timestamp>,
    /// EC2 expects to take it back.
    pub rebalance: bool,
    /// EC2 will stop, reboot or retire the machine.
    pub maintenance: bool,
}

/// Is there room on the disk?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// Enough, or not known.
    #[default]
    Fine,
    /// Too little, and only where nothing runs can more be removed.
    Low,
    /// Too little, and nothing is left to be removed.
    Full,
}

/// An operator's word. It holds until the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Nothing was said, or `uncordon`.
    #[default]
    Serve,
    /// Take no more jobs, and stay.
    Cordon,
    /// Finish what runs, and leave.
    Drain,
    /// Cancel what runs, and leave.
    DrainNow,
}

/// What is known. `None` is unknown, never "no".
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What the instance does.
    pub state: State,
    /// The lifecycle state that the group aims at, from the metadata service.
    pub target: Option<AwsState>,
    /// What EC2 announces.
    pub notices: Notices,
    /// The operator's last word.
    pub word: Word,
    /// When the machine was launched.
    pub launched: Option<Timestamp>,
    /// Is there room on the disk?
    pub disk: Disk,
    /// Protected from scale-in, and when that was last heard from the group.
    pub protected: Option<(bool, Timestamp)>,
    /// Jobs that run.
    pub jobs: usize,
    /// Did a job end here?
    pub served: bool,
    /// Since when the eldest of the jobs that ask to run has asked.
    pub waiting_since: Option<Timestamp>,
    /// Since when nothing runs.
    pub idle_since: Timestamp,
    /// The group's limits, and when they were heard.
    pub size: Option<(Size, Timestamp)>,
    /// What a successor would have, if it is this instance's turn to leave for one, and when that was found out.
    pub turn: Option<(Option<Newer>, Timestamp)>,
    /// When a scaler last said that it keeps idle instances, if ever, and when that was found out.
    pub scaler: Option<(Option<Timestamp>, Timestamp)>,
    /// Agents that run.
    pub agents: Option<usize>,
    /// Were the agents told to leave?
    pub agents_told: bool,
    /// Were they told to cancel their jobs?
    pub cancelled: bool,
    /// The last heartbeat that the group took.
    pub heartbeat: Option<Timestamp>,
    /// Did this instance ask its group to end it?
    pub termination_asked: bool,
    /// Does the shipping of logs run?
    pub logs: Option<bool>,
    /// When it was told to send what is left and to end.
    pub logs_told: Option<Timestamp>,
    /// What failed lately.
    pub attempts: Attempts,
}

/// What a deed brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but that it was done.
    Done,
    /// The instance is protected, or not.
    Protected(bool),
    /// The group's limits.
    Size(Size),
    /// What a successor would have, if it is this instance's turn.
    Turn(Option<Newer>),
    /// When a scaler last said that it keeps idle instances, if ever.
    Kept(Option<Timestamp>),
    /// So many jobs run now.
    Jobs(usize),
}

impl Observed {
    /// Of an instance in this state, of which nothing else is known.
    #[must_use]
    pub fn new(state: State, idle_since: Timestamp) -> Self {
        Self {
            state,
            target: None,
            notices: Notices::default(),
            word: Word::Serve,
            launched: None,
            disk: Disk::Fine,
            protected: None,
            jobs: 0,
            served: false,
            waiting_since: None,
            idle_since,
            size: None,
            turn: None,
            scaler: None,
            agents: None,
            agents_told: false,
            cancelled: false,
            heartbeat: None,
            termination_asked: false,
            logs: None,
            logs_told: None,
            attempts: Attempts::default(),
        }
    }

    /// Is the group ending it?
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.target.as_ref().is_some_and(AwsState::is_leaving)
    }

    /// Before a deed. Dropped protection is unknown until the answer is there: a lost answer may well have done it.
    pub fn begin(&mut self, action: Action) {
        if action == Action::Unprotect {
            self.protected = None;
        }
    }

    /// A deed was done.
    ///
    /// # Errors
    /// It moves the instance as it must not move; nothing is changed then.
    pub fn succeed(&mut self, action: Action, outcome: Outcome, now: Timestamp) -> Result<(), IllegalMove> {
        self.attempts.succeed(action);
        match outcome {
            Outcome::Protected(protected) => self.protected = Some((protected, now)),
            Outcome::Size(size) => self.size = Some((size, now)),
            Outcome::Turn(turn) => self.turn = Some((turn, now)),
            Outcome::Kept(kept) => self.scaler = Some((kept, now)),
            Outcome::Jobs(jobs) => self.jobs = jobs,
            Outcome::Done => {}
        }
        match action {
            Action::DescribeInstance
            | Action::DescribeSize
            | Action::DescribeRollout
            | Action::DescribeScaler => {}
            Action::Protect => self.protected = Some((true, now)),
            Action::Unprotect => self.protected = Some((false, now)),
            Action::Admit => {
                self.waiting_since = None;
                // One that still boots becomes busy with its readiness.
                if matches!(self.state, State::Ready | State::Busy) {
                    self.enter(Event::JobStarted)?;
                }
            }
            Action::Refuse => self.waiting_since = None,
            Action::BeReady | Action::Uncordon => {
                self.enter(Event::AgentsStarted)?;
                self.agents_told = false;
                if self.jobs > 0 {
                    self.enter(Event::JobStarted)?;
                } else {
                    self.idle_since = now;
                }
            }
            Action::Cordon => self.enter(Event::Cordon)?,
            Action::Drain(reason) => self.enter(Event::Retire(reason))?,
            Action::StopAgents => self.agents_told = true,
            Action::CancelJobs => self.cancelled = true,
            Action::Heartbeat => self.heartbeat = Some(now),
            Action::FlushLogs => self.logs_told = Some(now),
            Action::ShipLogs => (self.logs, self.logs_told) = (None, None),
            Action::Complete | Action::Retire => self.enter(Event::Drained)?,
            Action::Terminate | Action::Replace | Action::MarkUnhealthy => self.termination_asked = true,
        }
        Ok(())
    }

    /// A deed failed: it is tried again later, and its words may say that another way must be gone.
    ///
    /// # Errors
    /// As [`Observed::succeed`].
    pub fn fail(
        &mut self,
        action: Action,
        refusal: &Refusal,
        first_wait: SignedDuration,
        now: Timestamp,
    ) -> Result<(), IllegalMove> {
        self.attempts.fail(action, first_wait, now);
        match (action, refusal) {
            // The action is over: completed before, timed out, or the hook does not exist. Or the instance is in no
            // group any more: nobody is left to be asked.
            (Action::Complete, Refusal::NoAction(_) | Refusal::Absent(_))
            | (Action::Terminate | Action::Replace | Action::MarkUnhealthy, Refusal::Absent(_)) => {
                self.enter(Event::Drained)
            }
            // A further decrement would be refused as well.
            (Action::Terminate, Refusal::Minimum(_)) => {
                self.attempts.give_up(action);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A job ended; so many are left.
    pub fn job_over(&mut self, left: usize, now: Timestamp) {
        self.served = true;
        if self.jobs > 0 && left == 0 {
            self.idle_since = now;
            // Only a retired instance refuses, and no job runs there.
            let _ = self.enter(Event::LastJobFinished);
        }
        self.jobs = left;
    }

    /// Why a job that ended was cancelled, if it was.
    #[must_use]
    pub fn cancelled_for(&self) -> Option<Reason> {
        self.state.reason().filter(|_| self.cancelled)
    }

    fn enter(&mut self, event: Event) -> Result<(), IllegalMove> {
        self.state = self.state.after(event)?;
        Ok(())
    }
}
