use proptest::prelude::*;

use super::*;
use crate::simulate::bound::least_paid;
use crate::simulate::policies::{Choice, PlannerSettings};
use crate::simulate::trace::Job;

const SECOND: Millis = 1000;

/// Machines whose boots take ten seconds, not more and not less.
fn machines() -> Machines {
    Machines { boot_variance: 0.0, max: 50, ..Machines::booting_in(10 * SECOND) }
}

fn trace(jobs: &[(Millis, Millis)]) -> Trace {
    let job =
        |(at, duration): &(Millis, Millis)| Job { runnable_at: at * SECOND, duration: duration * SECOND };
    Trace::new(jobs.iter().map(job).collect(), Vec::new())
}

fn course(trace: &Trace, machines: Machines, policy: &str) -> Course {
    let choice: Choice = policy.parse().unwrap();
    run(trace, machines, choice.start(&machines, None).as_mut(), 1, true)
}

#[test]
fn one_job_waits_for_a_look_and_a_boot_and_the_instance_goes_when_idle() {
    // Runnable at 1 s, seen at 2 s, ready at 12 s, ends at 42 s, idle until 62 s, seen then.
    let course = course(&trace(&[(1, 30)]), machines(), "tidemark:idle=20s");
    assert_eq!(course.waits, [11 * SECOND]);
    assert_eq!((course.paid, course.idle, course.boots, course.unused), (60 * SECOND, 20 * SECOND, 1, 0));
    assert_eq!(course.to_zero, 20 * SECOND);
}

#[test]
fn an_instance_stays_idle_by_its_own_boot_where_nothing_is_said() {
    let paid = |boot: Millis| {
        let machines = Machines { boot_variance: 0.0, ..Machines::booting_in(boot * SECOND) };
        let course = course(&trace(&[(0, 30)]), machines, "tidemark");
        [course.paid, course.idle, course.billed].map(|millis| millis / SECOND)
    };
    assert_eq!(paid(40), [102, 32, 102], "boot, job and four fifths of the boot");
    assert_eq!(paid(5), [46, 11, 60], "ten seconds at least, seen a second later; EC2 bills a minute");
    assert_eq!(paid(900), [1530, 600, 1530], "ten minutes at most");
    // Each by its own: with boots that vary some stay for longer than others.
    let of = |seed| {
        let machines = Machines::booting_in(40 * SECOND);
        let choice: Choice = "tidemark".parse().unwrap();
        run(&trace(&[(0, 30)]), machines, choice.start(&machines, None).as_mut(), seed, false).idle
    };
    let idle: std::collections::BTreeSet<Millis> = (0..20).map(of).collect();
    assert!(idle.len() > 5 && idle.iter().all(|idle| (24..=43).contains(&(idle / SECOND))), "{idle:?}");
}

#[test]
fn a_job_within_the_idle_period_finds_the_instance_and_one_after_it_does_not() {
    let idle = "tidemark:idle=20s";
    assert_eq!(course(&trace(&[(0, 30), (50, 5)]), machines(), idle).waits, [10 * SECOND, 0]);
    assert_eq!(course(&trace(&[(0, 30), (71, 5)]), machines(), idle).waits, [10 * SECOND, 11 * SECOND]);
}

#[test]
fn announced_jobs_find_agents() {
    let hints = vec![Hint { at: 6 * SECOND, jobs: 3 }];
    let jobs = trace(&[(16, 30), (16, 30), (16, 30)]).jobs;
    let told = Trace::new(jobs, hints);
    assert_eq!(course(&told, machines(), "tidemark").waits, [0, 0, 0]);
    assert_eq!(course(&told, machines(), "tidemark:blind").waits, [10 * SECOND; 3]);
}

#[test]
fn limits_hold_and_agents_share_an_instance() {
    let burst: Vec<_> = (0..12).map(|_| (0, 60)).collect();
    let limited = course(&trace(&burst), Machines { max: 4, ..machines() }, "tidemark");
    assert_eq!((limited.boots, limited.waits.iter().max()), (4, Some(&(130 * SECOND))));
    let shared = course(&trace(&burst), Machines { agents: 6, ..machines() }, "tidemark");
    assert_eq!((shared.boots, shared.waits.iter().max()), (2, Some(&(10 * SECOND))));
}

