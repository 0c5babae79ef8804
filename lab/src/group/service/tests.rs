//! The edge with fake machines.

use super::*;
use crate::group::laws::definition;
use crate::group::model::{Lifecycle, TemplateRef};
use crate::instances::LaunchFailed;

#[derive(Default)]
struct Machines {
    log: Mutex<Vec<String>>,
    refuse: std::sync::atomic::AtomicBool,
}

impl Machines {
    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }
}

impl Instances for Machines {
    fn launch(&self, order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>> {
        Box::pin(async move {
            if self.refuse.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(LaunchFailed { id: order.id, reason: "no room".into() });
            }
            self.note(format!("launch {} {} {:?}", order.image, order.instance_type, order.tags));
            Ok(())
        })
    }

    fn terminate<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.note(format!("terminate {id}")) })
    }

    fn tell_target_state(&self, id: &str, state: &'static str) {
        self.note(format!("{id} {state}"));
    }
}

struct Templates;

impl LaunchTemplates for Templates {
    fn read<'a>(&'a self, _: &'a TemplateRef) -> BoxFuture<'a, anyhow::Result<LaunchData>> {
        Box::pin(async {
            Ok(LaunchData {
                version: "7".into(),
                image: "ami-7".into(),
                instance_type: "m.small".into(),
                role: Some("r".into()),
                user_data: Vec::new(),
                tags: vec![("Role".into(), "ci".into())],
            })
        })
    }
}

const SOON: Duration = Duration::from_secs(10);

fn started(machines: &Arc<Machines>) -> Arc<Groups> {
    let groups = Groups::new(Box::new(Templates), Arc::clone(machines) as Arc<dyn Instances>);
    groups.define(definition(0, 4));
    tokio::spawn(Arc::clone(&groups).run());
    groups
}

async fn call(groups: &Groups, action: &str, pairs: &[(&str, &str)]) -> Answer {
    let mut params: Params = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    params.insert("AutoScalingGroupName".into(), "g".into());
    groups.handle(action, &params, &Caller::Admin).await.expect("answered here, not by moto")
}

#[tokio::test]
async fn a_call_launches_and_another_ends_a_machine() {
    let machines = Arc::new(Machines::default());
    let groups = started(&machines);
    assert_eq!(call(&groups, "SetDesiredCapacity", &[("DesiredCapacity", "2")]).await.status, 200);
    let group = groups.until("g", SOON, |g| g.in_service() == 2).await.unwrap();
    let launched = machines.log.lock().unwrap().iter().find(|l| l.starts_with("launch")).cloned().unwrap();
    for part in [
        "ami-7 c7a.large",
        "\"Queue\": \"default\"",
        "\"Role\": \"ci\"",
        "\"aws:autoscaling:groupName\": \"g\"",
    ] {
        assert!(launched.contains(part), "{launched}");
    }
    assert_eq!(group.members[0].template_version, "7");

    let id = group.members[0].id.clone();
    call(
        &groups,
        "TerminateInstanceInAutoScalingGroup",
        &[("InstanceId", &id), ("ShouldDecrementDesiredCapacity", "true")],
    )
    .await;
    let waiting = |g: &Group| g.member(&id).is_some_and(|m| m.lifecycle == Lifecycle::TerminatingWait);
    groups.until("g", SOON, waiting).await.unwrap();
    assert!(
        machines.log.lock().unwrap().contains(&format!("{id} Terminated")),
        "the metadata service tells it"
    );
    assert!(!machines.log.lock().unwrap().contains(&format!("terminate {id}")), "the hook holds the machine");
    let done =
        [("InstanceId", id.as_str()), ("LifecycleHookName", "drain"), ("LifecycleActionResult", "CONTINUE")];
    call(&groups, "CompleteLifecycleAction", &done).await;
    let left = groups.until("g", SOON, |g| g.members.len() == 1).await.unwrap();
    assert_eq!((left.desired, left.in_service()), (1, 1));
    let ends = machines.log.lock().unwrap().iter().filter(|l| **l == format!("terminate {id}")).count();
    assert_eq!(ends, 1, "ended once");
}

#[tokio::test]
async fn a_failed_launch_is_tried_again() {
    let machines = Arc::new(Machines::default());
    machines.refuse.store(true, std::sync::atomic::Ordering::SeqCst);
    let groups = started(&machines);
    call(&groups, "SetDesiredCapacity", &[("DesiredCapacity", "1")]).await;
    let failed = |g: &Group| g.activities.iter().any(|a| a.message == "no room");
    groups.until("g", SOON, failed).await.unwrap();
    machines.refuse.store(false, std::sync::atomic::Ordering::SeqCst);
    groups.until("g", SOON, |g| g.in_service() == 1).await.unwrap();
}

#[tokio::test]
async fn what_the_group_does_not_know_is_left_to_moto() {
    let groups = started(&Arc::new(Machines::default()));
    let params = Params::new();
    assert!(groups.handle("CreateAutoScalingGroup", &params, &Caller::Admin).await.is_none());
}

#[tokio::test]
async fn a_removed_group_ends_its_machines() {
    let machines = Arc::new(Machines::default());
    let groups = started(&machines);
    call(&groups, "SetDesiredCapacity", &[("DesiredCapacity", "1")]).await;
    let group = groups.until("g", SOON, |g| g.in_service() == 1).await.unwrap();
    groups.remove("g").await;
    assert!(machines.log.lock().unwrap().contains(&format!("terminate {}", group.members[0].id)));
    assert!(groups.group("g").is_none());
}
