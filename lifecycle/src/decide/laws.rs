//! Laws of `decide` under any order of events, against a group with AWS's own rules.

use super::tests::{ROOM, at, policy, ready};
use super::*;
use crate::observed::{Disk, Outcome, Word};
use crate::rollout::Newer;
use crate::{AwsState, Refusal};
use proptest::prelude::*;

/// What can happen around the instance.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Passes(i64),
    JobAsks,
    JobEnds,
    GroupEnds,
    AgentsLeave,
    DesiredFalls,
    TurnComes(bool),
    CallsFail(bool),
    Restart,
    SpotNotice,
    Rebalance,
    Maintenance,
    DiskIs(Disk),
    Said(Word),
    ProtectionLost,
    LogsSent,
}

/// A number is cheap to make and to shrink; most of them let time pass, or are about jobs.
fn happening(number: u16) -> Happening {
    use Happening::*;
    let more = i64::from(number / 32);
    match number % 32 {
        0..=6 => Passes(1 + more % 900),
        7..=11 => JobAsks,
        12..=16 => JobEnds,
        17..=18 => AgentsLeave,
        19 => GroupEnds,
        20 => DesiredFalls,
        21 => TurnComes(more % 2 == 0),
        22 => CallsFail(more % 2 == 0),
        23 => Restart,
        24 if more % 4 == 0 => SpotNotice,
        25 if more % 2 == 0 => Rebalance,
        26 if more % 4 == 0 => Maintenance,
        27 => DiskIs([Disk::Fine, Disk::Low, Disk::Low, Disk::Full][more as usize % 4]),
        28 => Said([Word::Serve, Word::Cordon, Word::Drain, Word::DrainNow][more as usize % 4]),
        29 => Said([Word::Serve, Word::Cordon][more as usize % 2]),
        30 => ProtectionLost,
        31 => LogsSent,
        _ => Passes(1),
    }
}

/// Between two looks.
const LOOK: i64 = 100;

/// The instance, its group and what really holds, beside what is observed.
struct World {
    policy: Policy,
    seen: Observed,
    now: Timestamp,
    protected: bool,
    size: Size,
    turn: bool,
    /// Does a scaler live that keeps idle instances?
    scaler_keeps: bool,
    calls_fail: bool,
    completed: bool,
    /// Since when the group ends it and calls work, or the last heartbeat: what the hook's patience counts from.
    held_from: Option<Timestamp>,
    /// Since when no logs are shipped.
    logs_ended: Option<Timestamp>,
    /// Is the shipping of logs stuck?
    logs_hang: bool,
    /// Did something but idleness come since protection was dropped?
    may_drop: bool,
}

type Lawful = Result<(), TestCaseError>;

impl World {
    fn new(policy: Policy, min: i32, logs_hang: bool) -> Self {
        Self {
            policy,
            seen: Observed { logs: Some(true), launched: Some(at(0)), ..ready() },
            now: at(0),
            protected: true,
            size: Size { min, ..ROOM },
            turn: false,
            scaler_keeps: false,
            calls_fail: false,
            completed: false,
            held_from: None,
            logs_ended: None,
            may_drop: true,
            logs_hang,
        }
    }

    fn happen(&mut self, happening: Happening) -> Lawful {
        let seen = &mut self.seen;
        match happening {
            Happening::Passes(seconds) => return self.pass(seconds),
            Happening::JobAsks => {
                seen.waiting_since.get_or_insert(self.now);
            }
            Happening::JobEnds if seen.jobs > 0 => {
                seen.job_over(seen.jobs - 1, self.now);
                self.may_drop = true;
            }
            // The group takes only unprotected instances by itself; a person may take any.
            Happening::GroupEnds => self.leave(),
            Happening::AgentsLeave if seen.agents_told && seen.jobs == 0 => seen.agents = Some(0),
            Happening::DesiredFalls => self.size.desired = (self.size.desired - 1).max(self.size.min),
            Happening::TurnComes(turn) => self.turn = turn,
            Happening::CallsFail(fail) => {
                self.calls_fail = fail;
                self.held_from = self.seen.is_leaving().then_some(self.now);
            }
            Happening::Restart => {
                self.seen = restarted(&self.seen);
                self.may_drop = true;
            }
            Happening::SpotNotice => {
                seen.notices.spot.get_or_insert(self.now + SignedDuration::from_secs(120));
            }
            Happening::Rebalance => seen.notices.rebalance = true,
            Happening::Maintenance => seen.notices.maintenance = true,
            Happening::DiskIs(disk) => {
                seen.disk = disk;
                self.may_drop = true;
            }
            // What drains cannot be called back: `watch` refuses that.
            Happening::Said(word) if seen.state.reason().is_none() || word == Word::DrainNow => {
                seen.word = word;
                self.may_drop = true;
            }
            Happening::ProtectionLost => {
                self.protected = false;
                seen.protected = None;
            }
            Happening::LogsSent if seen.logs_told.is_some() && !self.logs_hang => {
                seen.logs = Some(false);
                self.logs_ended.get_or_insert(self.now);
            }
            _ => {}
        }
        self.settle()
    }

