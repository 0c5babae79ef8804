//! One instance: it boots, its watch looks and acts, its agents take jobs.

use jiff::{SignedDuration, Timestamp};
use lab::group::model::Group;
use lifecycle::decide::{Action, decide};
use lifecycle::observed::{Observed, Outcome, Word};
use lifecycle::policy::Policy;
use lifecycle::{AwsState, Refusal, Size, State};

use crate::aws::{Aws, Calls};
use crate::ci::Ci;

/// How far the machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// EC2 brings it up.
    Coming(Timestamp),
    /// Our boot runs, and will come to a good end or not.
    Booting(Timestamp, bool),
    /// Our boot will never end.
    Hung,
    /// Its watch and its agents run.
    Serving,
    /// The hardware is gone.
    Dead,
}

/// Logs take so long to be sent.
const SENDING: SignedDuration = SignedDuration::from_secs(3);

#[derive(Debug)]
pub struct Machine {
    pub id: String,
    pub group: usize,
    pub stage: Stage,
    pub seen: Observed,
    /// When each job that runs ends.
    pub jobs: Vec<Timestamp>,
    /// Jobs whose hooks ask, and how long each will run.
    pub asking: Vec<SignedDuration>,
    pub agents: usize,
    pub agents_left: bool,
    /// The watch is down until then.
    pub down_until: Option<Timestamp>,
    /// The watch falls after so many deeds more, before it notes the last one.
    pub falls_after: Option<u32>,
    pub spot: Option<Timestamp>,
    /// Somebody said that jobs may be cancelled here.
    pub excused: bool,
    /// What its watch did.
    pub deeds: u64,
}

impl Machine {
    pub fn ordered(id: String, group: usize, up_at: Timestamp, agents: usize, now: Timestamp) -> Self {
        let seen = Observed { logs: Some(true), launched: Some(now), ..Observed::new(State::Booting, now) };
        Self {
            id,
            group,
            stage: Stage::Coming(up_at),
            seen,
            jobs: Vec::new(),
            asking: Vec::new(),
            agents,
            agents_left: false,
            down_until: None,
            falls_after: None,
            spot: None,
            excused: false,
            deeds: 0,
        }
    }

    /// Its boot ends: it tells the group, again and again until that is heard.
    pub fn boot_ends(&mut self, good: bool, aws: &mut Aws) {
        let id = self.id.clone();
        let told =
            aws.call(self.group, |group, now| group.complete(&id, "launching", good, now).map_err(no_action));
        // The hook has waited too long, or was completed by a call whose answer was lost.
        if good && !matches!(told, Err(Refusal::Failed(_))) {
            self.stage = Stage::Serving;
            self.seen.agents = Some(self.agents);
        }
    }

    /// Jobs that are over leave; gives back how many.
    pub fn end_jobs(&mut self, now: Timestamp) -> u64 {
        let before = self.jobs.len();
        self.jobs.retain(|ends| *ends > now);
        (before - self.jobs.len()) as u64
    }

    /// An agent that is idle takes a job. One that was told to leave a moment ago may yet.
    pub fn take_job(&mut self, ci: &mut Ci, now: Timestamp, slips_in: bool) {
        let serves = self.stage == Stage::Serving
            && !self.agents_left
            && self.jobs.len() + self.asking.len() < self.agents;
        let free = matches!(self.seen.state, State::Ready | State::Busy) && !self.seen.agents_told;
        if !serves || !(free || slips_in) || ci.paused {
            return;
        }
        if let Some(job) = ci.scheduled.pop() {
            ci.running += 1;
            self.asking.push(job);
            self.seen.waiting_since.get_or_insert(now);
        }
    }

    /// One look of its watch, and all that follows from it.
    pub fn look(&mut self, policy: &Policy, aws: &mut Aws, ci: &mut Ci, metadata: bool) {
        let now = aws.now;
        if self.stage != Stage::Serving || self.down_until.is_some_and(|until| now < until) {
            return;
        }
        if self.down_until.take().is_some() {
            self.seen = restarted(&self.seen);
            if !self.asking.is_empty() {
                self.seen.waiting_since = Some(now);
            }
        }
        self.observe(aws, metadata, now);
        for round in 0.. {
            let steps = decide(policy, &self.seen, now);
            if steps.is_empty() {
                return;
            }
            assert!(round < 16, "{}: no rest: {:?}", self.id, self.seen);
            for step in steps {
                self.take(step.step, aws, ci, now);
                if self.down_until.is_some() {
                    return;
                }
            }
        }
    }

    fn observe(&mut self, aws: &Aws, metadata: bool, now: Timestamp) {
        let member = aws.groups[self.group].member(&self.id);
        if metadata {
            self.seen.target = member.map(|member| AwsState::from(member.lifecycle.target()));
            self.seen.notices.spot = self.spot;
        }
        self.agents_left |= self.seen.agents_told && self.jobs.is_empty() && self.asking.is_empty();
        self.seen.agents = Some(if self.agents_left { 0 } else { self.agents });
        if self.seen.logs_told.is_some_and(|at| now.duration_since(at) >= SENDING) {
            self.seen.logs = Some(false);
        }
        if self.seen.jobs > self.jobs.len() {
            self.seen.job_over(self.jobs.len(), now);
        }
    }

