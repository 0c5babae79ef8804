//! The group as `watch` sees it: `FakeGroup` and `AutoScalingGroup`.

use std::collections::BTreeSet;

use agent_bootstrap::watch::autoscaling::AutoScalingGroup;
use agent_bootstrap::watch::fake_group::FakeGroup;
use agent_bootstrap::watch::group::{Group, Member, Refusal, Size};
use lab::group::model::Definition;
use lifecycle::AwsState;
use lifecycle::boots::{boots, launched, under_way};
use lifecycle::rollout::TemplateVersion;

use crate::quiet_group::{GROUP, HOOK, QuietGroup, definition};

/// Makes groups of one instance.
trait Stage {
    type Group: Group;

    /// A group with a minimum and a maximum of 3, whose one instance is in service, or held back while it is launched.
    async fn group(&mut self, min: i32, state: AwsState) -> Self::Group;
}

struct Doubles;

impl Stage for Doubles {
    type Group = FakeGroup;

    async fn group(&mut self, min: i32, state: AwsState) -> FakeGroup {
        FakeGroup::new(Size { min, max: 3, desired: 1, live: 1 }, Some(HOOK), state)
    }
}

#[derive(Default)]
struct Lab(Vec<QuietGroup>);

impl Stage for Lab {
    type Group = AutoScalingGroup;

    async fn group(&mut self, min: i32, state: AwsState) -> AutoScalingGroup {
        let lab = QuietGroup::start(min.try_into().unwrap(), 3, state == AwsState::PendingWait).await;
        lab.desire(1).await;
        let group = lab.until(|g| g.members.iter().any(|m| m.lifecycle.word() == state.name())).await;
        let adapter = AutoScalingGroup::new(&lab.session().await, GROUP, &group.members[0].id);
        self.0.push(lab);
        adapter
    }
}

async fn state(group: &impl Group) -> Option<AwsState> {
    group.describe_instance().await.unwrap().map(|member| member.state)
}

async fn describes(mut stage: impl Stage) {
    let group = stage.group(0, AwsState::InService).await;
    let member = group.describe_instance().await.unwrap();
    assert_eq!(member, Some(Member { state: AwsState::InService, protected: true }));
    assert_eq!(group.describe_size().await.unwrap(), Size { min: 0, max: 3, desired: 1, live: 1 });
}

async fn protects_only_in_service(mut stage: impl Stage) {
    let group = stage.group(0, AwsState::InService).await;
    for protected in [false, false, true] {
        group.set_protection(protected).await.unwrap();
        assert_eq!(group.describe_instance().await.unwrap().unwrap().protected, protected);
    }
    group.mark_unhealthy().await.unwrap();
    let early = stage.group(0, AwsState::PendingWait).await;
    let refused = early.set_protection(true).await;
    assert!(matches!(refused, Err(Refusal::State(_))), "{refused:?}");
}

async fn ends_with_a_decrement_down_to_the_minimum(mut stage: impl Stage) {
    let group = stage.group(1, AwsState::InService).await;
    let refused = group.terminate_with_decrement().await;
    assert!(matches!(refused, Err(Refusal::Minimum(_))), "{refused:?}");
    assert_eq!(state(&group).await, Some(AwsState::InService));

    let group = stage.group(0, AwsState::InService).await;
    group.terminate_with_decrement().await.unwrap();
    assert_eq!(state(&group).await, Some(AwsState::TerminatingWait));
    group.terminate_with_decrement().await.unwrap();
    assert_eq!(group.describe_size().await.unwrap().desired, 0, "asked twice, lowered once");
    let refused = group.set_protection(true).await;
    assert!(matches!(refused, Err(Refusal::State(_))), "{refused:?}");
}

async fn hooks_hold_until_completed(mut stage: impl Stage) {
    let group = stage.group(0, AwsState::InService).await;
    for refused in [group.heartbeat(HOOK).await, group.complete(HOOK).await] {
        assert!(matches!(refused, Err(Refusal::NoAction(_))), "nothing waits yet: {refused:?}");
    }
    group.terminate_with_decrement().await.unwrap();
    for refused in [group.heartbeat("other").await, group.complete("other").await] {
        assert!(matches!(refused, Err(Refusal::NoAction(_))), "not this hook: {refused:?}");
    }
    group.heartbeat(HOOK).await.unwrap();
    group.heartbeat(HOOK).await.unwrap();
    assert_eq!(state(&group).await, Some(AwsState::TerminatingWait));
    group.complete(HOOK).await.unwrap();
    let again = group.complete(HOOK).await;
    assert!(matches!(again, Err(Refusal::NoAction(_))), "completed already: {again:?}");
    // The group takes its time; the next answers tell when it is done.
    while state(&group).await.is_some() {}
    let gone = group.terminate_with_decrement().await;
    assert!(matches!(gone, Err(Refusal::Absent(_))), "{gone:?}");
    let gone = group.set_protection(true).await;
    assert!(matches!(gone, Err(Refusal::Absent(_))), "{gone:?}");
}