    fn leave(&mut self) {
        self.seen.target = Some(AwsState::Terminated);
        self.held_from.get_or_insert(self.now);
    }

    /// Time passes in looks, as for `watch` itself.
    fn pass(&mut self, seconds: i64) -> Lawful {
        let until = self.now + SignedDuration::from_secs(seconds);
        while self.now < until {
            self.now = until.min(self.now + SignedDuration::from_secs(LOOK));
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Lawful {
        for _ in 0..16 {
            let steps = decide(&self.policy, &self.seen, self.now);
            if steps.is_empty() {
                self.check_logs()?;
                return self.check_hold();
            }
            for step in steps {
                self.apply(step.step)?;
            }
        }
        Err(TestCaseError::fail(format!("no rest: {:?}", self.seen)))
    }

    /// While calls work, the hook never waits for a heartbeat much longer than the interval.
    fn check_hold(&self) -> Lawful {
        let held = self.seen.is_leaving() && self.policy.has_hook && !self.completed && !self.calls_fail;
        if let Some(from) = self.held_from.filter(|_| held && self.seen.jobs > 0) {
            let longest = self.policy.heartbeat_interval + SignedDuration::from_secs(LOOK + 30);
            prop_assert!(
                self.now.duration_since(from) <= longest,
                "no heartbeat since {from}: {:?}",
                self.seen
            );
        }
        Ok(())
    }

    /// Logs that were sent for an end that does not come are shipped again: all ways to it were tried meanwhile.
    fn check_logs(&self) -> Lawful {
        let longest = FLUSHED_WITHIN + SignedDuration::from_secs(12 * (LOOK + 30));
        let ended = self.logs_ended.filter(|_| !self.completed);
        let stale = ended.is_some_and(|at| self.now.duration_since(at) > longest);
        prop_assert!(!stale, "its logs stay on the instance: {:?}", self.seen);
        Ok(())
    }

    fn refusal(&self, step: Action) -> Option<Refusal> {
        let none = String::new;
        let local = matches!(
            step,
            Action::Admit
                | Action::Refuse
                | Action::Drain(_)
                | Action::Retire
                | Action::BeReady
                | Action::Cordon
                | Action::CancelJobs
                | Action::ShipLogs
        );
        match step {
            _ if local => None,
            _ if self.calls_fail => Some(Refusal::Failed(none())),
            Action::Protect | Action::Unprotect if self.seen.is_leaving() => Some(Refusal::State(none())),
            Action::Heartbeat if !self.seen.is_leaving() || self.completed => Some(Refusal::NoAction(none())),
            Action::Terminate if self.size.desired <= self.size.min => Some(Refusal::Minimum(none())),
            _ => None,
        }
    }

    /// Carries out one step as `watch` does, checking the laws on the way.
    fn apply(&mut self, step: Action) -> Lawful {
        self.check(step)?;
        self.seen.begin(step);
        if let Some(refusal) = self.refusal(step) {
            let wait = SignedDuration::from_secs(1);
            return self
                .seen
                .fail(step, &refusal, wait, self.now)
                .map_err(|e| TestCaseError::fail(e.to_string()));
        }
        let outcome = match step {
            Action::DescribeInstance => Outcome::Protected(self.protected),
            Action::DescribeSize => Outcome::Size(self.size),
            Action::DescribeRollout => Outcome::Turn(self.turn.then_some(Newer::Settings)),
            Action::DescribeScaler => Outcome::Kept(self.scaler_keeps.then_some(self.now)),
            Action::Admit => Outcome::Jobs(self.seen.jobs + 1),
            _ => Outcome::Done,
        };
        match step {
            Action::Protect => self.protected = true,
            Action::Unprotect => {
                self.protected = false;
                self.may_drop = false;
            }
            Action::Heartbeat => self.held_from = Some(self.now),
            Action::Complete | Action::Retire => self.completed = true,
            Action::Uncordon => self.seen.agents = Some(2),
            Action::Terminate => {
                self.size.desired -= 1;
                self.leave();
            }
            Action::Replace | Action::MarkUnhealthy => self.leave(),
            _ => {}
        }
        let moved = self.seen.succeed(step, outcome, self.now);
        if step == Action::ShipLogs {
            self.seen.logs = Some(true);
            self.logs_ended = None;
        }
        prop_assert!(moved.is_ok(), "{step:?}: {moved:?}");
        prop_assert!(self.size.desired >= self.size.min, "below the minimum");
        Ok(())
    }

    /// What must hold of each step when it is taken.
    fn check(&self, step: Action) -> Lawful {
        let (seen, busy) = (&self.seen, self.seen.jobs > 0);
        let ends = matches!(
            step,
            Action::Complete
                | Action::Retire
                | Action::Terminate
                | Action::Replace
                | Action::MarkUnhealthy
                | Action::FlushLogs
        );
        prop_assert!(!(ends && busy), "{step:?} beneath a job");
        prop_assert!(!ends || seen.state.reason().is_some(), "{step:?} of what does not drain");
        match step {
            Action::Unprotect => {
                prop_assert!(!busy, "a busy instance lost its protection");
                prop_assert_eq!(seen.state, State::Ready);
                prop_assert!(self.may_drop, "protection flaps");
            }
            Action::Admit => {
                let held = seen.heartbeat == Some(self.now) && seen.is_leaving() && !self.completed;
                let kept = self.protected && !seen.is_leaving() && seen.protected.is_some_and(|(p, _)| p);
                prop_assert!(kept || held, "a job was let in on an instance that nothing holds: {seen:?}");
                prop_assert!(!seen.cancelled && seen.state != State::Draining(Reason::SpotNotice));
            }
            Action::CancelJobs => {
                let spot =
                    seen.notices.spot.is_some_and(|at| at.duration_since(self.now) <= self.policy.spot_grace);
                prop_assert!(
                    seen.word == Word::DrainNow || spot,
                    "jobs were cancelled for no reason: {seen:?}"
                );
                prop_assert!(!seen.cancelled && busy && seen.agents_told);
            }
            Action::Drain(reason) => {
                prop_assert!(reason != Reason::Update || self.turn, "drained for an update out of turn");
                let stays = seen.state == State::Cordoned && seen.word == Word::Cordon;
                let taken = seen.is_leaving() || reason.is_imposed();
                prop_assert!(!stays || taken, "a cordoned instance drained: {reason}");
            }
            Action::ShipLogs => {
                prop_assert!(seen.logs == Some(false) && !self.completed, "logs were started for nothing");
            }
            Action::Terminate => {
                let reason = seen.state.reason();
                prop_assert!(
                    matches!(reason, Some(Reason::Idle | Reason::AfterJob)),
                    "{reason:?} shrank the group"
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// When calls work and jobs end, what drains comes to its end.
    fn come_to_an_end(&mut self) -> Lawful {
        self.happen(Happening::CallsFail(false))?;
        let calm = [Happening::JobEnds, Happening::AgentsLeave, Happening::LogsSent, Happening::Passes(LOOK)];
        // It may begin to drain on the way, for its age or its idleness: then it has as long again.
        for round in 0..24 {
            if round >= 12 && !matches!(self.seen.state, State::Draining(_)) {
                break;
            }
            for happening in calm {
                self.happen(happening)?;
            }
        }
        let seen = &self.seen;
        prop_assert!(!matches!(seen.state, State::Draining(_)), "stranded: {seen:?}");
        prop_assert!(seen.waiting_since.is_none(), "a job waits for ever: {seen:?}");
        let doomed = seen.notices.spot.is_some() || seen.is_leaving() || seen.word == Word::Drain;
        prop_assert!(!doomed || matches!(seen.state, State::Retired(_)), "it stays: {seen:?}");
        Ok(())
    }
}

/// What a new `watch` knows: the rest is asked anew.
fn restarted(seen: &Observed) -> Observed {
    Observed {
        target: seen.target.clone(),
        notices: seen.notices,
        word: seen.word,
        launched: seen.launched,
        disk: seen.disk,
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

fn policies() -> impl Strategy<Value = Policy> {
    any::<u8>().prop_map(|bits| Policy {
        has_hook: bits & 1 == 0,
        update_check: SignedDuration::from_secs(60),
        after_job: bits & 2 != 0,
        drain_on_rebalance: bits & 4 != 0,
        max_age: (bits & 8 != 0).then(|| SignedDuration::from_secs(3000)),
        idle_period: Some(SignedDuration::from_secs(if bits & 16 != 0 { 0 } else { 600 })),
        ..policy()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_job_is_harmed_and_nothing_is_stranded_whatever_happens_in_whatever_order(
        numbers in proptest::collection::vec(any::<u16>(), 1..40),
        policy in policies(),
        min in 0..2i32,
        logs_hang in any::<bool>(),
    ) {
        let mut world = World::new(policy, min, logs_hang);
        for number in numbers {
            world.happen(happening(number))?;
        }
        world.come_to_an_end()?;
    }
}