#[test]
fn what_aws_does_not_have_comes_when_it_has_it_again() {
    let short = Machines { short_from: 0, short_until: 100 * SECOND, ..machines() };
    assert_eq!(course(&trace(&[(0, 5)]), short, "tidemark").waits, [110 * SECOND]);
}

#[test]
fn a_job_whose_instance_was_taken_begins_again() {
    // Three interruptions an instance and hour, jobs of ten minutes: some are hit, all are run in the end.
    let jobs: Vec<_> = (0..40).map(|n| (n * 30, 600)).collect();
    let course = course(&trace(&jobs), Machines { interruptions: 3.0, ..machines() }, "tidemark");
    assert!(course.interrupted > 0);
    assert_eq!(course.waits.len(), 40 + course.interrupted as usize);
}

#[test]
fn rule_models_follow_their_rules() {
    let one = trace(&[(1, 30)]);
    let waits = |policy: &str| course(&one, machines(), policy).waits[0] / SECOND;
    assert_eq!(waits("elastic-ci"), 19, "seen at 10 s");
    assert_eq!(waits("keda"), 39, "seen at 30 s");
    assert_eq!(waits("alarms-2018"), 69, "seen at 60 s");
    assert_eq!(waits("ephemeral"), 41, "seen at 2 s, launched 30 s later");
    assert_eq!(waits("idle-count"), 9, "five instances boot from the first look on");
    let growth = trace(&[(1, 30), (20, 30), (20, 30)]);
    let gated = course(&growth, machines(), "elastic-ci");
    assert_eq!(gated.boots, 1, "no growth within five minutes of a growth");
    assert_eq!(course(&growth, machines(), "ephemeral").boots, 3);
    assert_eq!(course(&one, machines(), "alarms-2018").boots, 5);
}

fn jobs() -> impl Strategy<Value = Vec<(Millis, Millis)>> {
    proptest::collection::vec((0i64..2000, 1i64..400), 1..60)
}

proptest! {
    #[test]
    fn every_job_runs_once_and_nothing_is_left(jobs in jobs(), agents in 1u32..4, max in 1u32..30, seed in 0u64..9) {
        let trace = trace(&jobs);
        let machines = Machines { agents, max, ..Machines::booting_in(10 * SECOND) };
        for policy in ["tidemark", "elastic-ci", "alarms-2018", "keda", "ephemeral", "idle-count"] {
            if policy == "ephemeral" && agents > 1 {
                continue;
            }
            let choice: Choice = policy.parse().unwrap();
            let course = run(&trace, machines, choice.start(&machines, None).as_mut(), seed, true);
            prop_assert_eq!(course.waits.len(), jobs.len(), "{}", policy);
            prop_assert!(course.waits.iter().all(|wait| *wait >= 0));
            prop_assert!(course.line.iter().all(|point| point.instances <= max), "{}", policy);
            prop_assert!(course.paid * i64::from(agents) >= trace.busy() + course.idle, "{}", policy);
            let repeated = run(&trace, machines, choice.start(&machines, None).as_mut(), seed, true);
            prop_assert_eq!(course, repeated, "the same seed is the same course");
        }
    }

    /// Nobody can be better than one who knows everything: a course without waits costs at least the bound.
    #[test]
    fn no_course_without_waits_is_cheaper_than_the_bound(jobs in jobs(), idle in 1i64..60) {
        let jobs: Vec<_> = jobs.into_iter().map(|(at, duration)| (at + 15, duration)).collect();
        let hints = jobs.iter().map(|(at, _)| Hint { at: (at - 15) * SECOND, jobs: 1 }).collect();
        let trace = Trace::new(trace(&jobs).jobs, hints);
        let settings = PlannerSettings { idle: Some(idle * SECOND), ..PlannerSettings::default() };
        let course = run(&trace, machines(), Choice::Tidemark(settings).start(&machines(), None).as_mut(), 1, false);
        if course.waits.iter().all(|wait| *wait == 0) {
            prop_assert!(course.paid >= least_paid(&trace, 10 * SECOND));
        }
    }
}
