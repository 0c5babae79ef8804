use proptest::prelude::*;

use super::*;

/// One group alone: all that the jobs need is asked of it.
fn decide(policy: &Policy, jobs: &Jobs, group: &Capacity) -> Plan {
    super::decide(policy, Share { instances: needed(policy, jobs), beyond: 0 }, group)
}

const POLICY: Policy = Policy::of_need(1);

fn jobs(scheduled: u64, running: u64) -> Jobs {
    Jobs { scheduled, running, waiting: 0 }
}

/// A group of `in_service` instances, of which `releasable` are idle and unprotected, and `pending` still boot.
fn group(desired: u32, in_service: u32, releasable: u32, pending: u32) -> Capacity {
    let live = in_service + pending;
    Capacity {
        min: 0,
        max: 5,
        desired,
        live,
        in_service,
        held: live - releasable,
        releasable,
        short: false,
        phantom: 0,
        ceiling: None,
    }
}

#[test]
fn steps_and_reasons() {
    let cases = [
        ("idle and empty", jobs(0, 0), group(0, 0, 0, 0), Step::Hold, Reason::Enough),
        ("first jobs", jobs(3, 0), group(0, 0, 0, 0), Step::ScaleOut { from: 0, to: 3 }, Reason::Need),
        ("booting capacity counts", jobs(3, 0), group(3, 0, 0, 3), Step::Hold, Reason::Enough),
        (
            "a burst grows while instances boot",
            jobs(5, 0),
            group(3, 0, 0, 3),
            Step::ScaleOut { from: 3, to: 5 },
            Reason::Need,
        ),
        ("running jobs need their instances", jobs(0, 3), group(3, 3, 0, 0), Step::Hold, Reason::Enough),
        (
            "beyond the maximum",
            jobs(9, 0),
            group(2, 2, 0, 0),
            Step::ScaleOut { from: 2, to: 5 },
            Reason::AtMaximum,
        ),
        ("held at the maximum", jobs(9, 0), group(5, 5, 0, 0), Step::Hold, Reason::AtMaximum),
        ("busy instances stay", jobs(0, 0), group(3, 3, 0, 0), Step::Hold, Reason::AllHeld),
        (
            "only idle ones go",
            jobs(0, 1),
            group(3, 3, 1, 0),
            Step::ScaleIn { from: 3, to: 2 },
            Reason::Surplus,
        ),
        (
            "all idle, none needed",
            jobs(0, 0),
            group(3, 3, 3, 0),
            Step::ScaleIn { from: 3, to: 0 },
            Reason::Surplus,
        ),
        (
            "a booting instance is no reason to go lower",
            jobs(0, 0),
            group(3, 2, 2, 1),
            Step::ScaleIn { from: 3, to: 1 },
            Reason::Surplus,
        ),
        (
            "desired beneath the protected count",
            jobs(0, 0),
            group(1, 3, 0, 0),
            Step::ScaleOut { from: 1, to: 3 },
            Reason::ProtectedAboveDesired,
        ),
        (
            "launches that AWS does not make are called off",
            jobs(0, 0),
            Capacity { short: true, ..group(4, 1, 0, 0) },
            Step::ScaleIn { from: 4, to: 1 },
            Reason::Short,
        ),
        (
            "an idle one that stays is not why they are called off",
            jobs(1, 0),
            Capacity { short: true, ..group(2, 1, 1, 0) },
            Step::ScaleIn { from: 2, to: 1 },
            Reason::Short,
        ),
        (
            "idle ones that go with them are",
            jobs(0, 0),
            Capacity { short: true, ..group(4, 2, 1, 0) },
            Step::ScaleIn { from: 4, to: 1 },
            Reason::Surplus,
        ),
        (
            "boots that fail have no successors",
            jobs(6, 0),
            Capacity { ceiling: Some(1), ..group(4, 1, 0, 3) },
            Step::ScaleIn { from: 4, to: 1 },
            Reason::BootsFail,
        ),
        (
            "but for the minimum",
            jobs(6, 0),
            Capacity { ceiling: Some(1), min: 2, ..group(4, 1, 0, 3) },
            Step::ScaleIn { from: 4, to: 2 },
            Reason::BootsFail,
        ),
        (
            "a probe",
            jobs(6, 0),
            Capacity { ceiling: Some(2), ..group(1, 1, 0, 0) },
            Step::ScaleOut { from: 1, to: 2 },
            Reason::BootsFail,
        ),
        (
            "between probes",
            jobs(6, 0),
            Capacity { ceiling: Some(1), ..group(1, 1, 0, 0) },
            Step::Hold,
            Reason::BootsFail,
        ),
        (
            "what is called off leaves no room for a probe that nobody asked for",
            jobs(1, 0),
            Capacity { ceiling: Some(2), ..group(4, 1, 0, 0) },
            Step::ScaleIn { from: 4, to: 1 },
            Reason::BootsFail,
        ),
        (
            "no probe without jobs",
            jobs(0, 0),
            Capacity { ceiling: Some(1), ..group(0, 0, 0, 0) },
            Step::Hold,
            Reason::BootsFail,
        ),
        (
            "idle ones go all the same",
            jobs(1, 0),
            Capacity { ceiling: Some(3), ..group(3, 3, 2, 0) },
            Step::ScaleIn { from: 3, to: 1 },
            Reason::Surplus,
        ),
        ("launches AWS still owes are kept", jobs(0, 0), group(4, 1, 0, 0), Step::Hold, Reason::AllHeld),
    ];
    for (name, jobs, group, step, reason) in cases {
        let plan = decide(&POLICY, &jobs, &group);
        assert_eq!((plan.step, plan.reason), (step, reason), "{name}");
    }
}

