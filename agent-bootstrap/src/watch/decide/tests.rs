use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn policy() -> Policy {
    Policy {
        in_group: true,
        idle_period: Some(SignedDuration::from_secs(600)),
        fail_safe_after: Some(SignedDuration::from_secs(2400)),
        has_hook: true,
        heartbeat_interval: SignedDuration::from_secs(300),
        // Only the test of updates looks for them.
        update_check: SignedDuration::MAX,
        update_concurrency: 1,
    }
}

pub(super) const ROOM: Size = Size { min: 0, max: 5, desired: 2 };

/// A ready, protected, idle instance in service, idle since second 0.
pub(super) fn ready() -> Observed {
    Observed {
        state: State::Ready,
        target: Some(AwsState::InService),
        protected: Some((true, at(0))),
        jobs: 0,
        waiting_since: None,
        idle_since: at(0),
        size: Some((ROOM, at(0))),
        turn: Some((None, at(0))),
        agents: Some(2),
        agents_told: false,
        heartbeat: None,
        termination_asked: false,
        attempts: Attempts::default(),
    }
}

fn leaving(state: State) -> Observed {
    Observed { state, target: Some(AwsState::Terminated), ..ready() }
}

const IDLE: State = State::Draining(Reason::Idle);

fn actions(policy: &Policy, seen: &Observed, second: i64) -> Vec<Action> {
    decide(policy, seen, at(second)).into_iter().map(|s| s.step).collect()
}

/// Checks one case under the usual policy.
fn check(name: &str, seen: Observed, second: i64, expected: &[Action]) {
    assert_eq!(actions(&policy(), &seen, second), expected, "{name}");
}

#[test]
fn an_idle_instance_drops_its_protection_after_its_period() {
    let fresh = |second| Observed { size: Some((ROOM, at(second))), ..ready() };
    check("before", fresh(599), 599, &[]);
    check("after", fresh(600), 600, &[Action::Unprotect]);
    check("limits not known", Observed { size: None, ..ready() }, 600, &[Action::DescribeSize]);
    check("limits heard long ago", ready(), 600, &[Action::DescribeSize]);
    check("not in service yet", Observed { target: Some(AwsState::Pending), ..fresh(600) }, 600, &[]);
    check("target unknown", Observed { target: None, ..fresh(600) }, 600, &[]);
    check("warm", Observed { target: Some(AwsState::WarmedStopped), ..fresh(600) }, 600, &[]);
    check("already", Observed { protected: Some((false, at(0))), ..fresh(600) }, 600, &[]);
    let fixed = Size { min: 2, max: 2, desired: 2 };
    check("always on", Observed { size: Some((fixed, at(600))), ..ready() }, 600, &[]);
    let never = Policy { idle_period: None, fail_safe_after: None, ..policy() };
    assert_eq!(actions(&never, &fresh(1_000_000), 1_000_000), []);
}

#[test]
fn a_failure_is_tried_again_later() {
    let mut seen = Observed { size: Some((ROOM, at(600))), ..ready() };
    seen.attempts.fail(Action::Unprotect, SignedDuration::from_secs(1), at(600));
    check("held off", seen.clone(), 600, &[]);
    check("again", seen, 601, &[Action::Unprotect]);
}

#[test]
fn a_job_is_let_in_when_the_instance_is_held_for_it() {
    let asked = |seen: Observed| Observed { waiting_since: Some(at(700)), ..seen };
    let bare = Observed { protected: Some((false, at(0))), ..ready() };
    check("protected", asked(ready()), 700, &[Action::Admit]);
    check("unprotected", asked(bare.clone()), 700, &[Action::Protect]);
    check("unknown", asked(Observed { protected: None, ..ready() }), 700, &[Action::Protect]);
    check("in vain", asked(bare), 720, &[Action::Refuse]);
    check("slipped in", asked(leaving(State::Ready)), 700, &[Action::Drain(Reason::Idle)]);
    check("slipped in, not held", asked(leaving(IDLE)), 700, &[Action::Heartbeat]);
    let held = Observed { heartbeat: Some(at(700)), ..leaving(IDLE) };
    check("slipped in, held", asked(held.clone()), 700, &[Action::Admit]);
    let old = Observed { heartbeat: Some(at(699)), ..held };
    check("held before it asked", asked(old.clone()), 700, &[Action::Heartbeat]);
    check("not held in time", asked(old), 720, &[Action::Refuse]);
    let spot = State::Draining(Reason::SpotNotice);
    check("taken away", asked(Observed { state: spot, ..ready() }), 700, &[Action::Refuse]);
    check("retired", asked(leaving(State::Retired(Reason::Idle))), 700, &[Action::Refuse]);
    let hookless = Policy { has_hook: false, ..policy() };
    assert_eq!(actions(&hookless, &asked(leaving(IDLE)), 700), [Action::Refuse]);
    let outside = Policy { in_group: false, ..policy() };
    assert_eq!(actions(&outside, &asked(Observed { protected: None, ..ready() }), 700), [Action::Admit]);
}

