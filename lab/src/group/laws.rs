//! The group's laws, rule by rule.

use jiff::{SignedDuration, Timestamp};

use super::apply::Order;
use super::decide::{Ending, Step, reconcile};
use super::model::*;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn definition(min: u32, max: u32) -> Definition {
    Definition {
        name: "g".into(),
        arn: "arn:aws:autoscaling:us-east-1:1:autoScalingGroup:u:autoScalingGroupName/g".into(),
        min,
        max,
        protect_new: true,
        zones: vec!["a".into(), "b".into()],
        subnets: "subnet-1,subnet-2".into(),
        template: TemplateRef { id: "lt-1".into(), name: "t".into(), version: "$Latest".into() },
        types: vec!["c7a.large".into()],
        mixed: None,
        grace: SignedDuration::from_secs(60),
        warm: 0,
        hooks: vec![Hook {
            name: "drain".into(),
            transition: Transition::Terminating,
            heartbeat: SignedDuration::from_secs(1800),
            silence_continues: true,
        }],
        tags: vec![Tag { key: "Queue".into(), value: "default".into(), at_launch: true }],
        created: at(0),
    }
}

/// Takes every step until there is none, as the edge does; machines come up at once. All steps taken.
pub(super) fn settle(group: &mut Group, next: &mut u32, now: Timestamp) -> Vec<Step> {
    let mut taken = Vec::new();
    loop {
        let steps = reconcile(group, now);
        if steps.is_empty() {
            return taken;
        }
        for step in &steps {
            if let Step::Launch { zone, warm } = step {
                let id = format!("i-{next}");
                *next += 1;
                let order = Order {
                    id: id.clone(),
                    zone: zone.clone(),
                    instance_type: "c7a.large".into(),
                    template_version: "1".into(),
                    warm: *warm,
                };
                group.ordered(order, now);
                group.came_up(&id);
            }
            group.apply(step, now);
            if let Step::Wake { id } = step {
                group.came_up(id);
            }
        }
        taken.extend(steps);
        assert!(taken.len() < 10_000, "the group comes to rest");
    }
}

/// A group at rest with `desired` protected instances `i-0`, `i-1`, …
pub(super) fn group_with(min: u32, max: u32, desired: u32) -> Group {
    let mut group = Group::new(definition(min, max));
    group.set_desired(desired, at(0)).unwrap();
    settle(&mut group, &mut 0, at(0));
    group
}

fn states(group: &Group) -> Vec<(String, &'static str)> {
    group.members.iter().map(|m| (m.id.clone(), m.lifecycle.word())).collect()
}

#[test]
fn grows_from_zero_over_all_zones_with_protection() {
    let group = group_with(0, 4, 3);
    assert_eq!(group.in_service(), 3);
    assert!(group.members.iter().all(|m| m.protected));
    let zones: Vec<&str> = group.members.iter().map(|m| &*m.zone).collect();
    assert_eq!(zones, ["a", "b", "a"]);
    assert!(group.activities[0].cause.contains("changing the desired capacity from 0 to 3"));
    assert!(group.activities.iter().all(|a| a.status == ActivityStatus::Successful));
}

#[test]
fn scale_in_takes_only_unprotected_ones_and_waits_for_the_hook() {
    let mut group = group_with(0, 4, 3);
    group.set_desired(1, at(10)).unwrap();
    assert_eq!(settle(&mut group, &mut 9, at(10)), []);
    group.set_protection(&["i-1".into()], false).unwrap();
    settle(&mut group, &mut 9, at(11));
    assert_eq!(group.member("i-1").unwrap().lifecycle, Lifecycle::TerminatingWait);
    assert_eq!(group.in_service(), 2);
    group.complete("i-1", "drain", true, at(12)).unwrap();
    settle(&mut group, &mut 9, at(12));
    assert!(group.member("i-1").is_none());
}

