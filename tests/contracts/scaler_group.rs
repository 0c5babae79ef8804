//! The group as the scaler sees it: `FakeGroup` and `AutoScalingGroup`.

use lab::group::model::{Definition, Lifecycle, Tag};
use scaler::brake::Seen;
use scaler::decide::Capacity;
use scaler::group::AutoScalingGroup;
use scaler::groups::AutoScalingGroups;
use scaler::ports::{Group, Groups, Problem};
use scaler::sharing::TaggedGroup;
use scaler::tick::fake_group::{FakeGroup, FakeGroups};

use crate::quiet_group::{GROUP, QuietGroup, definition};

/// Makes empty groups.
trait Stage {
    type Group: Group;
    type Groups: Groups;

    /// A group with these limits whose desired capacity is its minimum.
    async fn group(&mut self, min: u32, max: u32) -> (Self::Group, Self::Groups);

    /// The name of a group that does not exist.
    async fn absent(&mut self) -> (Self::Group, Self::Groups);
}

struct Doubles;

impl Stage for Doubles {
    type Group = FakeGroup;
    type Groups = FakeGroups;

    async fn group(&mut self, min: u32, max: u32) -> (FakeGroup, FakeGroups) {
        let group = FakeGroup::new(GROUP, Some(Capacity { min, max, desired: min, ..Capacity::default() }));
        (group.clone(), FakeGroups { groups: vec![group], tagged: false })
    }

    async fn absent(&mut self) -> (FakeGroup, FakeGroups) {
        (FakeGroup::new("no-such-group", None), FakeGroups::default())
    }
}

#[derive(Default)]
struct Lab(Vec<QuietGroup>);

impl Lab {
    async fn named(&mut self, name: &str, min: u32, max: u32) -> (AutoScalingGroup, AutoScalingGroups) {
        let lab = QuietGroup::start(min, max, false).await;
        let session = lab.session().await;
        self.0.push(lab);
        (AutoScalingGroup::new(&session, name), AutoScalingGroups::new(&session))
    }
}

impl Stage for Lab {
    type Group = AutoScalingGroup;
    type Groups = AutoScalingGroups;

    async fn group(&mut self, min: u32, max: u32) -> (AutoScalingGroup, AutoScalingGroups) {
        self.named(GROUP, min, max).await
    }

    async fn absent(&mut self) -> (AutoScalingGroup, AutoScalingGroups) {
        self.named("no-such-group", 0, 1).await
    }
}

async fn seen(groups: &impl Groups, name: &str) -> Result<Seen, Problem> {
    let mut each = groups.named(&[name.to_owned()]).await;
    assert_eq!(each.len(), 1);
    each.remove(0)
}

async fn sizes(groups: &impl Groups) -> [u32; 3] {
    let capacity = seen(groups, GROUP).await.unwrap().capacity;
    [capacity.min, capacity.max, capacity.desired]
}

async fn what_is_set_is_described(mut stage: impl Stage) {
    let (group, groups) = stage.group(0, 3).await;
    assert_eq!(sizes(&groups).await, [0, 3, 0]);
    for desired in [2, 2, 3, 0] {
        group.set_desired(desired).await.unwrap();
        assert_eq!(sizes(&groups).await, [0, 3, desired]);
    }
}

async fn outside_of_the_limits_is_refused(mut stage: impl Stage) {
    let (group, groups) = stage.group(1, 3).await;
    for desired in [0, 4, u32::MAX] {
        let problem = group.set_desired(desired).await.unwrap_err();
        assert_eq!(problem.code, 1, "{problem}");
        assert_eq!(sizes(&groups).await, [1, 3, 1], "a refusal changes nothing");
    }
}

async fn an_absent_group_is_named(mut stage: impl Stage) {
    let (group, groups) = stage.absent().await;
    let problem = seen(&groups, "no-such-group").await.unwrap_err();
    assert_eq!(problem.code, 78, "{problem}");
    assert!(problem.message.contains("no-such-group"), "{problem}");
    let problem = group.set_desired(1).await.unwrap_err();
    assert!(problem.message.contains("no-such-group"), "{problem}");
}

async fn a_new_group_has_no_boots(mut stage: impl Stage) {
    assert_eq!(stage.group(0, 3).await.0.boots().await.unwrap(), []);
}

