use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::decide::Step;
use crate::sharing::{Fellows, Other, Remembered};
use lifecycle::boots::Boot;

const PATIENCE: Patience =
    Patience { launch: SignedDuration::from_secs(60), retry_after: SignedDuration::from_secs(600) };

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A moment with all of its digits.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    (0i64..4_000_000_000, 0i32..1_000_000_000).prop_map(|(s, n)| Timestamp::new(s, n).unwrap())
}

/// Small numbers, where rules meet, and the largest there are.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..12, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

prop_compose! {
    fn any_capacity()(min in number(), max in number(), desired in number(), live in number(),
        in_service in number(), held in number(), releasable in number(), phantom in number()) -> Capacity {
        Capacity { min, max, desired, live, in_service, held, releasable, phantom, ..Capacity::default() }
    }
}

prop_compose! {
    fn any_failing()(in_a_row in 3usize..60, began in any_moment(), ended in any_moment(), next_probe in any_moment(),
        failure in proptest::option::of(".{0,500}")) -> Failing {
        Failing { in_a_row, last: Boot { instance: "i-0bad".into(), began, ended, failure }, next_probe }
    }
}

prop_compose! {
    fn any_known(patience: Patience)(capacity in any_capacity(), boots_failing in proptest::option::of(any_failing()),
        looks in proptest::collection::vec((0i64..4_000_000_000, number()), 0..4)) -> Known {
        let mut shortage = Shortage::default();
        for (at, desired) in looks {
            shortage.note(&Capacity { desired, ..Capacity::default() }, patience, second(at));
        }
        let boot_budget = (capacity.phantom > 0).then(|| SignedDuration::from_secs(120));
        let phantoms = (0..capacity.phantom.min(3)).map(|n| format!("i-{n}")).collect();
        Known { capacity, shortage, boots_failing, boot_budget, phantoms }
    }
}

prop_compose! {
    fn any_wanted()(agents_per_instance in 1u32..9, instance_buffer in number(), include_waiting: bool, scale_in: bool,
        scale_out: bool, idle_instances in number(), min_instances in number(), most in number(),
        period in proptest::option::of("[a-z]{1,9}"), launch in 1i64..1000, retry_after in 1i64..100_000,
        alarms: bool, percent in 1u32..=100) -> Wanted {
        let policy = Policy {
            agents_per_instance,
            instance_buffer,
            idle_instances,
            min_instances,
            include_waiting,
            scale_in,
            scale_out,
        };
        let patience = Patience {
            launch: SignedDuration::from_millis(launch * 100),
            retry_after: SignedDuration::from_millis(retry_after),
        };
        let mode = if alarms { ScalingMode::Alarms } else { ScalingMode::Direct };
        let share = FixedShare::percent(percent).expect("a percentage");
        Wanted { policy, most, patience, mode, period, share }
    }
}

fn any_jobs() -> impl Strategy<Value = Jobs> {
    let count = || prop_oneof![9 => 0u64..20, 1 => any::<u64>()];
    (count(), count(), count()).prop_map(|(scheduled, running, waiting)| Jobs { scheduled, running, waiting })
}

prop_compose! {
    fn any_other()(stack in "[a-z]{3}", priority in -2i64..3, weight in 0u32..9, agents in 0u32..9, most in number(),
        capacity in any_known(PATIENCE).prop_map(|known| (known.capacity, known.shortage)), part in number(),
        desired in number()) -> Other {
        let (capacity, shortage) = capacity;
        Other { stack, priority, weight, agents, most, capacity, before: Remembered { part, desired, shortage } }
    }
}

fn any_sharing() -> impl Strategy<Value = Sharing> {
    let others = proptest::collection::vec(any_other(), 1..4);
    let fellows = (others, -2i64..3, 0u32..9).prop_map(|(others, priority, weight)| {
        Sharing::With(Fellows { stack: "ci".into(), priority, weight, others })
    });
    prop_oneof![5 => Just(Sharing::Alone), 1 => Just(Sharing::Unknown), 4 => fellows]
}

