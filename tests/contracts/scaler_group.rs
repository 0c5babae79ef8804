//! The group as the scaler sees it: `FakeGroup` and `AutoScalingGroup`.

use scaler::decide::Capacity;
use scaler::group::AutoScalingGroup;
use scaler::tick::Group;
use scaler::tick::fake_group::FakeGroup;

use crate::quiet_group::{GROUP, QuietGroup};

/// Makes empty groups.
trait Stage {
    type Group: Group;

    /// A group with these limits whose desired capacity is its minimum.
    async fn group(&mut self, min: u32, max: u32) -> Self::Group;

    /// The name of a group that does not exist.
    async fn absent(&mut self) -> Self::Group;
}

struct Doubles;

impl Stage for Doubles {
    type Group = FakeGroup;

    async fn group(&mut self, min: u32, max: u32) -> FakeGroup {
        FakeGroup::new(GROUP, Some(Capacity { min, max, desired: min, ..Capacity::default() }))
    }

    async fn absent(&mut self) -> FakeGroup {
        FakeGroup::new("no-such-group", None)
    }
}

#[derive(Default)]
struct Lab(Vec<QuietGroup>);

impl Lab {
    async fn named(&mut self, name: &str, min: u32, max: u32) -> AutoScalingGroup {
        let lab = QuietGroup::start(min, max, false).await;
        let group = AutoScalingGroup::new(&lab.session().await, name);
        self.0.push(lab);
        group
    }
}

impl Stage for Lab {
    type Group = AutoScalingGroup;

    async fn group(&mut self, min: u32, max: u32) -> AutoScalingGroup {
        self.named(GROUP, min, max).await
    }

    async fn absent(&mut self) -> AutoScalingGroup {
        self.named("no-such-group", 0, 1).await
    }
}

async fn sizes(group: &impl Group) -> [u32; 3] {
    let capacity = group.describe().await.unwrap();
    [capacity.min, capacity.max, capacity.desired]
}

async fn what_is_set_is_described(mut stage: impl Stage) {
    let group = stage.group(0, 3).await;
    assert_eq!(sizes(&group).await, [0, 3, 0]);
    for desired in [2, 2, 3, 0] {
        group.set_desired(desired).await.unwrap();
        assert_eq!(sizes(&group).await, [0, 3, desired]);
    }
}

async fn outside_of_the_limits_is_refused(mut stage: impl Stage) {
    let group = stage.group(1, 3).await;
    for desired in [0, 4, u32::MAX] {
        let problem = group.set_desired(desired).await.unwrap_err();
        assert_eq!(problem.code, 1, "{problem}");
        assert_eq!(sizes(&group).await, [1, 3, 1], "a refusal changes nothing");
    }
}

async fn an_absent_group_is_named(mut stage: impl Stage) {
    let group = stage.absent().await;
    let problem = group.describe().await.unwrap_err();
    assert_eq!(problem.code, 78, "{problem}");
    assert!(problem.message.contains("no-such-group"), "{problem}");
    let problem = group.set_desired(1).await.unwrap_err();
    assert!(problem.message.contains("no-such-group"), "{problem}");
}

/// What only the adapter has: instances, counted by what scale-in may do with them.
#[tokio::test]
async fn instances_in_service_are_held_while_they_are_protected() {
    let mut stage = Lab::default();
    let group = stage.group(0, 3).await;
    group.set_desired(2).await.unwrap();
    let lab = &stage.0[0];
    let members = lab.until(|g| g.in_service() == 2).await.members;
    let held =
        Capacity { min: 0, max: 3, desired: 2, live: 2, in_service: 2, held: 2, ..Capacity::default() };
    assert_eq!(group.describe().await.unwrap(), held);
    let call = lab.session().await.autoscaling().set_instance_protection().auto_scaling_group_name(GROUP);
    call.instance_ids(&members[0].id).protected_from_scale_in(false).send().await.unwrap();
    assert_eq!(group.describe().await.unwrap(), Capacity { held: 1, releasable: 1, ..held });
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

contract!(what_is_set_is_described, outside_of_the_limits_is_refused, an_absent_group_is_named);
