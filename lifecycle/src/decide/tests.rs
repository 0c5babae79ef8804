use super::*;
use crate::observed::{Disk, Notices, Outcome, Word};
use crate::rollout::Newer;
use crate::{AwsState, Refusal};

pub(super) fn at(second: i64) -> Timestamp {
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
        max_age: None,
        after_job: false,
        drain_on_rebalance: false,
        spot_grace: SignedDuration::from_secs(60),
    }
}

pub(super) const ROOM: Size = Size { min: 0, max: 5, desired: 2, live: 2 };

/// A ready, protected, idle instance in service, idle since second 0, on a machine that ships no logs.
pub(super) fn ready() -> Observed {
    Observed {
        target: Some(AwsState::InService),
        protected: Some((true, at(0))),
        size: Some((ROOM, at(0))),
        turn: Some((None, at(0))),
        agents: Some(2),
        logs: Some(false),
        ..Observed::new(State::Ready, at(0))
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
    let fixed = Size { min: 2, max: 2, desired: 2, live: 2 };
    let within = |size| Observed { size: Some((size, at(600))), ..ready() };
    check("always on", within(fixed), 600, &[]);
    check(
        "one too many since the maximum fell",
        within(Size { live: 3, ..fixed }),
        600,
        &[Action::Unprotect],
    );
    let paused = Size { min: 0, max: 0, desired: 0, live: 1 };
    check("nobody is wanted any more", within(paused), 600, &[Action::Unprotect]);
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
        scaler: Some((None, at(second))),
        ..ready()
    };
    check("before", bare(ROOM, 2399), 2399, &[]);
    check("after", bare(ROOM, 2400), 2400, &[Action::Drain(Reason::Idle)]);
    check("at the minimum", bare(Size { desired: 0, ..ROOM }, 2400), 2400, &[]);
    check("limits heard long ago", bare(ROOM, 2000), 2400, &[Action::DescribeSize]);
    check("nobody asked", Observed { scaler: None, ..bare(ROOM, 2400) }, 2400, &[Action::DescribeScaler]);
    let kept = |kept, heard| Observed { scaler: Some((Some(at(kept)), at(heard))), ..bare(ROOM, heard) };
    check("a scaler keeps it", kept(2390, 2400), 2400, &[]);
    check("a scaler kept it a while ago", kept(1501, 2400), 2400, &[]);
    check("it kept it long ago", kept(1500, 2400), 2400, &[Action::Drain(Reason::Idle)]);
    let heard = Observed { size: Some((ROOM, at(2400))), ..kept(2090, 2100) };
    check("heard long ago", heard, 2400, &[Action::DescribeScaler]);
    let quiet = Observed { state: IDLE, agents_told: true, agents: Some(0), ..bare(ROOM, 2400) };
    check("quiet", quiet.clone(), 2400, &[Action::Terminate]);
    check("asked", Observed { termination_asked: true, ..quiet.clone() }, 2401, &[]);
    let mut refused = quiet;
    for _ in 0..3 {
        refused.attempts.fail(Action::Terminate, SignedDuration::from_secs(1), at(2400));
    }
    check("refused", refused.clone(), 2400, &[Action::Replace]);
    for _ in 0..3 {
        refused.attempts.fail(Action::Replace, SignedDuration::from_secs(1), at(2400));
    }
    check("refused again", refused, 2400, &[Action::MarkUnhealthy]);
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
    case("a job runs", Observed { protected: Some((true, at(3500))), ..running.clone() }, 3600, &[]);
    case("protection heard long ago", running.clone(), 3600, &[Action::DescribeInstance]);
    let lost = Observed { protected: Some((false, at(3599))), ..running.clone() };
    case("protection lost", lost, 3600, &[Action::Protect]);
    let quiet = Observed { jobs: 0, agents: Some(0), ..running };
    case("quiet", quiet.clone(), 3600, &[Action::Replace]);
    case("asked", Observed { termination_asked: true, ..quiet.clone() }, 3600, &[]);
    let mut refused = quiet;
    for _ in 0..3 {
        refused.attempts.fail(Action::Replace, SignedDuration::from_secs(1), at(3600));
    }
    case("refused", refused, 3600, &[Action::MarkUnhealthy]);
}

fn draining(reason: Reason) -> Observed {
    let state = State::Draining(reason);
    Observed { state, agents_told: true, agents: Some(0), ..ready() }
}