#[test]
fn several_agents_an_instance_round_up_and_the_buffer_needs_jobs() {
    let policy = Policy { agents_per_instance: 4, instance_buffer: 1, ..POLICY };
    assert_eq!(decide(&policy, &jobs(5, 0), &group(0, 0, 0, 0)).target(), Some(3));
    assert_eq!(decide(&policy, &jobs(0, 0), &group(0, 0, 0, 0)).target(), None);
}

#[test]
fn waiting_jobs_count_only_when_asked_for() {
    let waiting = Jobs { waiting: 2, ..jobs(0, 0) };
    assert_eq!(decide(&POLICY, &waiting, &group(0, 0, 0, 0)).target(), None);
    let policy = Policy { include_waiting: true, ..POLICY };
    assert_eq!(decide(&policy, &waiting, &group(0, 0, 0, 0)).target(), Some(2));
}

#[test]
fn equal_limits_are_always_on() {
    let always = Capacity { min: 2, max: 2, ..group(2, 2, 2, 0) };
    assert_eq!(decide(&POLICY, &jobs(0, 0), &always).target(), None);
    assert_eq!(decide(&POLICY, &jobs(7, 2), &always).target(), None);
}

#[test]
fn forbidden_steps_hold() {
    let no_in = Policy { scale_in: false, ..POLICY };
    assert_eq!(decide(&no_in, &jobs(0, 0), &group(3, 3, 3, 0)).reason, Reason::Disabled);
    let braked = Capacity { ceiling: Some(1), ..group(4, 1, 0, 3) };
    assert_eq!(decide(&no_in, &jobs(6, 0), &braked).reason, Reason::Disabled);
    let no_out = Policy { scale_out: false, ..POLICY };
    assert_eq!(decide(&no_out, &jobs(3, 0), &group(0, 0, 0, 0)).reason, Reason::Disabled);
}

prop_compose! {
    fn any_group()(min in 0u32..6, span in 0u32..20, desired in 0u32..40, busy in 0u32..20, idle in 0u32..20, pending in 0u32..10)
        -> Capacity {
        let live = busy + idle + pending;
        Capacity { min, max: min + span, desired, live, in_service: busy + idle, held: busy + pending, releasable: idle, ..Capacity::default() }
    }
}

#[test]
fn the_floor_is_kept_beyond_the_jobs_and_without_any() {
    let floor = Policy { agents_per_instance: 2, instance_buffer: 1, idle_instances: 2, ..POLICY };
    let minimum = Policy { min_instances: 4, ..floor };
    for (scheduled, running, by_floor, by_minimum) in
        [(0, 0, 2, 4), (1, 0, 4, 4), (0, 3, 5, 5), (2, 2, 5, 5), (9, 0, 8, 8)]
    {
        let jobs = jobs(scheduled, running);
        assert_eq!((needed(&floor, &jobs), needed(&minimum, &jobs)), (by_floor, by_minimum), "{jobs:?}");
    }
    let most = Policy { idle_instances: u32::MAX, ..POLICY };
    assert_eq!(needed(&most, &jobs(3, 3)), u32::MAX);
    // Idle for long, and without protection: they stay.
    assert_eq!(decide(&floor, &jobs(0, 0), &group(2, 2, 2, 0)).step, Step::Hold);
}

prop_compose! {
    fn any_jobs()(scheduled in 0u64..60, running in 0u64..60, waiting in 0u64..60) -> Jobs {
        Jobs { scheduled, running, waiting }
    }
}

prop_compose! {
    fn any_policy()(agents_per_instance in 1u32..5, instance_buffer in 0u32..3, include_waiting: bool,
        idle_instances in 0u32..4, min_instances in 0u32..4) -> Policy {
        let of_need = Policy::of_need(agents_per_instance);
        Policy { instance_buffer, include_waiting, idle_instances, min_instances, ..of_need }
    }
}