/// DESIGN §5: protection leaves a debt.
#[test]
fn desired_beneath_the_protected_is_a_debt_that_later_rises_pay_first() {
    let mut group = group_with(0, 5, 3);
    group.set_desired(1, at(10)).unwrap();
    group.set_desired(2, at(20)).unwrap();
    assert_eq!(settle(&mut group, &mut 9, at(20)), [], "a rise to 2 launches nothing: 3 are there");
    group.set_protection(&["i-2".into()], false).unwrap();
    let steps = settle(&mut group, &mut 9, at(21));
    assert_eq!(steps, [Step::Retire { id: "i-2".into(), ending: Ending::ScaleIn }], "the debt is paid");
    group.set_protection(&["i-0".into()], false).unwrap();
    assert_eq!(settle(&mut group, &mut 9, at(22)), [], "and only once");
    group.set_desired(3, at(23)).unwrap();
    let steps = settle(&mut group, &mut 9, at(23));
    assert!(matches!(steps[0], Step::Launch { .. }), "{steps:?}");
}

#[test]
fn an_unhealthy_instance_is_replaced_though_protected() {
    let mut group = group_with(0, 4, 2);
    group.set_health("i-0", false, true, at(30));
    assert!(group.member("i-0").unwrap().healthy, "within the grace period");
    group.set_health("i-0", false, false, at(30));
    settle(&mut group, &mut 2, at(31));
    assert_eq!(
        states(&group),
        [("i-0".into(), "Terminating:Wait"), ("i-1".into(), "InService"), ("i-2".into(), "InService")]
    );
}

#[test]
fn an_image_that_cannot_boot_is_not_launched_without_a_pause() {
    let mut group = group_with(0, 4, 1);
    group.set_health("i-0", false, false, at(1));
    assert_eq!(settle(&mut group, &mut 1, at(9)), []);
    let steps = settle(&mut group, &mut 1, at(10));
    assert!(steps.contains(&Step::Retire { id: "i-0".into(), ending: Ending::Unhealthy }), "{steps:?}");
}

#[test]
fn terminating_an_instance_replaces_it_unless_decremented() {
    for (decrement, left) in [(true, 1), (false, 2)] {
        let mut group = group_with(1, 4, 2);
        group.terminate("i-0", decrement, at(5)).unwrap();
        settle(&mut group, &mut 2, at(5));
        assert_eq!(group.in_service(), left, "decrement {decrement}");
        let desired = group.desired;
        group.terminate("i-0", decrement, at(6)).unwrap();
        assert_eq!(group.desired, desired, "the second call changes nothing");
    }
    let mut group = group_with(2, 4, 2);
    let refusal = group.terminate("i-0", true, at(5)).unwrap_err();
    assert!(refusal.message.contains("desiredSize equals minSize (2)"), "{refusal}");
    assert_eq!(group.in_service(), 2);
}

#[test]
fn heartbeats_hold_until_the_limit_and_silence_ends_the_wait() {
    let mut group = group_with(0, 4, 1);
    group.terminate("i-0", true, at(0)).unwrap();
    assert_eq!(settle(&mut group, &mut 9, at(1799)), []);
    group.heartbeat("i-0", "drain", at(1799)).unwrap();
    assert_eq!(settle(&mut group, &mut 9, at(3598)), []);
    let mut time = 1799;
    while group.heartbeat("i-0", "drain", at(time)).is_ok() {
        time += 1000;
    }
    // 100 × 1800 s is more than 48 h.
    assert!((172_800..172_800 + 1000).contains(&time), "{time}");
    settle(&mut group, &mut 9, at(172_800));
    assert_eq!(group.members, []);
}

#[test]
fn protection_is_refused_while_an_instance_ends() {
    let mut group = group_with(0, 4, 2);
    group.terminate("i-0", true, at(0)).unwrap();
    let refusal = group.set_protection(&["i-1".into(), "i-0".into()], false).unwrap_err();
    assert!(refusal.message.contains("i-0 is not in InService"), "{refusal}");
    assert!(group.member("i-1").unwrap().protected, "all or none");
}

