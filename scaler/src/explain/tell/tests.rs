use jiff::SignedDuration;

use crate::decide::{Capacity, Jobs, Policy};
use crate::explain::story::{stories, text};
use crate::gap::ScalingMode;
use crate::record::tests::{busy, inputs, record_of};
use crate::sharing::{FixedShare, Other, Remembered};
use crate::shortage::Shortage;
use lifecycle::boots::Boot;

use super::*;

fn failing(next_probe: &str) -> Failing {
    Failing {
        in_a_row: 4,
        last: Boot {
            instance: "i-0bad".into(),
            began: "2026-11-21T13:59:00Z".parse().unwrap(),
            ended: "2026-11-21T14:01:00Z".parse().unwrap(),
            failure: Some(
                "token i-0bad was abandoned: Lifecycle Action Completed with ABANDON Result".into(),
            ),
        },
        next_probe: next_probe.parse().unwrap(),
    }
}

fn with(mut inputs: Inputs, change: impl FnOnce(&mut Inputs)) -> Inputs {
    change(&mut inputs);
    inputs
}

fn braked(inputs: Inputs, next_probe: &str) -> Inputs {
    with(inputs, |inputs| known(inputs, 0).boots_failing = Some(failing(next_probe)))
}

fn known(inputs: &mut Inputs, group: usize) -> &mut Known {
    inputs.groups[group].known.as_mut().unwrap()
}

fn policy(inputs: Inputs, change: impl FnOnce(&mut Policy)) -> Inputs {
    with(inputs, |inputs| change(&mut inputs.wanted.policy))
}

/// A spot group that owes since 14:00 and an on-demand group.
fn two(jobs: (u64, u64)) -> Inputs {
    let owing = Capacity { max: 5, desired: 2, ..Capacity::default() };
    let mut inputs = inputs(Some(jobs), owing);
    let mut shortage = Shortage::default();
    shortage.note(&owing, inputs.wanted.patience, "2026-11-21T14:00:00Z".parse().unwrap());
    known(&mut inputs, 0).shortage = shortage;
    inputs.groups[0].name = "ci-spot".into();
    let mut dear = inputs.groups[0].clone();
    dear.name = "ci-instances".into();
    inputs.groups.push(dear);
    *known(&mut inputs, 1) = Known { capacity: busy(1), ..Known::default() };
    inputs
}

fn first_of(mut inputs: Inputs) -> Inputs {
    inputs.groups.truncate(1);
    inputs
}

fn alarms(inputs: Inputs) -> Inputs {
    with(inputs, |inputs| inputs.wanted.mode = ScalingMode::Alarms)
}

fn third() -> FixedShare {
    FixedShare::percent(33).unwrap()
}

/// Another stack has one instance, and launches are owed there for long or not at all.
fn shared(inputs: Inputs, silent: bool) -> Inputs {
    let mut shortage = Shortage::default();
    shortage.note_lack(silent, inputs.wanted.patience, "2026-11-21T14:00:00Z".parse().unwrap());
    let capacity = Capacity { desired: 1 + u32::from(silent), ..busy(1) };
    let before = Remembered { part: 2, desired: 1, shortage };
    let other = Other { stack: "gpu".into(), priority: 0, weight: 1, agents: 3, most: 9, capacity, before };
    let fellows = Fellows { stack: "ci".into(), priority: 0, weight: 1, others: vec![other] };
    with(inputs, |inputs| inputs.sharing = Sharing::With(fellows))
}

fn unknown(mut inputs: Inputs, group: usize) -> Inputs {
    inputs.groups[group].known = None;
    inputs
}

const DENIED: &str = "autoscaling:SetDesiredCapacity on ci-instances: AccessDenied";
const SILENT: &str =
    "job counts of queue default from https://ci.example/v3: no answer within 4s: the next tick tries again";