proptest! {
    /// Invariant 2: whatever is observed, what is set lies within the group's limits.
    #[test]
    fn never_outside_the_limits(policy in any_policy(), jobs in any_jobs(), group in any_group()) {
        if let Some(target) = decide(&policy, &jobs, &group).target() {
            prop_assert!(target >= group.min && target <= group.max, "{target} in {}..={}", group.min, group.max);
        }
    }

    /// What is decided and then done is decided no more: a floor is not made up for and let go in turns.
    #[test]
    fn a_decision_that_was_carried_out_is_at_rest(policy in any_policy(), jobs in any_jobs(), group in any_group()) {
        let plan = decide(&policy, &jobs, &group);
        let desired = plan.target().unwrap_or(group.desired);
        // Idle ones went, and what was launched is in service, protected or idle again.
        let gone = group.desired.saturating_sub(desired).min(group.releasable);
        let live = desired.max(group.held + group.releasable - gone);
        for idle in 0..=live.min(policy.idle_instances) {
            let after = Capacity { desired, live, in_service: live, held: live - idle, releasable: idle, ..group };
            let then = decide(&policy, &jobs, &after);
            let floor = needed(&policy, &jobs).clamp(group.min, group.max);
            prop_assert!(then.target().is_none_or(|to| to >= floor), "{then:?}");
            if live == floor {
                prop_assert_eq!(then.step, Step::Hold);
            }
        }
    }

    /// Invariant 1: a step in takes at most the idle instances and never goes beneath the protected ones.
    #[test]
    fn scale_in_takes_idle_instances_only(policy in any_policy(), jobs in any_jobs(), group in any_group()) {
        if let Step::ScaleIn { from, to } = decide(&policy, &jobs, &group).step {
            prop_assume!(group.desired <= group.max);
            prop_assert!(from - to <= group.releasable);
            prop_assert!(to >= group.held.min(group.max));
        }
    }

    /// Where boots keep failing: within the limits, no protected instance in service beneath desired capacity, and no
    /// idle one given up for what boots.
    #[test]
    fn the_brake_takes_nothing_that_serves(
        policy in any_policy(), jobs in any_jobs(), group in any_group(), probe in 0u32..2
    ) {
        prop_assume!(group.desired <= group.max);
        let ceiling = group.in_service + probe;
        let ceiling = if group.releasable > 0 { ceiling.max(group.live) } else { ceiling };
        let braked = Capacity { ceiling: Some(ceiling), ..group };
        let plan = decide(&policy, &jobs, &braked);
        let target = plan.target().unwrap_or(braked.desired);
        prop_assert!(plan.target().is_none_or(|to| to >= braked.min && to <= braked.max));
        prop_assert!(target <= ceiling.max(braked.min).max(braked.in_service), "no more than a probe");
        if let Step::ScaleIn { to, .. } = plan.step {
            prop_assert!(to >= (braked.in_service - braked.releasable).min(braked.max));
            prop_assert!(plan.reason != Reason::BootsFail || braked.releasable == 0 || to >= braked.live.min(braked.max));
        }
        let free = decide(&policy, &jobs, &group).target().unwrap_or(group.desired);
        prop_assert!(target <= free.max(group.desired), "the brake asks for nothing that jobs do not");
    }

    /// A step goes in the direction of its name, and doing it leaves nothing to do.
    #[test]
    fn steps_settle(policy in any_policy(), jobs in any_jobs(), group in any_group()) {
        let plan = decide(&policy, &jobs, &group);
        match plan.step {
            Step::Hold => {}
            Step::ScaleOut { from, to } => {
                prop_assert!(to > from && from == group.desired);
                let after = Capacity { desired: to, ..group };
                prop_assert_eq!(decide(&policy, &jobs, &after).target().filter(|t| *t > to), None);
            }
            Step::ScaleIn { from, to } => {
                prop_assert!(to < from && from == group.desired);
                let gone = (from - to).min(group.releasable);
                let after = Capacity {
                    desired: to, live: group.live - gone, in_service: group.in_service - gone,
                    releasable: group.releasable - gone, ..group
                };
                prop_assert!(!matches!(decide(&policy, &jobs, &after).step, Step::ScaleOut { .. }), "no flip-flop");
            }
        }
    }

    /// More jobs never mean less capacity.
    #[test]
    fn more_jobs_never_mean_less(policy in any_policy(), jobs in any_jobs(), more in 1u64..20, group in any_group()) {
        let before = decide(&policy, &jobs, &group).target().unwrap_or(group.desired);
        let grown = Jobs { scheduled: jobs.scheduled + more, ..jobs };
        prop_assert!(decide(&policy, &grown, &group).target().unwrap_or(group.desired) >= before);
    }
}