#[test]
fn each_reason_drains_and_only_when_the_stack_wants_it() {
    let policy = Policy {
        max_age: Some(SignedDuration::from_hours(1)),
        after_job: true,
        drain_on_rebalance: true,
        ..policy()
    };
    let notices = |spot, rebalance, maintenance| Notices { spot, rebalance, maintenance };
    let told = |notices| Observed { notices, ..ready() };
    let said = |word| Observed { word, ..ready() };
    let soon = Some(at(130));
    let old = Observed { launched: Some(at(-3600)), ..ready() };
    let cases = [
        ("spot notice", told(notices(soon, false, false)), Some(Reason::SpotNotice)),
        ("rebalance", told(notices(None, true, false)), Some(Reason::Rebalance)),
        ("maintenance", told(notices(None, true, true)), Some(Reason::Maintenance)),
        ("a job ended", Observed { served: true, ..ready() }, Some(Reason::AfterJob)),
        ("old", old.clone(), Some(Reason::MaxAge)),
        ("not yet old", Observed { launched: Some(at(-3589)), ..ready() }, None),
        ("disk full", Observed { disk: Disk::Full, ..old.clone() }, Some(Reason::DiskFull)),
        ("operator", said(Word::Drain), Some(Reason::Operator)),
        ("operator, at once", said(Word::DrainNow), Some(Reason::Operator)),
        ("old and warm", Observed { target: Some(AwsState::WarmedStopped), ..old.clone() }, None),
        ("old and unknown", Observed { target: None, ..old.clone() }, None),
        (
            "old and cordoned",
            Observed { state: State::Cordoned, word: Word::Cordon, agents_told: true, ..old },
            None,
        ),
    ];
    for (name, seen, reason) in cases {
        let expected: Vec<Action> = reason.map(Action::Drain).into_iter().collect();
        assert_eq!(actions(&policy, &seen, 10), expected, "{name}");
        let busy = Observed { jobs: 1, state: State::Busy, ..seen };
        let cordoned = busy.word == Word::Cordon;
        assert!(cordoned || actions(&policy, &busy, 10) == expected, "{name}, busy");
    }
    for ignored in [told(notices(None, true, false)), Observed { served: true, ..ready() }] {
        assert_eq!(actions(&super::tests::policy(), &ignored, 10), []);
    }
}

#[test]
fn only_ec2_and_an_operator_cancel_jobs() {
    let running = |reason| Observed { jobs: 1, agents: Some(1), ..draining(reason) };
    let spot = Observed {
        notices: Notices { spot: Some(at(120)), ..Notices::default() },
        ..running(Reason::SpotNotice)
    };
    check("the job may end by itself", spot.clone(), 59, &[]);
    check("the time is over", spot.clone(), 60, &[Action::CancelJobs]);
    check("told", Observed { cancelled: true, ..spot.clone() }, 60, &[]);
    check("nothing runs", Observed { jobs: 0, ..spot.clone() }, 60, &[]);
    check("agents first", Observed { agents_told: false, ..spot.clone() }, 60, &[Action::StopAgents]);
    let other = Observed { state: State::Draining(Reason::Update), ..spot };
    check("another reason so far", other, 60, &[Action::Drain(Reason::SpotNotice)]);
    for reason in Reason::ALL.into_iter().filter(|r| *r != Reason::SpotNotice) {
        let seen = Observed { protected: Some((true, at(86_000))), ..running(reason) };
        check("a day later", seen.clone(), 86_100, &[]);
        check("waited for", Observed { word: Word::Drain, ..seen.clone() }, 86_100, &[]);
        check("at once", Observed { word: Word::DrainNow, ..seen }, 86_100, &[Action::CancelJobs]);
    }
    let asked = Observed { waiting_since: Some(at(10)), cancelled: true, ..running(Reason::Operator) };
    check("no job is let in after that", asked, 10, &[Action::Refuse]);
}

#[test]
fn a_cordoned_instance_stays_and_comes_back() {
    let cordon = Observed { word: Word::Cordon, ..ready() };
    check("said", cordon.clone(), 700, &[Action::Cordon]);
    let cordoned = Observed { state: State::Cordoned, protected: Some((true, at(700))), ..cordon };
    check("agents leave", cordoned.clone(), 700, &[Action::StopAgents]);
    let idle = Observed { agents_told: true, agents: Some(0), ..cordoned };
    check("idle for long", idle.clone(), 990, &[]);
    check(
        "unprotected",
        Observed { protected: Some((false, at(990))), ..idle.clone() },
        990,
        &[Action::Protect],
    );
    check(
        "the group ends it",
        Observed { target: Some(AwsState::Terminated), ..idle.clone() },
        990,
        &[Action::Drain(Reason::Idle)],
    );
    check("drained", Observed { word: Word::Drain, ..idle.clone() }, 990, &[Action::Drain(Reason::Operator)]);
    let back = Observed { word: Word::Serve, ..idle };
    check("uncordoned", back.clone(), 990, &[Action::Uncordon]);
    check("an agent still finishes", Observed { agents: Some(1), jobs: 1, ..back.clone() }, 990, &[]);
    let short = |seen: &Observed| Observed { disk: Disk::Low, ..seen.clone() };
    check("short of room", short(&ready()), 10, &[Action::Cordon]);
    check("still short", short(&back), 990, &[]);
    check("given up", Observed { disk: Disk::Full, ..back.clone() }, 990, &[Action::Drain(Reason::DiskFull)]);
    let mut serving = back;
    serving.succeed(Action::Uncordon, Outcome::Done, at(990)).unwrap();
    assert_eq!((serving.state, serving.agents_told, serving.idle_since), (State::Ready, false, at(990)));
}