fn any_doubt() -> impl Strategy<Value = Option<Doubt>> {
    let stale = any_moment().prop_map(|as_of| Doubt::Stale { as_of });
    proptest::option::of(prop_oneof![Just(Doubt::Incomplete), stale])
}

/// Whatever a tick may decide from.
pub fn any_inputs() -> impl Strategy<Value = Inputs> {
    any_wanted().prop_flat_map(|wanted| {
        let known = proptest::option::weighted(0.9, any_known(wanted.patience));
        let groups = proptest::collection::vec(known, 1..5);
        let expected = prop_oneof![2 => Just(0u32), 1 => 1u32..100, 1 => any::<u32>()];
        let jobs = (proptest::option::weighted(0.9, any_jobs()), expected, any::<bool>(), any_doubt());
        (any_moment(), jobs, groups, any_sharing()).prop_map(
            move |(at, (jobs, expected, paused, doubt), groups, sharing)| {
                let named = |(place, known)| GroupSeen { name: format!("ci-{place}"), known };
                let groups = groups.into_iter().enumerate().map(named).collect();
                Inputs {
                    at,
                    queue: "default".into(),
                    wanted: wanted.clone(),
                    jobs,
                    expected,
                    paused,
                    unmatched: u64::from(expected % 3),
                    doubt,
                    groups,
                    sharing,
                }
            },
        )
    })
}

/// The record of these inputs.
pub fn record_of(inputs: &Inputs, problems: &[&str]) -> Record {
    let problems: Vec<String> = problems.iter().map(|problem| (*problem).to_owned()).collect();
    let moved = vec![Moved::default(); inputs.groups.len()];
    Record::new(inputs, &inputs.decide(), moved, &problems, false)
}

/// One group, from `desired` and so many that are held and idle.
pub fn inputs(jobs: Option<(u64, u64)>, capacity: Capacity) -> Inputs {
    let known = Known { capacity, ..Known::default() };
    Inputs {
        at: "2026-11-21T14:02:10.123456789Z".parse().unwrap(),
        queue: "default".into(),
        wanted: Wanted {
            policy: Policy::of_need(3),
            most: u32::MAX,
            patience: PATIENCE,
            mode: ScalingMode::Direct,
            period: None,
            share: FixedShare::ALL,
        },
        jobs: jobs.map(|(scheduled, running)| Jobs { scheduled, running, waiting: 0 }),
        expected: 0,
        paused: false,
        unmatched: 0,
        doubt: None,
        groups: vec![GroupSeen { name: "ci-instances".into(), known: Some(known) }],
        sharing: Sharing::Alone,
    }
}

