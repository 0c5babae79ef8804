//! Laws of `decide` under any sequence of events, against a group with AWS's own rules.

use super::tests::{ROOM, policy, ready};
use super::*;
use proptest::prelude::*;

/// What can happen around the instance.
#[derive(Debug, Clone)]
enum Happening {
    Passes(u16),
    JobAsks,
    JobEnds,
    GroupEnds,
    AgentsLeave,
    DesiredFalls,
    TurnComes(bool),
    CallsFail(bool),
    Restart,
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1u16..1500).prop_map(Happening::Passes),
        3 => Just(Happening::JobAsks),
        3 => Just(Happening::JobEnds),
        1 => Just(Happening::GroupEnds),
        1 => Just(Happening::AgentsLeave),
        1 => Just(Happening::DesiredFalls),
        1 => any::<bool>().prop_map(Happening::TurnComes),
        1 => any::<bool>().prop_map(Happening::CallsFail),
        1 => Just(Happening::Restart),
    ]
}

/// The instance, its group and what really holds, beside what is observed.
struct World {
    policy: Policy,
    seen: Observed,
    now: Timestamp,
    protected: bool,
    size: Size,
    turn: bool,
    calls_fail: bool,
    completed: bool,
}

impl World {
    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Passes(seconds) => self.now += SignedDuration::from_secs((*seconds).into()),
            Happening::JobAsks => {
                self.seen.waiting_since.get_or_insert(self.now);
            }
            Happening::JobEnds if self.seen.jobs > 0 => {
                self.seen.jobs -= 1;
                if self.seen.jobs == 0 {
                    self.seen.idle_since = self.now;
                    self.seen.state = self.seen.state.after(lifecycle::Event::LastJobFinished).unwrap();
                }
            }
            // The group takes only unprotected instances by itself; a person may take any.
            Happening::GroupEnds => self.seen.target = Some(AwsState::Terminated),
            Happening::AgentsLeave if self.seen.agents_told && self.seen.jobs == 0 => {
                self.seen.agents = Some(0)
            }
            Happening::DesiredFalls => self.size.desired = (self.size.desired - 1).max(self.size.min),
            Happening::TurnComes(turn) => self.turn = *turn,
            Happening::CallsFail(fail) => self.calls_fail = *fail,
            Happening::Restart => {
                let kept = self.seen.clone();
                self.seen = Observed {
                    state: kept.state,
                    target: kept.target,
                    jobs: kept.jobs,
                    agents: kept.agents,
                    idle_since: kept.idle_since,
                    protected: None,
                    size: None,
                    turn: None,
                    agents_told: false,
                    heartbeat: None,
                    termination_asked: false,
                    waiting_since: None,
                    attempts: Attempts::default(),
                };
            }
            _ => {}
        }
    }

    /// Carries out one step as the keeper does, checking the laws on the way.
    fn apply(&mut self, step: Action) -> Result<(), TestCaseError> {
        let calls = !matches!(
            step,
            Action::Admit | Action::Refuse | Action::Drain(_) | Action::Retire | Action::BeReady
        );
        let leaving = self.seen.target.as_ref().is_some_and(AwsState::is_leaving);
        let refused = match step {
            Action::Protect | Action::Unprotect => leaving,
            Action::Heartbeat => !leaving,
            Action::Terminate => self.size.desired <= self.size.min,
            _ => false,
        };
        if calls && (self.calls_fail || refused) {
            self.seen.attempts.fail(step, SignedDuration::from_secs(1), self.now);
            return Ok(());
        }
        self.seen.attempts.succeed(step);
        let busy = self.seen.jobs > 0;
        match step {
            Action::DescribeInstance => self.seen.protected = Some((self.protected, self.now)),
            Action::DescribeSize => self.seen.size = Some((self.size, self.now)),
            Action::DescribeRollout => {
                self.seen.turn = Some((self.turn.then_some(Newer::Settings), self.now));
            }
            Action::Protect => {
                self.protected = true;
                self.seen.protected = Some((true, self.now));
            }
            Action::Unprotect => {
                prop_assert!(!busy, "a busy instance lost its protection");
                self.protected = false;
                self.seen.protected = Some((false, self.now));
            }
            Action::Admit => {
                let held = self.seen.heartbeat == Some(self.now) && leaving && !self.completed;
                prop_assert!(
                    self.protected && !leaving || held,
                    "a job was let in on an instance that nothing holds"
                );
                self.seen.waiting_since = None;
                self.seen.jobs += 1;
                self.seen.state =
                    self.seen.state.after(lifecycle::Event::JobStarted).unwrap_or(self.seen.state);
            }
            Action::Refuse => self.seen.waiting_since = None,
            Action::Drain(reason) => {
                prop_assert!(reason != Reason::Update || self.turn, "drained for an update out of turn");
                self.seen.state = self.seen.state.after(lifecycle::Event::Retire(reason)).unwrap();
            }
            Action::StopAgents => self.seen.agents_told = true,
            Action::Heartbeat => self.seen.heartbeat = Some(self.now),
            Action::Complete | Action::Retire => {
                prop_assert!(!busy, "the end was let go on beneath a job");
                self.completed = true;
                self.seen.state = self.seen.state.after(lifecycle::Event::Drained).unwrap();
            }
            Action::Terminate => {
                prop_assert!(!busy, "a busy instance asked for its end");
                self.size.desired -= 1;
                self.seen.termination_asked = true;
            }
            Action::Replace => {
                prop_assert!(!busy, "a busy instance was terminated for an update");
                prop_assert_eq!(self.seen.state, State::Draining(Reason::Update));
                self.seen.termination_asked = true;
            }
            Action::MarkUnhealthy => {
                prop_assert!(!busy, "a busy instance was marked unhealthy");
                self.seen.termination_asked = true;
            }
            Action::BeReady => {}
        }
        prop_assert!(self.size.desired >= self.size.min, "below the minimum");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_job_runs_on_an_instance_that_may_be_ended(
        events in proptest::collection::vec(happenings(), 1..60),
        min in 0..2i32,
        has_hook in any::<bool>(),
    ) {
        let mut world = World {
            policy: Policy { has_hook, update_check: SignedDuration::from_secs(60), ..policy() },
            seen: ready(),
            now: ready().idle_since,
            protected: true,
            size: Size { min, ..ROOM },
            turn: false,
            calls_fail: false,
            completed: false,
        };
        for event in events {
            world.happen(&event);
            let mut rounds = 0;
            loop {
                let steps = decide(&world.policy, &world.seen, world.now);
                if steps.is_empty() {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds <= 16, "no rest after {event:?}: {steps:?}");
                for step in steps {
                    world.apply(step.step)?;
                }
            }
        }
    }
}