/// What only the adapter has: the activities of instances that got ready, of one that was given up, of one that said
/// soon after its launch that it is of no use.
#[tokio::test]
async fn boots_are_told_by_the_activities_of_the_group() {
    let mut stage = Lab::default();
    let lab = QuietGroup::start(0, 3, true).await;
    let group = AutoScalingGroup::new(&lab.session().await, GROUP);
    let groups = AutoScalingGroups::new(&lab.session().await);
    stage.0.push(lab);
    let lab = &stage.0[0];
    let client = lab.session().await.autoscaling();
    group.set_desired(2).await.unwrap();
    let held = |g: &lab::group::model::Group| {
        g.members.iter().filter(|m| m.lifecycle == Lifecycle::PendingWait).count() == 2
    };
    let ids: Vec<String> = lab.until(held).await.members.iter().map(|m| m.id.clone()).collect();
    let told = seen(&groups, GROUP).await.unwrap();
    assert_eq!((told.booting.len(), told.serving.len(), group.boots().await.unwrap().len()), (2, 0, 0));
    group.set_desired(1).await.unwrap();
    for (id, result) in ids.iter().zip(["ABANDON", "CONTINUE"]) {
        let call = client.complete_lifecycle_action().auto_scaling_group_name(GROUP).instance_id(id);
        call.lifecycle_hook_name("launching").lifecycle_action_result(result).send().await.unwrap();
    }
    lab.until(|g| g.in_service() == 1).await;
    let boots = group.boots().await.unwrap();
    let told = |id: &str| boots.iter().find(|boot| boot.instance == id).and_then(|boot| boot.failure.clone());
    assert_eq!(boots.len(), 2, "{boots:?}");
    assert!(told(&ids[0]).unwrap().ends_with("abandoned: Lifecycle Action Completed with ABANDON Result"));
    assert_eq!(told(&ids[1]), None);
    assert!(boots.iter().all(|boot| boot.began <= boot.ended));

    let sick = client.set_instance_health().instance_id(&ids[1]).health_status("Unhealthy");
    sick.should_respect_grace_period(false).send().await.unwrap();
    lab.until(|g| g.in_service() == 0).await;
    let boots = group.boots().await.unwrap();
    assert!(boots.iter().all(|boot| boot.failure.is_some()), "{boots:?}");
}

/// What only the adapter has: more groups than a page holds, and more names than a call takes.
#[tokio::test]
async fn groups_are_found_by_their_queues_and_by_name_however_many() {
    let lab = QuietGroup::start(0, 3, false).await;
    let name = |n: usize| format!("group-{n:03}");
    for n in 0..120 {
        let tag = |key: &str, value: String| Tag { key: key.to_owned(), value, at_launch: false };
        let tags = vec![
            tag("tidemark:queue", format!("queue-{}", n / 2)),
            tag("tidemark:stack", format!("stack-{n}")),
            tag("tidemark:weight", if n == 7 { "3" } else { "much" }.to_owned()),
            tag("tidemark:priority", " -2 ".to_owned()),
        ];
        lab.also(Definition { name: name(n), tags, ..definition(0, 3, false) });
    }
    let groups = AutoScalingGroups::new(&lab.session().await);
    let queues = |numbers: std::ops::Range<usize>| numbers.map(|n| format!("queue-{n}")).collect::<Vec<_>>();
    let found = async |queues: &[String]| {
        let found = groups.tagged(queues).await.unwrap();
        found.iter().map(|group| (group.queue.clone(), group.name.clone())).collect::<Vec<_>>()
    };
    let of = |numbers: std::ops::Range<usize>| {
        numbers.map(|n| (format!("queue-{}", n / 2), name(n))).collect::<Vec<_>>()
    };
    assert_eq!(found(&queues(3..5)).await, of(6..10));
    assert_eq!(found(&queues(0..60)).await, of(0..120), "two pages");
    assert_eq!(found(&queues(60..61)).await, []);
    let one = groups.tagged(&queues(3..4)).await.unwrap();
    let standing =
        |group: &TaggedGroup| (group.stack.clone().unwrap(), group.standing.priority, group.standing.weight);
    let expected = [("stack-6".to_owned(), -2, 1), ("stack-7".to_owned(), -2, 3)];
    assert_eq!(one.iter().map(standing).collect::<Vec<_>>(), expected, "what is no number is the default");

    let names: Vec<String> = (0..120).rev().map(name).chain([GROUP.to_owned(), "gone".to_owned()]).collect();
    let told = groups.named(&names).await;
    assert!(told.len() == 122 && told[..121].iter().all(Result::is_ok));
    let problem = told[121].as_ref().unwrap_err();
    assert!(problem.code == 78 && problem.message.starts_with("group gone does not exist"), "{problem}");
}

/// What only the adapter has: instances, counted by what scale-in may do with them.
#[tokio::test]
async fn instances_in_service_are_held_while_they_are_protected() {
    let mut stage = Lab::default();
    let (group, groups) = stage.group(0, 3).await;
    group.set_desired(2).await.unwrap();
    let lab = &stage.0[0];
    let members = lab.until(|g| g.in_service() == 2).await.members;
    let held =
        Capacity { min: 0, max: 3, desired: 2, live: 2, in_service: 2, held: 2, ..Capacity::default() };
    let told = seen(&groups, GROUP).await.unwrap();
    assert_eq!(told.capacity, held);
    assert_eq!(told.launches_from.as_deref(), Some("lt-1:1"), "in the mixed instances policy");
    assert_eq!(told.serving, members.iter().map(|m| m.id.clone()).collect());
    assert!(told.booting.is_empty());
    let call = lab.session().await.autoscaling().set_instance_protection().auto_scaling_group_name(GROUP);
    call.instance_ids(&members[0].id).protected_from_scale_in(false).send().await.unwrap();
    let told = seen(&groups, GROUP).await.unwrap();
    assert_eq!(told.capacity, Capacity { held: 1, releasable: 1, ..held });
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
    what_is_set_is_described,
    outside_of_the_limits_is_refused,
    an_absent_group_is_named,
    a_new_group_has_no_boots
);