#[test]
fn the_end_is_right_for_the_reason_and_logs_are_sent_first() {
    for reason in Reason::ALL {
        let smaller = [Reason::Idle, Reason::AfterJob].contains(&reason);
        let ask = if smaller { Action::Terminate } else { Action::Replace };
        check(reason.name(), draining(reason), 10, &[ask]);
    }
    let held = Observed { logs: Some(true), target: Some(AwsState::Terminated), ..draining(Reason::Idle) };
    check("logs run", held.clone(), 10, &[Action::FlushLogs]);
    check("unknown", Observed { logs: None, ..held.clone() }, 10, &[Action::FlushLogs]);
    let told = Observed { logs_told: Some(at(10)), ..held.clone() };
    check("being sent", told.clone(), 69, &[]);
    check("sent", Observed { logs: Some(false), ..told.clone() }, 11, &[Action::Complete]);
    check("too slow", told, 70, &[Action::Complete]);
    let mut broken = held.clone();
    for _ in 0..3 {
        broken.attempts.fail(Action::FlushLogs, SignedDuration::from_secs(1), at(0));
    }
    check("cannot be told", broken, 10, &[Action::Complete]);
    check(
        "with a hook there is time later",
        Observed { target: Some(AwsState::InService), ..held.clone() },
        10,
        &[Action::Terminate],
    );
    let hookless = Policy { has_hook: false, ..policy() };
    let before = Observed { target: Some(AwsState::InService), ..held };
    assert_eq!(actions(&hookless, &before, 10), [Action::FlushLogs]);
}

#[test]
fn logs_are_shipped_again_when_the_end_does_not_come() {
    let wait = SignedDuration::from_secs(1);
    let sent = Observed { logs: Some(false), logs_told: Some(at(10)), ..draining(Reason::Idle) };
    let mut refused = Observed { target: Some(AwsState::Terminated), ..sent.clone() };
    for (second, again) in [(11, 12), (12, 14)] {
        refused.fail(Action::Complete, &Refusal::Failed(String::new()), wait, at(second)).unwrap();
        check("soon again", refused.clone(), second, &[]);
        check("again", refused.clone(), again, &[Action::Complete]);
    }
    refused.fail(Action::Complete, &Refusal::Failed(String::new()), wait, at(14)).unwrap();
    check("three times", refused.clone(), 15, &[Action::ShipLogs]);
    refused.succeed(Action::ShipLogs, Outcome::Done, at(15)).unwrap();
    check("they run", refused.clone(), 17, &[]);
    check("and are sent before the next attempt", refused, 18, &[Action::FlushLogs]);

    let hookless = Policy { has_hook: false, ..policy() };
    let asked = Observed { termination_asked: true, ..sent.clone() };
    assert_eq!(actions(&hookless, &asked, 69), []);
    assert_eq!(actions(&hookless, &asked, 70), [Action::ShipLogs], "the group does not begin");
    let slipped =
        Observed { jobs: 1, target: Some(AwsState::Terminated), heartbeat: Some(at(11)), ..sent.clone() };
    check("a job slipped in", slipped, 12, &[Action::ShipLogs]);
    let alone = Policy { in_group: false, ..policy() };
    let stays = Observed { logs: Some(true), logs_told: None, ..sent };
    assert_eq!(actions(&alone, &stays, 11), [Action::Retire], "in no group the machine stays");
}

#[test]
fn refusals_teach() {
    let wait = SignedDuration::from_secs(1);
    let text = String::new;
    let mut seen = draining(Reason::Idle);
    seen.fail(Action::Terminate, &Refusal::Minimum(text()), wait, at(10)).unwrap();
    check("at the minimum: a successor comes", seen, 10, &[Action::Replace]);
    let ended = [
        (Action::Complete, Refusal::NoAction(text())),
        (Action::Complete, Refusal::Absent(text())),
        (Action::Replace, Refusal::Absent(text())),
        (Action::Terminate, Refusal::Absent(text())),
    ];
    for (action, refusal) in ended {
        let mut seen = draining(Reason::Idle);
        seen.fail(action, &refusal, wait, at(10)).unwrap();
        assert_eq!(seen.state, State::Retired(Reason::Idle), "{action:?} {refusal}");
    }
    let mut seen = draining(Reason::Idle);
    seen.fail(Action::Terminate, &Refusal::Failed(text()), wait, at(10)).unwrap();
    check("tried again", seen.clone(), 10, &[]);
    check("later", seen, 11, &[Action::Terminate]);
}

/// Agents may have a job before the look that finds them running.
#[test]
fn a_job_that_comes_before_readiness_makes_the_instance_busy_with_it() {
    let mut seen = Observed { state: State::Booting, agents: Some(1), ..ready() };
    seen.succeed(Action::Admit, Outcome::Jobs(1), at(1)).unwrap();
    assert_eq!(seen.state, State::Booting);
    seen.succeed(Action::BeReady, Outcome::Done, at(2)).unwrap();
    assert_eq!(seen.state, State::Busy);
}
