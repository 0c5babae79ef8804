//! A stack that somebody updates past `lab`, with awscli: the lab follows.
#![allow(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::time::Duration;

use lab::lab::{Lab, LabOptions};
use lab::moto::venv;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs awscli as the lab's user.
async fn aws(lab: &Lab, args: &[&str]) {
    let mut aws = tokio::process::Command::new(venv().unwrap().join("bin/aws"));
    let ran = aws.args(args).envs(lab.admin_environment()).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// `aws cloudformation update-stack` with the template that is there; parameters not named keep their values.
async fn update(lab: &Lab, changed: &[(&str, &str)]) {
    let kept =
        ["BuildkiteAgentToken", "BuildkiteQueue", "AgentEndpoint", "ScalerCodeBucket", "ScalerCodeKey"];
    let kept = kept.map(|name| format!("ParameterKey={name},UsePreviousValue=true"));
    let changed = changed.iter().map(|(name, value)| format!("ParameterKey={name},ParameterValue={value}"));
    let parameters: Vec<String> = kept.into_iter().chain(changed).collect();
    let mut args = vec!["cloudformation", "update-stack", "--stack-name", "ci", "--use-previous-template"];
    args.extend(["--capabilities", "CAPABILITY_IAM", "--parameters"]);
    args.extend(parameters.iter().map(String::as_str));
    aws(lab, &args).await;
}

#[tokio::test]
async fn a_stack_updated_by_hand_is_taken_over() {
    let options = LabOptions { hold_schedules: true, ..LabOptions::default() };
    let mut lab = Lab::start(options).await.unwrap();
    let stack = lab.deploy_stack("ci", &[("MinSize", "1"), ("MaxSize", "2")]).await.unwrap();
    let name = stack.output("AutoScalingGroupName").unwrap().to_owned();
    let group = lab.groups().until(&name, PATIENCE, |g| g.in_service() == 1).await.unwrap();
    let first = group.members[0].clone();

    // This changes the launch template and nothing of the group's own: the group follows its version.
    update(&lab, &[("MinSize", "1"), ("MaxSize", "2"), ("AgentsPerInstance", "2")]).await;
    let group = lab.groups().until(&name, PATIENCE, |g| g.definition.template.version == "2").await.unwrap();
    assert_eq!(group.members.iter().map(|m| &m.id).collect::<Vec<_>>(), [&first.id], "no instance is lost");
    assert_eq!(group.definition.hooks.len(), 2);

    let scale = ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &name];
    aws(&lab, &[&scale[..], &["--desired-capacity", "2"]].concat()).await;
    let group = lab.groups().until(&name, PATIENCE, |g| g.in_service() == 2).await.unwrap();
    let second = group.members.iter().find(|m| m.id != first.id).unwrap();
    assert_eq!((first.template_version.as_str(), second.template_version.as_str()), ("1", "2"));
    let metadata = aws::Imds::at(&lab.instances().metadata_url(&second.id).unwrap()).unwrap();
    let user_data = metadata.require("user-data").await.unwrap();
    assert!(user_data.contains("agents-per-instance: 2"), "{user_data}");

    // A smaller maximum takes desired capacity with it, as on AWS.
    update(&lab, &[("MinSize", "0"), ("MaxSize", "1"), ("AgentsPerInstance", "2")]).await;
    let group = lab.groups().until(&name, PATIENCE, |g| g.definition.max == 1).await.unwrap();
    assert_eq!(group.desired, 1);

    // The policies were in force at once, and nobody had to carry them about.
    let calls = lab.endpoint().calls();
    assert!(!calls.iter().any(|call| call.action.ends_with("BucketPolicy")), "{calls:?}");
    lab.stop().await.unwrap();
}