/// All busy: `busy` instances, as many as desired, of at most 5.
pub fn busy(busy: u32) -> Capacity {
    Capacity { max: 5, desired: busy, live: busy, in_service: busy, held: busy, ..Capacity::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_announced_only_adds(inputs in any_inputs()) {
        // Beside other stacks, what is announced may be theirs, and a buffer that all share with it.
        let inputs = Inputs { sharing: Sharing::Alone, ..inputs };
        let all = |inputs: &Inputs| -> u64 {
            let plans = inputs.decide();
            let after = inputs.groups.iter().zip(&plans).map(|(group, plan)| {
                let desired = group.known.as_ref().map_or(0, |known| known.capacity.desired);
                plan.and_then(|plan| plan.target()).unwrap_or(desired)
            });
            after.map(u64::from).sum()
        };
        let without = Inputs { expected: 0, ..inputs.clone() };
        prop_assert!(all(&inputs) >= all(&without));
    }

    #[test]
    fn a_record_replays_to_the_same_plan_bit_for_bit(inputs in any_inputs()) {
        let line = serde_json::to_string(&record_of(&inputs, &[])).unwrap();
        let read = Record::read(&line).unwrap().unwrap();
        prop_assert_eq!(read.replay(), Ok(()));
        let again = Record { plan: read.inputs.decide(), ..read };
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), line);
    }

    #[test]
    fn counts_in_doubt_grow_as_others_and_let_nothing_go_that_lives(inputs in any_inputs()) {
        let sure = Inputs { doubt: None, ..inputs.clone() };
        let inputs = Inputs { doubt: Some(Doubt::Incomplete), ..inputs };
        let plans = inputs.decide();
        // What one group does not let go leaves the others less room beneath the most of all.
        let held = plans.iter().flatten().any(|plan| plan.reason == Reason::InDoubt);
        let both = plans.into_iter().zip(sure.decide()).zip(inputs.weighed());
        for ((plan, sure), group) in both {
            prop_assert_eq!(plan.is_some(), sure.is_some());
            let (Some(plan), Some(sure), Some(group)) = (plan, sure, group) else { continue };
            let called_off = |to| plan.reason == Reason::Short && to >= group.lives();
            match plan.step {
                Step::ScaleIn { to, .. } => {
                    prop_assert!(plan == sure && plan.reason != Reason::Surplus || called_off(to), "{plan:?} {sure:?}");
                }
                _ if plan.reason == Reason::InDoubt => prop_assert_eq!(sure.reason, Reason::Surplus),
                _ if held && plan.reason == Reason::AtMaximum && plan != sure => {
                    let target = |plan: Plan| plan.target().unwrap_or(group.desired);
                    prop_assert!((group.desired..target(sure)).contains(&target(plan)), "{plan:?} {sure:?}");
                }
                _ => prop_assert_eq!(plan, sure),
            }
        }
    }

    #[test]
    fn a_paused_queue_asks_for_what_runs_and_no_more(inputs in any_inputs()) {
        let paused = Inputs { paused: true, ..inputs };
        let jobs = paused.jobs.map(|jobs| Jobs { running: jobs.running, ..Jobs::default() });
        let running = Inputs { paused: false, jobs, expected: 0, ..paused.clone() };
        let open = Inputs { paused: false, ..paused.clone() };
        prop_assert!(open.decide().iter().flatten().all(|plan| plan.reason != Reason::Paused), "it is not");
        for (plan, alone) in paused.decide().into_iter().zip(running.decide()) {
            prop_assert_eq!(plan.map(|plan| (plan.step, plan.needed)), alone.map(|plan| (plan.step, plan.needed)));
            let told = plan.is_some_and(|plan| plan.reason == Reason::Paused);
            prop_assert!(!told || paused.held_back() > 0);
        }
    }

    #[test]
    fn cutting_texts_short_changes_no_plan(inputs in any_inputs()) {
        let record = record_of(&inputs, &["x".repeat(9000).as_str(); 50]);
        prop_assert_eq!(record.inputs.decide(), inputs.decide());
        let longest = |text: &str| text.chars().count() <= TEXT + 1;
        prop_assert!(record.problems.len() <= TEXTS && record.problems.iter().all(|problem| longest(problem)));
    }

    #[test]
    fn another_plan_than_the_one_on_record_is_noticed(inputs in any_inputs(), other in any_inputs()) {
        let record = Record { plan: other.decide(), ..record_of(&inputs, &[]) };
        prop_assert_eq!(record.replay().is_ok(), inputs.decide() == other.decide());
    }
}

#[test]
fn the_form_of_a_record() {
    let mut inputs = inputs(Some((9, 4)), busy(3));
    inputs.groups[0].known.as_mut().unwrap().boots_failing = Some(Failing {
        in_a_row: 3,
        last: Boot {
            instance: "i-0bad".into(),
            began: second(1_795_269_600),
            ended: second(1_795_269_690),
            failure: Some("it was abandoned".into()),
        },
        next_probe: second(1_795_269_750),
    });
    let mut record = record_of(&inputs, &["cloudwatch:PutMetricData on namespace Buildkite: throttled"]);
    record.moved[0].left = vec!["i-0bad".into()];
    insta::assert_snapshot!(serde_json::to_string(&record).unwrap());
}

