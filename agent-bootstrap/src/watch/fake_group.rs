//! A group of one instance in memory that refuses what AWS refuses: the double for tests of `watch`.
//! `tests/contracts` holds it and the adapter to one suite.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lifecycle::boots::Activity;
use lifecycle::{AwsState, Notices};

use super::group::{Group, Member, Refusal, Size};
use super::metadata::Metadata;
use lifecycle::rollout::{Peer, Rollout, TemplateVersion};

/// The group and its instance. Clones share it.
#[derive(Debug, Clone)]
pub struct FakeGroup(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    member: Option<Member>,
    size: Size,
    hook: Option<String>,
    /// Version that the group launches; its instance has the first.
    version: u32,
    notices: Notices,
    /// Is the hook's completion refused?
    holds: bool,
    calls: Vec<String>,
}

impl FakeGroup {
    /// An instance in this state, protected as the stack's are born, under a terminating hook if one is named.
    #[must_use]
    pub fn new(size: Size, hook: Option<&str>, state: AwsState) -> Self {
        let member = Some(Member { state, protected: true });
        let hook = hook.map(str::to_owned);
        let (notices, calls) = (Notices::default(), Vec::new());
        Self(Arc::new(Mutex::new(Inside { member, size, hook, version: 1, notices, holds: false, calls })))
    }

    /// The mutations that were asked for, in order, refused ones too.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The instance, while it is in the group.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.lock().member.clone()
    }

    /// The group ends the instance, as a person or a rebalance does.
    pub fn take_away(&self) {
        self.lock().retire();
    }

    /// The instance enters this state, whatever led there.
    pub fn enter(&self, state: AwsState) {
        if let Some(member) = &mut self.lock().member {
            member.state = state;
        }
    }

    /// The group launches the next version of its template from now on.
    pub fn update(&self) {
        self.lock().version += 1;
    }

    /// EC2 announces this.
    pub fn announce(&self, notices: Notices) {
        self.lock().notices = notices;
    }

    /// From now on the hook's completion is refused, or not any more.
    pub fn hold(&self, holds: bool) {
        self.lock().holds = holds;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, call: impl Into<String>) -> MutexGuard<'_, Inside> {
        let mut inside = self.lock();
        inside.calls.push(call.into());
        inside
    }
}

impl Inside {
    fn retire(&mut self) {
        match (&mut self.member, &self.hook) {
            (Some(member), _) if member.state.is_leaving() => {}
            (Some(member), Some(_)) => member.state = AwsState::TerminatingWait,
            _ => self.member = None,
        }
    }

    fn member(&mut self) -> Result<&mut Member, Refusal> {
        self.member.as_mut().ok_or_else(|| Refusal::Absent("no managed instance found".to_owned()))
    }

    fn waits(&self, hook: &str) -> Result<(), Refusal> {
        let held = self.member.as_ref().is_some_and(|m| m.state == AwsState::TerminatingWait);
        if held && self.hook.as_deref() == Some(hook) {
            return Ok(());
        }
        Err(Refusal::NoAction("no active lifecycle action found".to_owned()))
    }
}

impl Group for FakeGroup {
    async fn describe_instance(&self) -> Result<Option<Member>, Refusal> {
        Ok(self.member())
    }

    async fn describe_size(&self) -> Result<Size, Refusal> {
        Ok(self.lock().size)
    }

    async fn describe_rollout(&self) -> Result<Rollout, Refusal> {
        let inside = self.lock();
        let version = |version: u32| {
            Some(TemplateVersion { template: "lt-1".to_owned(), version: version.to_string() })
        };
        let peer = |member: &Member| Peer {
            id: "i-1".to_owned(),
            state: member.state.clone(),
            template: version(1),
        };
        Ok(Rollout {
            min: inside.size.min,
            desired: inside.size.desired,
            template: version(inside.version),
            peers: inside.member.iter().map(peer).collect(),
        })
    }

    async fn describe_activities(&self, _: &BTreeSet<String>) -> Result<Vec<Activity>, Refusal> {
        let launch = |member: &Member| {
            let is_held = member.state == AwsState::PendingWait;
            Activity {
                description: "Launching a new EC2 instance: i-1".to_owned(),
                cause: "an instance was started".to_owned(),
                status: if is_held { "MidLifecycleAction" } else { "Successful" }.to_owned(),
                message: String::new(),
                start: Timestamp::UNIX_EPOCH,
                end: (!is_held).then_some(Timestamp::UNIX_EPOCH),
            }
        };
        Ok(self.lock().member.iter().map(launch).collect())
    }

    async fn set_protection(&self, protected: bool) -> Result<(), Refusal> {
        let mut inside = self.asked(if protected { "protect" } else { "unprotect" });
        let member = inside.member()?;
        if !member.state.takes_protection() {
            return Err(Refusal::State(format!("the instance is {}", member.state)));
        }
        member.protected = protected;
        Ok(())
    }

    async fn heartbeat(&self, hook: &str) -> Result<(), Refusal> {
        self.asked(format!("heartbeat {hook}")).waits(hook)
    }

    async fn complete(&self, hook: &str) -> Result<(), Refusal> {
        let mut inside = self.asked(format!("complete {hook}"));
        inside.waits(hook)?;
        if inside.holds {
            return Err(Refusal::Failed("Throttling: Rate exceeded".to_owned()));
        }
        inside.member = None;
        Ok(())
    }

    async fn terminate_with_decrement(&self) -> Result<(), Refusal> {
        let mut inside = self.asked("terminate");
        if inside.member()?.state.is_leaving() {
            return Ok(());
        }
        if inside.size.desired <= inside.size.min {
            return Err(Refusal::Minimum("desired capacity is the minimum".to_owned()));
        }
        inside.size.desired -= 1;
        inside.retire();
        Ok(())
    }

    async fn terminate_for_successor(&self) -> Result<(), Refusal> {
        let mut inside = self.asked("replace");
        inside.member()?;
        inside.retire();
        Ok(())
    }

    async fn mark_unhealthy(&self) -> Result<(), Refusal> {
        let mut inside = self.asked("mark-unhealthy");
        inside.member()?;
        inside.retire();
        Ok(())
    }
}

/// The same instance as its metadata tells of it.
impl Metadata for FakeGroup {
    async fn target_state(&self) -> Result<Option<AwsState>, aws::CallError> {
        let leaving = self.member().is_none_or(|m| m.state.is_leaving());
        Ok(Some(if leaving { AwsState::Terminated } else { AwsState::InService }))
    }

    async fn notices(&self) -> Result<Notices, aws::CallError> {
        Ok(self.lock().notices)
    }

    async fn launched(&self) -> Result<Option<Timestamp>, aws::CallError> {
        Ok(None)
    }
}
