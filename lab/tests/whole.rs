//! The whole lab: the real template, the real programs.
#![allow(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::time::Duration;

use lab::lab::{Lab, LabOptions};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_stack_is_deployed_its_group_launches_and_everything_ends() {
    // One tick an invocation.
    let function_environment = vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())];
    let mut lab = Lab::start(LabOptions { function_environment, ..LabOptions::default() }).await.unwrap();
    let stack = lab.deploy_stack("ci", &[("MaxSize", "2")]).await.unwrap();
    let group = lab.groups().group(stack.output("AutoScalingGroupName").unwrap()).unwrap();
    let name = group.definition.name.clone();
    assert_eq!((group.definition.min, group.definition.max, group.desired), (0, 2, 0));
    assert_eq!(group.definition.hooks.len(), 2);
    assert!(group.definition.protect_new);

    let scaling = lab.session().await.autoscaling();
    let set = |to| scaling.set_desired_capacity().auto_scaling_group_name(&name).desired_capacity(to).send();
    let refused = aws::CallError::new(&set(3).await.unwrap_err(), "autoscaling:SetDesiredCapacity", &name);
    assert!(refused.detail.contains("above max value 2"), "{refused}");

    set(1).await.unwrap();
    let group = lab.groups().until(&name, PATIENCE, |g| g.in_service() == 1).await.unwrap();
    let id = &group.members[0].id;
    let metadata = aws::Imds::at(&lab.instances().metadata_url(id).unwrap()).unwrap();
    let user_data = metadata.require("user-data").await.unwrap();
    assert!(
        user_data.contains("queue: \"default\"") && user_data.contains("arn:aws:secretsmanager"),
        "{user_data}"
    );
    let role = metadata.require("meta-data/iam/security-credentials/").await.unwrap();
    assert_eq!(role, *stack.output("InstanceRoleName").unwrap());

    let done = lab.schedules().invoke_now().await;
    assert!(done[0].outcome.is_ok(), "{done:?}");

    lab.stacks().delete("ci").await.unwrap();
    assert!(lab.groups().group(&name).is_none());
    assert_eq!(lab.instances().running(), Vec::<String>::new());
    lab.stop().await.unwrap();
}

/// As a test that panics does, or a demo that is stopped.
#[tokio::test]
async fn a_lab_that_is_dropped_ends_its_instances() {
    let mut lab = Lab::start(LabOptions { hold_schedules: true, ..LabOptions::default() }).await.unwrap();
    let stack = lab.deploy_stack("ci", &[("MinSize", "1")]).await.unwrap();
    let name = stack.output("AutoScalingGroupName").unwrap();
    lab.groups().until(name, PATIENCE, |g| g.in_service() == 1).await.unwrap();
    drop(lab);
    let helpers = tokio::task::spawn_blocking(lab::children::until_all_ended);
    helpers.await.unwrap();
    let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(left, Err(nix::errno::Errno::ECHILD));
}