#[test]
fn every_situation_in_plain_words() {
    let idle = Capacity { held: 1, releasable: 2, ..busy(3) };
    let (later, due) = ("2026-11-21T14:03:00Z", "2026-11-21T14:02:00Z");
    let one_agent = |inputs| policy(inputs, |p| p.agents_per_instance = 1);
    let cases: Vec<(&str, Inputs, &[&str])> = vec![
        ("more jobs", inputs(Some((9, 4)), busy(3)), &[]),
        ("one job", one_agent(inputs(Some((1, 0)), busy(0))), &[]),
        (
            "with a buffer and waiting jobs",
            policy(
                with(inputs(Some((9, 4)), busy(3)), |i| {
                    i.jobs = Some(Jobs { scheduled: 2, running: 4, waiting: 3 })
                }),
                |p| {
                    p.instance_buffer = 1;
                    p.include_waiting = true;
                },
            ),
            &[],
        ),
        ("more jobs than the group may hold", inputs(Some((90, 4)), busy(3)), &[]),
        ("announced jobs", with(inputs(Some((2, 4)), busy(2)), |i| i.expected = 7), &[]),
        (
            "announced jobs alone",
            with(inputs(Some((0, 0)), Capacity { max: 5, ..Capacity::default() }), |i| i.expected = 1),
            &[],
        ),
        ("at the maximum", inputs(Some((90, 15)), busy(5)), &[]),
        ("at the maximum of all groups", with(two((90, 4)), |i| i.wanted.most = 4), &[]),
        ("idle instances go", inputs(Some((0, 2)), idle), &[]),
        ("no jobs", inputs(Some((0, 0)), Capacity { held: 0, releasable: 3, ..busy(3) }), &[]),
        ("all are held", inputs(Some((0, 2)), busy(3)), &[]),
        ("as many as desired", inputs(Some((0, 9)), busy(3)), &[]),
        ("AWS does not deliver", two((6, 3)), &[]),
        ("AWS does not deliver, and there is no other group", first_of(two((6, 0))), &[]),
        (
            "boots fail, braked",
            braked(inputs(Some((9, 0)), Capacity { live: 1, in_service: 1, held: 1, ..busy(3) }), later),
            &[],
        ),
        ("boots fail, between probes", braked(inputs(Some((9, 3)), busy(1)), later), &[]),
        ("boots fail, a probe", braked(inputs(Some((9, 3)), busy(1)), due), &[]),
        (
            "boots fail, the probe boots",
            braked(inputs(Some((9, 3)), Capacity { in_service: 1, ..busy(2) }), due),
            &[],
        ),
        ("somebody desired too much", inputs(Some((0, 9)), Capacity { desired: 9, ..busy(3) }), &[]),
        ("somebody desired too little", inputs(Some((0, 3)), Capacity { desired: 1, ..busy(3) }), &[]),
        ("scale-out is forbidden", policy(inputs(Some((9, 4)), busy(3)), |p| p.scale_out = false), &[]),
        ("scale-in is forbidden", policy(inputs(Some((0, 2)), idle), |p| p.scale_in = false), &[]),
        (
            "scale-in is forbidden by a period",
            with(policy(inputs(Some((0, 2)), idle), |p| p.scale_in = false), |i| {
                i.wanted.period = Some("night".into());
            }),
            &[],
        ),
        ("a floor without jobs", policy(inputs(Some((0, 0)), busy(0)), |p| p.idle_instances = 2), &[]),
        ("a floor beyond the jobs", policy(inputs(Some((0, 7)), busy(3)), |p| p.idle_instances = 1), &[]),
        (
            "a floor by a period, and jobs that it does not wait for",
            with(policy(inputs(Some((3, 9)), busy(3)), |p| p.idle_instances = 1), |i| {
                i.wanted.period = Some("office".into());
            }),
            &[],
        ),
        ("a minimum", policy(inputs(Some((0, 1)), busy(1)), |p| p.min_instances = 3), &[]),
        (
            "a floor that the maximum cuts",
            policy(inputs(Some((0, 9)), busy(3)), |p| p.idle_instances = 4),
            &[],
        ),
        (
            "idle instances stay as the floor",
            policy(inputs(Some((0, 2)), idle), |p| p.idle_instances = 1),
            &[],
        ),
        (
            "a phantom gets a successor",
            with(inputs(Some((9, 0)), Capacity { in_service: 1, phantom: 1, ..busy(3) }), |i| {
                known(i, 0).boot_budget = Some(SignedDuration::from_secs(150));
                known(i, 0).phantoms = vec!["i-0late".into()];
            }),
            &[],
        ),
        (
            "phantoms at the maximum",
            with(inputs(Some((15, 0)), Capacity { in_service: 1, phantom: 2, ..busy(5) }), |i| {
                known(i, 0).boot_budget = Some(SignedDuration::from_mins(10));
                known(i, 0).phantoms = vec!["i-0late".into()];
            }),
            &[],
        ),
        (
            "phantoms on a record of an older program",
            with(inputs(Some((9, 0)), Capacity { in_service: 1, phantom: 2, ..busy(3) }), |i| {
                known(i, 0).boot_budget = Some(SignedDuration::from_secs(150));
            }),
            &[],
        ),
        ("the CI does not answer", inputs(None, busy(3)), &[SILENT]),
        (
            "a group is not described",
            unknown(two((6, 3)), 1),
            &["autoscaling:DescribeAutoScalingGroups on ci-instances: throttled"],
        ),
        ("the step is refused", inputs(Some((9, 4)), busy(3)), &[DENIED]),
        (
            "only the metrics fail",
            inputs(Some((0, 9)), busy(3)),
            &["cloudwatch:PutMetricData on namespace Buildkite: throttled"],
        ),
        ("the alarms resize", alarms(inputs(Some((9, 4)), busy(3))), &[]),
        ("the alarms let some go", alarms(inputs(Some((0, 2)), idle)), &[]),
        (
            "the alarms wait for what boots",
            alarms(inputs(Some((0, 2)), Capacity { in_service: 2, ..idle })),
            &[],
        ),
        (
            "the alarms leave the last one",
            alarms(inputs(Some((0, 6)), Capacity { held: 2, releasable: 1, ..busy(3) })),
            &[],
        ),
        ("the alarms may not pass the most of all", with(alarms(two((9, 0))), |i| i.wanted.most = 3), &[]),
        ("the alarms have nothing to do", alarms(inputs(Some((0, 2)), busy(3))), &[]),
        ("beside another stack", shared(inputs(Some((9, 4)), busy(2)), false), &[]),
        ("beside one that does not deliver", shared(inputs(Some((9, 4)), busy(2)), true), &[]),
        ("beside others, beyond all limits", shared(inputs(Some((90, 4)), busy(2)), false), &[]),
        (
            "other stacks are not known",
            with(inputs(Some((9, 4)), busy(2)), |inputs| inputs.sharing = Sharing::Unknown),
            &["autoscaling:DescribeAutoScalingGroups on groups tagged tidemark:queue=default: throttled"],
        ),
        ("a fixed share", with(inputs(Some((9, 4)), busy(2)), |i| i.wanted.share = third()), &[]),
        ("a paused queue", with(inputs(Some((9, 0)), busy(0)), |i| i.paused = true), &[]),
        ("a paused queue whose jobs run on", with(inputs(Some((1, 4)), busy(2)), |i| i.paused = true), &[]),
        ("idle instances of a paused queue go", with(inputs(Some((9, 2)), idle), |i| i.paused = true), &[]),
        (
            "an incomplete answer that asks for more",
            with(inputs(Some((9, 4)), busy(3)), |i| i.doubt = Some(Doubt::Incomplete)),
            &[],
        ),
        (
            "an incomplete answer that asks for less",
            with(inputs(Some((0, 2)), idle), |i| i.doubt = Some(Doubt::Incomplete)),
            &[],
        ),
        (
            "an old answer that asks for less",
            with(inputs(Some((0, 0)), idle), |i| {
                i.doubt = Some(Doubt::Stale { as_of: "2026-11-21T13:58:00Z".parse().unwrap() });
            }),
            &[],
        ),
        ("some jobs ask for other agents", with(inputs(Some((9, 4)), busy(3)), |i| i.unmatched = 2), &[]),
        ("a hostile answer", inputs(None, busy(3)), &["garbage: \u{1b}[2J\nnext line"]),
    ];
    let mut told = String::new();
    for (name, inputs, problems) in cases {
        let record = record_of(&inputs, problems);
        let _ = write!(told, "{name}:\n{}\n", text(&stories([&record])));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn ticks_in_a_row_days_instances_dry_runs_and_other_programs() {
    let at = |record: &Record, seconds: i64| {
        let mut record = record.clone();
        record.inputs.at += SignedDuration::from_secs(seconds);
        record
    };
    let blind = record_of(&inputs(None, busy(3)), &["the CI does not answer"]);
    let step = record_of(&inputs(Some((9, 4)), busy(3)), &[]);
    let mut moves = record_of(&inputs(Some((0, 15)), busy(5)), &[]);
    moves.moved[0] = Moved {
        booting: vec!["i-1".into()],
        in_service: vec!["i-2".into(), "i-3".into()],
        left: vec!["i-4".into()],
        more: 7,
    };
    let mut dry = at(&step, 86_400);
    dry.dry_run = true;
    let mut other = at(&step, 86_410);
    other.scaler = "0.0.9".into();
    other.plan[0].as_mut().unwrap().step = Step::ScaleOut { from: 3, to: 4 };
    let records = [step.clone(), at(&moves, 60), at(&blind, 70), at(&blind, 80), at(&blind, 90), dry, other];
    insta::assert_snapshot!(text(&stories(&records)));
}

/// One log of many queues: what each says goes on, whatever the others say in between.
#[test]
fn stories_of_several_queues_are_told_apart() {
    let mut records = Vec::new();
    for second in [0, 10, 20] {
        for queue in ["linux", "mac"] {
            let jobs = (queue == "mac" && second == 20).then_some((9, 4));
            let mut record = record_of(&inputs(jobs, busy(3)), if jobs.is_some() { &[] } else { &[SILENT] });
            record.inputs.queue = queue.into();
            record.inputs.groups[0].name = format!("{queue}-instances");
            record.inputs.at += SignedDuration::from_secs(second);
            records.push(record);
        }
    }
    let told = stories(&records);
    assert_eq!(
        told.iter().map(|story| story.ticks.clone()).collect::<Vec<_>>(),
        [vec![0, 2, 4], vec![1, 3], vec![5]]
    );
    insta::assert_snapshot!(text(&told), @"
    2026-11-21, times are UTC
    14:02:10  queue linux: the jobs are not known; linux-instances stays at 3: nothing is changed while something is unknown
              failed: job counts of queue default from https://ci.example/v3: no answer within 4s: the next tick tries again
              the same until 14:02:30 (3 ticks)
    14:02:10  queue mac: the jobs are not known; mac-instances stays at 3: nothing is changed while something is unknown
              failed: job counts of queue default from https://ci.example/v3: no answer within 4s: the next tick tries again
              the same until 14:02:20 (2 ticks)
    14:02:30  queue mac: mac-instances: 3 -> 5 instances: 9 jobs scheduled and 4 running need 5 instances of 3 agents
    ");
}

#[test]
fn who_lowers_instead_is_told() {
    let idle = Capacity { held: 1, releasable: 2, ..busy(3) };
    let mut record = record_of(&inputs(Some((0, 2)), idle), &[]);
    let mut told = String::new();
    for owner in ["ip-10-0-3-7:812#5b1e09aa", "the ticks of the schedule"] {
        record.left_to = Some(owner.into());
        told.push_str(&text(&stories([&record])));
    }
    insta::assert_snapshot!(told, @"
    2026-11-21, times are UTC
    14:02:10  ci-instances: 3 -> 1 instance: 2 jobs running need 1 instance of 3 agents; 2 are idle and gave up protection; 1 is held
              not lowered here: that is left to ip-10-0-3-7:812#5b1e09aa
    2026-11-21, times are UTC
    14:02:10  ci-instances: 3 -> 1 instance: 2 jobs running need 1 instance of 3 agents; 2 are idle and gave up protection; 1 is held
              not lowered here: that is left to the ticks of the schedule
    ");
}