async fn tells_what_instances_are_launched_from(mut stage: impl Stage) {
    let group = stage.group(0, AwsState::InService).await;
    let rollout = group.describe_rollout().await.unwrap();
    let first = Some(TemplateVersion { template: "lt-1".to_owned(), version: "1".to_owned() });
    assert_eq!((rollout.min, rollout.desired, &rollout.template), (0, 1, &first));
    let peers: Vec<_> = rollout.peers.iter().map(|peer| (&peer.state, &peer.template)).collect();
    assert_eq!(peers, [(&AwsState::InService, &first)]);
}

async fn records_its_launches(mut stage: impl Stage) {
    let ready = stage.group(0, AwsState::InService).await;
    let activities = ready.describe_activities(&BTreeSet::new()).await.unwrap();
    let ended: Vec<_> = boots(&activities).into_iter().map(|boot| boot.failure).collect();
    assert_eq!((ended, under_way(&activities)), (vec![None], vec![]));
    let held = stage.group(0, AwsState::PendingWait).await;
    let activities = held.describe_activities(&BTreeSet::new()).await.unwrap();
    assert_eq!((boots(&activities), under_way(&activities).len()), (vec![], 1));
    let instance = held.describe_rollout().await.unwrap().peers[0].id.clone();
    assert_eq!(under_way(&activities)[0].instance, instance);
}

/// A group without a mixed instances policy names its launch template itself.
#[tokio::test]
async fn a_plain_group_tells_its_launch_template_too() {
    let lab = QuietGroup::of(Definition { mixed: None, ..definition(0, 3, false) }).await;
    lab.desire(1).await;
    let group = lab.until(|g| g.in_service() == 1).await;
    let adapter = AutoScalingGroup::new(&lab.session().await, GROUP, &group.members[0].id);
    let first = Some(TemplateVersion { template: "lt-1".to_owned(), version: "1".to_owned() });
    assert_eq!(adapter.describe_rollout().await.unwrap().template, first);
}

/// AWS tells a hundred activities at once.
#[tokio::test]
async fn a_launch_that_lies_far_back_is_told_when_it_is_asked_for() {
    let lab = QuietGroup::start(0, 3, false).await;
    let session = lab.session().await;
    lab.desire(1).await;
    let eldest = lab.until(|g| g.in_service() == 1).await.members[0].id.clone();
    for _ in 0..51 {
        lab.desire(2).await;
        let both = lab.until(|g| g.in_service() == 2).await;
        let other = both.members.iter().find(|m| m.id != eldest).unwrap();
        let other = AutoScalingGroup::new(&session, GROUP, &other.id);
        other.terminate_with_decrement().await.unwrap();
        other.complete(HOOK).await.unwrap();
        lab.until(|g| g.members.len() == 1).await;
    }
    let group = AutoScalingGroup::new(&session, GROUP, &eldest);
    let recent = group.describe_activities(&BTreeSet::new()).await.unwrap();
    assert!(recent.len() == 100 && !launched(&recent).contains_key(&eldest), "{recent:?}");
    let all = group.describe_activities(&BTreeSet::from([eldest.clone()])).await.unwrap();
    assert_eq!(all.len(), 1 + 2 * 51);
    assert!(launched(&all).contains_key(&eldest), "{all:?}");
    let unknown = group.describe_activities(&BTreeSet::from(["i-9".to_owned()])).await.unwrap();
    assert_eq!(unknown.len(), all.len(), "as far back as it goes");
}

async fn ends_for_a_successor_at_the_minimum_too(mut stage: impl Stage) {
    let group = stage.group(1, AwsState::InService).await;
    group.terminate_for_successor().await.unwrap();
    assert_eq!(state(&group).await, Some(AwsState::TerminatingWait));
    group.terminate_for_successor().await.unwrap();
    assert_eq!(group.describe_size().await.unwrap().desired, 1, "a successor comes");
}

async fn unhealthy_ones_are_replaced(mut stage: impl Stage) {
    let group = stage.group(1, AwsState::InService).await;
    group.mark_unhealthy().await.unwrap();
    assert_eq!(group.describe_size().await.unwrap().desired, 1, "replaced, not given up");
}

macro_rules! contract {
    ($($law:ident),* $(,)?) => {
        mod double {$(
            #[tokio::test]
            async fn $law() {
                super::$law(super::Doubles).await;
            }
        )*}
        mod adapter {$(
            #[tokio::test]
            async fn $law() {
                super::$law(super::Lab::default()).await;
            }
        )*}
    };
}

contract!(
    describes,
    protects_only_in_service,
    ends_with_a_decrement_down_to_the_minimum,
    hooks_hold_until_completed,
    tells_what_instances_are_launched_from,
    records_its_launches,
    ends_for_a_successor_at_the_minimum_too,
    unhealthy_ones_are_replaced,
);