#[test]
fn only_records_are_read_as_such() {
    let line = serde_json::to_string(&record_of(&inputs(Some((9, 4)), busy(3)), &[])).unwrap();
    assert!(matches!(Record::read(&format!("  {line}\n")), Some(Ok(_))));
    for (foreign, line) in [
        ("a decision", r#"{"at":"2026-11-21T10:00:00Z","queue":"default","group":"g"}"#),
        ("Lambda's own", "START RequestId: 1 Version: $LATEST"),
        ("a complaint", "scaler: group g does not exist"),
        ("nothing", ""),
        ("somebody's JSON", r#"{"version":1}"#),
    ] {
        assert_eq!(Record::read(line), None, "{foreign}");
    }
    assert_eq!(Record::read(r#"{"v":2,"anything":[]}"#), Some(Err(Unreadable::Version(2))));
    for garbled in [&line[..line.len() - 9], r#"{"v":1}"#, r#"{"v":-1}"#, r#"{"v":"#, r#"{"v":"1"}"#] {
        assert_eq!(Record::read(garbled), Some(Err(Unreadable::Garbled)), "{garbled}");
    }
}

#[test]
fn the_largest_record_is_one_event_of_a_log() {
    let ids = |kind: char| (0..500).map(|n| format!("i-{kind}{n:016x}")).collect();
    let crowd = crate::brake::Seen { booting: ids('b'), serving: ids('s'), ..Default::default() };
    let moved = Moved::between(&crate::brake::Seen::default(), &crowd);
    let mut inputs = inputs(Some((u64::MAX, u64::MAX)), Capacity { max: u32::MAX, ..busy(u32::MAX / 4) });
    let long = "\u{1}".repeat(9000);
    inputs.groups[0].known.as_mut().unwrap().boots_failing = Some(Failing {
        in_a_row: 100,
        last: Boot {
            instance: "i-0123456789abcdef0".into(),
            began: Timestamp::MAX,
            ended: Timestamp::MAX,
            failure: Some(long.clone()),
        },
        next_probe: Timestamp::MAX,
    });
    inputs.groups[0].known.as_mut().unwrap().phantoms = vec!["i-0123456789abcdef0".into(); NAMED];
    inputs.groups = vec![inputs.groups[0].clone(); 20];
    let record = Record::new(&inputs, &inputs.decide(), vec![moved; 20], &vec![long; 20], false);
    let bytes = serde_json::to_string(&record).unwrap().len();
    assert!(bytes < 256 * 1024, "{bytes}");
}

#[test]
fn quiet_ticks_leave_no_record() {
    let idle = Capacity { held: 1, releasable: 2, ..busy(3) };
    let at = |jobs, capacity| record_of(&inputs(jobs, capacity), &[]);
    let moved = |mut record: Record| {
        record.moved[0].booting.push("i-1".into());
        record
    };
    let paused = |scheduled| Inputs { paused: true, ..inputs(Some((scheduled, 9)), busy(3)) };
    let announced = Inputs { expected: 6, ..inputs(Some((3, 0)), busy(3)) };
    // Since so many seconds.
    let owed = |seconds| {
        let mut inputs = inputs(Some((6, 9)), Capacity { desired: 5, ..busy(3) });
        let since = inputs.at - SignedDuration::from_secs(seconds);
        let known = inputs.groups[0].known.as_mut().unwrap();
        known.shortage.note(&known.capacity, PATIENCE, since);
        record_of(&inputs, &[])
    };
    for (name, record, quiet) in [
        ("as many as needed", at(Some((0, 9)), busy(3)), true),
        ("nothing at all", at(Some((0, 0)), busy(0)), true),
        ("more are needed", at(Some((9, 9)), busy(3)), false),
        ("fewer are needed", at(Some((0, 1)), idle), false),
        ("fewer are needed, all are held", at(Some((0, 1)), busy(3)), false),
        ("more are needed than may be", at(Some((99, 9)), busy(5)), false),
        ("the CI did not answer", at(None, busy(3)), false),
        ("an instance came", moved(at(Some((0, 9)), busy(3))), false),
        ("a paused queue without jobs", record_of(&paused(0), &[]), true),
        ("jobs wait on a paused queue", record_of(&paused(2), &[]), false),
        ("instances boot for announced jobs", record_of(&announced, &[]), true),
        ("launches come", owed(59), true),
        ("AWS owes launches for long, and nobody else can be asked", owed(60), false),
        ("metrics failed", record_of(&inputs(Some((0, 9)), busy(3)), &["denied"]), false),
    ] {
        assert_eq!(record.is_quiet(), quiet, "{name}");
    }
    assert!(matches!(at(Some((9, 9)), busy(3)).plan[0].unwrap().step, Step::ScaleOut { from: 3, to: 5 }));
}

#[test]
fn idle_instances_are_kept_where_fewer_go_than_could() {
    for (name, jobs, floor, idle, kept) in [
        ("all go", Some((0, 0)), 0, 4, false),
        ("the one that is idle goes", Some((0, 9)), 0, 1, false),
        ("a floor keeps some", Some((0, 0)), 1, 4, true),
        ("jobs are about to take them", Some((12, 0)), 0, 4, true),
        ("nobody is idle", Some((0, 12)), 0, 0, false),
        ("what is not known keeps nobody", None, 0, 4, false),
    ] {
        let mut inputs = inputs(jobs, Capacity { held: 4 - idle, releasable: idle, ..busy(4) });
        inputs.wanted.policy.idle_instances = floor;
        assert_eq!(inputs.keep_idle(&inputs.decide()), kept, "{name}");
    }
}

#[test]
fn what_no_group_may_have_or_can_get_is_short() {
    let owed = Shortage::default();
    let mut long_owed = owed;
    let waits = Capacity { desired: 4, ..Capacity::default() };
    let patience =
        Patience { launch: SignedDuration::from_secs(60), retry_after: SignedDuration::from_secs(600) };
    long_owed.note(&waits, patience, second(0));
    let group = |max, live, shortage| {
        let capacity =
            Capacity { max, live, in_service: live, held: live, desired: live.max(4), ..Capacity::default() };
        GroupSeen { name: "g".into(), known: Some(Known { capacity, shortage, ..Known::default() }) }
    };
    let unknown = GroupSeen { name: "g".into(), known: None };
    let cases = [
        ("within the maximum", 5, 100, vec![group(5, 0, owed)], 0),
        ("past it", 7, 100, vec![group(5, 5, owed)], 2),
        ("another group has room", 7, 100, vec![group(5, 5, owed), group(2, 0, owed)], 0),
        ("past the maximum of all", 7, 6, vec![group(5, 5, owed), group(2, 0, owed)], 1),
        ("AWS does not deliver", 5, 100, vec![group(5, 1, long_owed)], 4),
        ("and another group does", 5, 100, vec![group(5, 1, long_owed), group(9, 0, owed)], 0),
        ("unknown", 7, 100, vec![group(5, 5, owed), unknown], 0),
    ];
    for (name, scheduled, most, groups, short) in cases {
        let wanted = Wanted {
            policy: Policy::of_need(1),
            most,
            patience,
            mode: ScalingMode::Direct,
            period: None,
            share: FixedShare::ALL,
        };
        let jobs = Some(Jobs { scheduled, ..Jobs::default() });
        let inputs = Inputs {
            at: second(90),
            queue: "default".into(),
            wanted,
            jobs,
            expected: 0,
            paused: false,
            unmatched: 0,
            doubt: None,
            groups,
            sharing: Sharing::Alone,
        };
        assert_eq!(inputs.capacity_short(), short, "{name}");
    }
}
