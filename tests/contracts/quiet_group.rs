//! Groups of the lab behind its endpoint, on machines that do nothing. No moto: nothing else is asked.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use lab::endpoint::Endpoint;
use lab::group::model::{Definition, Distribution, Group, Hook, TemplateRef, Transition};
use lab::group::service::{Groups, LaunchData, LaunchTemplates};
use lab::instances::{InstanceOrder, Instances, LaunchFailed};
use tokio::task::JoinHandle;

/// The group's terminating hook.
pub const HOOK: &str = "terminating";
/// The group's name.
pub const GROUP: &str = "ci-instances";

/// A group and the endpoint before it.
pub struct QuietGroup {
    endpoint: Endpoint,
    groups: Arc<Groups>,
    keeper: JoinHandle<()>,
}

impl Drop for QuietGroup {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl QuietGroup {
    /// A group with these limits, whose instances a launching hook holds back if `held`.
    pub async fn start(min: u32, max: u32, held: bool) -> Self {
        Self::of(definition(min, max, held)).await
    }

    /// A group as defined.
    pub async fn of(definition: Definition) -> Self {
        let endpoint = Endpoint::start("http://127.0.0.1:9").await.unwrap();
        let groups = Groups::new(Box::new(Machines), Arc::new(Machines));
        endpoint.set_autoscaling(Arc::clone(&groups) as Arc<_>);
        groups.define(definition);
        let keeper = tokio::spawn(Arc::clone(&groups).run());
        Self { endpoint, groups, keeper }
    }

    /// Another group beside it.
    pub fn also(&self, definition: Definition) {
        self.groups.define(definition);
    }

    /// A session of the lab's user.
    pub async fn session(&self) -> aws::Session {
        let admin = self.endpoint.admin();
        let (key, secret) = (&admin.access_key_id, &admin.secret_access_key);
        aws::Session::at(self.endpoint.url(), "us-east-1", key, secret, None).await
    }

    /// Sets desired capacity, past every rule of ours.
    pub async fn desire(&self, desired: u32) {
        let call = self.session().await.autoscaling().set_desired_capacity().auto_scaling_group_name(GROUP);
        call.desired_capacity(desired.try_into().unwrap()).send().await.unwrap();
    }

    /// The group, as soon as it is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Group) -> bool) -> Group {
        self.groups.until(GROUP, Duration::from_secs(60), wanted).await.unwrap()
    }
}

struct Machines;

impl LaunchTemplates for Machines {
    fn read<'a>(&'a self, _template: &'a TemplateRef) -> BoxFuture<'a, anyhow::Result<LaunchData>> {
        Box::pin(async {
            Ok(LaunchData {
                version: "1".to_owned(),
                image: "ami-1".to_owned(),
                instance_type: "t3.small".to_owned(),
                role: None,
                user_data: Vec::new(),
                tags: Vec::new(),
            })
        })
    }
}

impl Instances for Machines {
    fn launch(&self, _order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>> {
        Box::pin(async { Ok(()) })
    }

    fn terminate<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn tell_target_state(&self, _id: &str, _state: &'static str) {}
}

/// With a mixed instances policy, as the stack's.
pub fn definition(min: u32, max: u32, held: bool) -> Definition {
    let hook = |name: &str, transition| Hook {
        name: name.to_owned(),
        transition,
        heartbeat: SignedDuration::from_secs(1800),
        silence_continues: true,
    };
    let launching = held.then(|| hook("launching", Transition::Launching));
    Definition {
        name: GROUP.to_owned(),
        arn: format!(
            "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/{GROUP}"
        ),
        min,
        max,
        protect_new: true,
        zones: vec!["us-east-1a".to_owned()],
        subnets: "subnet-1".to_owned(),
        template: TemplateRef { id: "lt-1".to_owned(), name: "ci".to_owned(), version: "1".to_owned() },
        types: vec!["t3.small".to_owned(), "t3a.small".to_owned()],
        mixed: Some(Distribution {
            on_demand_strategy: "prioritized".to_owned(),
            on_demand_base: 0,
            on_demand_percentage: 100,
            spot_strategy: "lowest-price".to_owned(),
        }),
        grace: SignedDuration::ZERO,
        warm: 0,
        hooks: std::iter::once(hook(HOOK, Transition::Terminating)).chain(launching).collect(),
        tags: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
    }
}