#[test]
fn a_busy_instance_that_lost_its_protection_takes_it_back() {
    let busy = Observed { state: State::Busy, jobs: 1, ..ready() };
    check("protected", busy.clone(), 299, &[]);
    check("heard long ago", busy.clone(), 300, &[Action::DescribeInstance]);
    check("lost", Observed { protected: Some((false, at(299))), ..busy }, 300, &[Action::Protect]);
}

#[test]
fn an_instance_that_the_group_ends_finishes_first() {
    check("seen", leaving(State::Ready), 10, &[Action::Drain(Reason::Idle)]);
    let busy = Observed { jobs: 1, ..leaving(State::Busy) };
    check("seen busy", busy, 10, &[Action::Drain(Reason::Operator)]);
    let running = Observed { jobs: 1, ..leaving(IDLE) };
    check("first", running.clone(), 10, &[Action::StopAgents, Action::Heartbeat]);
    let told = Observed { agents_told: true, heartbeat: Some(at(10)), ..running };
    check("between", told.clone(), 309, &[]);
    check("heartbeat", told.clone(), 310, &[Action::Heartbeat]);
    let last = Observed { jobs: 0, ..told };
    check("agents still there", last.clone(), 20, &[]);
    check("agents unknown", Observed { agents: None, ..last.clone() }, 20, &[]);
    let quiet = Observed { agents: Some(0), ..last };
    check("quiet", quiet.clone(), 20, &[Action::Complete]);
    let hookless = Policy { has_hook: false, ..policy() };
    assert_eq!(actions(&hookless, &quiet, 20), [Action::Retire]);
    check("done", Observed { state: State::Retired(Reason::Idle), ..quiet }, 20, &[]);
}

#[test]
fn an_idle_instance_that_nobody_takes_retires_itself_above_the_minimum() {
    let bare = |size, second| Observed {
        protected: Some((false, at(0))),
        size: Some((size, at(second))),
        ..ready()
    };
    check("before", bare(ROOM, 2399), 2399, &[]);
    check("after", bare(ROOM, 2400), 2400, &[Action::Drain(Reason::Idle)]);
    check("at the minimum", bare(Size { desired: 0, ..ROOM }, 2400), 2400, &[]);
    check("limits heard long ago", bare(ROOM, 2000), 2400, &[Action::DescribeSize]);
    let quiet = Observed { state: IDLE, agents_told: true, agents: Some(0), ..bare(ROOM, 2400) };
    check("quiet", quiet.clone(), 2400, &[Action::Terminate]);
    check("asked", Observed { termination_asked: true, ..quiet.clone() }, 2401, &[]);
    let mut refused = quiet;
    for _ in 0..3 {
        refused.attempts.fail(Action::Terminate, SignedDuration::from_secs(1), at(2400));
    }
    check("refused", refused, 2400, &[Action::MarkUnhealthy]);
}

#[test]
fn an_outdated_instance_drains_when_it_is_its_turn_and_leaves_for_a_successor() {
    let minutely = Policy { update_check: SignedDuration::from_secs(60), ..policy() };
    let case = |name: &str, seen: Observed, second, expected: &[Action]| {
        assert_eq!(actions(&minutely, &seen, second), expected, "{name}");
    };
    let drain = [Action::Drain(Reason::Update)];
    let turn = Observed { turn: Some((Some(Newer::Template), at(10))), ..ready() };
    let busy = Observed { state: State::Busy, jobs: 1, ..turn.clone() };
    case("never heard", Observed { turn: None, ..ready() }, 10, &[Action::DescribeRollout]);
    case("not its turn", ready(), 59, &[]);
    case("heard a while ago", ready(), 60, &[Action::DescribeRollout]);
    case("its turn", turn.clone(), 10, &drain);
    case("its turn, busy", busy.clone(), 10, &drain);
    case("its turn a while ago", turn.clone(), 70, &[Action::DescribeRollout]);
    case("not in service", Observed { target: Some(AwsState::WarmedStopped), ..turn.clone() }, 10, &[]);
    case("target unknown", Observed { target: None, ..turn.clone() }, 10, &[]);
    case("boots", Observed { state: State::Booting, agents: Some(0), ..turn.clone() }, 10, &[]);
    case(
        "unprotected",
        Observed { protected: Some((false, at(10))), ..busy.clone() },
        10,
        &[Action::Protect],
    );
    let outside = Policy { in_group: false, ..minutely.clone() };
    assert_eq!(actions(&outside, &turn, 10), []);

    let draining = State::Draining(Reason::Update);
    let running = Observed { state: draining, agents_told: true, ..busy };
    case("a job runs", running.clone(), 3600, &[]);
    let quiet = Observed { jobs: 0, agents: Some(0), ..running };
    case("quiet", quiet.clone(), 3600, &[Action::Replace]);
    case("asked", Observed { termination_asked: true, ..quiet.clone() }, 3600, &[]);
    let mut refused = quiet;
    for _ in 0..3 {
        refused.attempts.fail(Action::Replace, SignedDuration::from_secs(1), at(3600));
    }
    case("refused", refused, 3600, &[Action::MarkUnhealthy]);
}