#[test]
fn an_abandoned_launch_is_ended_and_replaced() {
    let mut group = Group::new(definition(0, 4));
    group.definition.hooks = vec![Hook {
        name: "ready".into(),
        transition: Transition::Launching,
        heartbeat: SignedDuration::from_secs(60),
        silence_continues: false,
    }];
    group.set_desired(1, at(0)).unwrap();
    settle(&mut group, &mut 0, at(0));
    assert_eq!(states(&group), [("i-0".into(), "Pending:Wait")]);
    group.complete("i-0", "ready", false, at(1)).unwrap();
    let launch = &group.activities[0];
    assert_eq!((launch.status, launch.end), (ActivityStatus::Cancelled, Some(at(1))));
    assert!(
        launch.message.ends_with("abandoned: Lifecycle Action Completed with ABANDON Result"),
        "{launch:?}"
    );
    settle(&mut group, &mut 1, at(10));
    assert_eq!(states(&group), [], "not at once: an image that cannot boot would be a storm");
    settle(&mut group, &mut 1, at(11));
    assert_eq!(states(&group), [("i-1".into(), "Pending:Wait")]);
    settle(&mut group, &mut 2, at(71));
    assert_eq!(states(&group), [], "silence abandons");
    assert!(group.activities.iter().any(|a| a.message.ends_with("abandoned: Heartbeat Timeout")));
    settle(&mut group, &mut 2, at(81));
    assert_eq!(states(&group), [("i-2".into(), "Pending:Wait")]);
    group.complete("i-2", "ready", true, at(82)).unwrap();
    settle(&mut group, &mut 3, at(82));
    assert_eq!(states(&group), [("i-2".into(), "InService")]);
}

#[test]
fn a_warm_pool_is_kept_beside_the_group_and_launched_from_first() {
    let mut group = Group::new(Definition { warm: 1, ..definition(0, 4) });
    group.put_hook(Hook {
        name: "ready".into(),
        transition: Transition::Launching,
        heartbeat: SignedDuration::from_secs(60),
        silence_continues: false,
    });
    settle(&mut group, &mut 0, at(0));
    assert_eq!(states(&group), [("i-0".into(), "Warmed:Pending:Wait")], "nothing is desired");
    group.complete("i-0", "ready", true, at(1)).unwrap();
    settle(&mut group, &mut 1, at(1));
    assert_eq!((states(&group), group.capacity()), (vec![("i-0".into(), "Warmed:Stopped")], 0));
    let refusal = group.set_protection(&["i-0".into()], false).unwrap_err();
    assert!(refusal.message.contains("not in InService"), "{refusal}");

    group.set_desired(2, at(10)).unwrap();
    settle(&mut group, &mut 1, at(10));
    let expected = [("i-0", "Pending:Wait"), ("i-1", "Pending:Wait"), ("i-2", "Warmed:Pending:Wait")];
    assert_eq!(
        states(&group),
        expected.map(|(id, state)| (id.to_owned(), state)),
        "the hook holds it once more"
    );
    let told: Vec<&str> = group.activities.iter().map(|a| a.description.as_str()).collect();
    let launch = |how: &str, id: &str| format!("Launching a new EC2 instance{how}: {id}");
    assert_eq!(
        told,
        [
            launch(" into warm pool", "i-0"),
            launch(" from warm pool", "i-0"),
            launch("", "i-1"),
            launch(" into warm pool", "i-2")
        ]
    );
    group.complete("i-2", "ready", false, at(11)).unwrap();
    settle(&mut group, &mut 3, at(12));
    assert_eq!(group.members.iter().filter(|m| m.lifecycle.is_warmed()).count(), 0, "given up, and no storm");
    settle(&mut group, &mut 3, at(21));
    assert_eq!(states(&group).last().unwrap().1, "Warmed:Pending:Wait");
    group.redefine(definition(0, 4));
    group.complete("i-3", "ready", true, at(22)).unwrap();
    settle(&mut group, &mut 4, at(22));
    assert!(group.members.iter().all(|m| !m.lifecycle.is_warmed()), "a pool that is no more is emptied");
}

#[test]
fn a_failed_launch_leaves_and_is_told() {
    let mut group = Group::new(definition(0, 4));
    let order = Order {
        id: "i-0".into(),
        zone: "a".into(),
        instance_type: "t".into(),
        template_version: "1".into(),
        warm: false,
    };
    group.ordered(order, at(0));
    group.failed_to_launch("i-0", "no capacity", at(1));
    assert_eq!(group.members, []);
    assert_eq!(group.activities[0].status, ActivityStatus::Failed);
    assert!(!group.activities[0].description.contains("i-0"), "there never was one");
}