    fn take(&mut self, action: Action, aws: &mut Aws, ci: &mut Ci, now: Timestamp) {
        self.deeds += 1;
        self.seen.begin(action);
        let result = self.act(action, aws, ci, now);
        if let Some(deeds) = &mut self.falls_after {
            if *deeds == 0 {
                self.falls_after = None;
                // What its memory keeps is written after each deed; this one's was not. An admitted job's was before.
                if action != Action::Admit {
                    self.down_until = Some(now + SignedDuration::from_secs(2));
                    return;
                }
            } else {
                *deeds -= 1;
            }
        }
        let moved = match result {
            Ok(outcome) => self.seen.succeed(action, outcome, now),
            Err(refusal) => self.seen.fail(action, &refusal, SignedDuration::from_secs(1), now),
        };
        assert!(moved.is_ok(), "{}: {action:?}: {moved:?}", self.id);
        if action == Action::ShipLogs {
            self.seen.logs = Some(true);
        }
    }

    fn act(
        &mut self,
        action: Action,
        aws: &mut Aws,
        ci: &mut Ci,
        now: Timestamp,
    ) -> Result<Outcome, Refusal> {
        let id = self.id.clone();
        let told = match aws.calls {
            Calls::Fail => Err(Refusal::Failed(String::new())),
            _ => Ok(Outcome::Kept(aws.kept)),
        };
        let mut call = |act: &mut dyn FnMut(&mut Group) -> Result<Outcome, Refusal>| {
            aws.call(self.group, |group, _| act(group))
        };
        match action {
            Action::DescribeInstance => call(&mut |group| match group.member(&id) {
                Some(member) => Ok(Outcome::Protected(member.protected)),
                None => Err(Refusal::Absent(String::new())),
            }),
            Action::DescribeSize => call(&mut |group| {
                let [min, max, desired] =
                    [group.definition.min, group.definition.max, group.desired].map(|n| n as i32);
                let live = group.capacity() as i32;
                Ok(Outcome::Size(Size { min, max, desired, live }))
            }),
            Action::DescribeRollout => Ok(Outcome::Turn(None)),
            Action::DescribeScaler => told,
            Action::Protect | Action::Unprotect => call(&mut |group| {
                let protected = action == Action::Protect;
                let set = group.set_protection(std::slice::from_ref(&id), protected);
                set.map(|()| Outcome::Done).map_err(|e| Refusal::State(e.to_string()))
            }),
            Action::Heartbeat => call(&mut |group| {
                group.heartbeat(&id, "terminating", now).map(|()| Outcome::Done).map_err(no_action)
            }),
            Action::Complete => call(&mut |group| {
                group.complete(&id, "terminating", true, now).map(|()| Outcome::Done).map_err(no_action)
            }),
            Action::Terminate | Action::Replace => call(&mut |group| {
                let decrement = action == Action::Terminate;
                match group.terminate(&id, decrement, now) {
                    Ok(_) => Ok(Outcome::Done),
                    Err(e) if e.message.contains("minSize") => Err(Refusal::Minimum(e.message)),
                    Err(e) => Err(Refusal::Absent(e.message)),
                }
            }),
            Action::MarkUnhealthy => call(&mut |group| {
                group.set_health(&id, false, false, now);
                Ok(Outcome::Done)
            }),
            Action::Admit => {
                self.jobs.extend(self.asking.drain(..).map(|job| now + job));
                Ok(Outcome::Jobs(self.jobs.len()))
            }
            Action::Refuse => {
                ci.running -= self.asking.len() as u64;
                ci.scheduled.append(&mut self.asking);
                Ok(Outcome::Done)
            }
            Action::CancelJobs => {
                assert!(self.excused, "{id}: jobs were cancelled for no reason");
                ci.running -= self.jobs.len() as u64;
                self.jobs.clear();
                Ok(Outcome::Done)
            }
            Action::Uncordon => {
                self.agents_left = false;
                Ok(Outcome::Done)
            }
            Action::BeReady
            | Action::Cordon
            | Action::Drain(_)
            | Action::StopAgents
            | Action::FlushLogs
            | Action::ShipLogs
            | Action::Retire => Ok(Outcome::Done),
        }
    }

    /// An operator's word; what drains cannot be called back.
    pub fn said(&mut self, word: Word) {
        let drains = self.seen.state.reason().is_some();
        if self.stage == Stage::Serving && (!drains || word == Word::DrainNow) {
            self.seen.word = word;
            self.excused |= word == Word::DrainNow;
        }
    }

    /// The machine is no more; its jobs are lost, which nobody here could have helped.
    pub fn dies(&mut self, aws: &mut Aws, ci: &mut Ci) {
        let was_coming = matches!(self.stage, Stage::Coming(_));
        self.stage = Stage::Dead;
        ci.running -= (self.jobs.len() + self.asking.len()) as u64;
        self.jobs.clear();
        self.asking.clear();
        let now = aws.now;
        let group = &mut aws.groups[self.group];
        if was_coming {
            group.failed_to_launch(&self.id, "Server.InternalError", now);
        } else {
            group.set_health(&self.id, false, false, now);
        }
    }
}

fn no_action(refusal: lab::group::requests::Refusal) -> Refusal {
    Refusal::NoAction(refusal.message)
}

/// What a new watch knows: the rest is asked anew.
fn restarted(seen: &Observed) -> Observed {
    Observed {
        target: seen.target.clone(),
        notices: seen.notices,
        word: seen.word,
        launched: seen.launched,
        jobs: seen.jobs,
        served: seen.served,
        agents: seen.agents,
        agents_told: seen.agents_told,
        cancelled: seen.cancelled,
        logs: seen.logs,
        logs_told: seen.logs_told,
        ..Observed::new(seen.state, seen.idle_since)
    }
}
