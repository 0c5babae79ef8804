use super::*;
use crate::group::laws::group_with;
use crate::group::model::Distribution;

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn call(groups: &mut GroupMap, action: &str, pairs: &[(&str, &str)]) -> std::result::Result<String, String> {
    let now = Timestamp::from_second(1_000).unwrap();
    let answer = answer(groups, action, &params(pairs), now).expect("an action of the groups");
    answer
        .map(|xml| {
            String::from_utf8(crate::endpoint::answer::Answer::autoscaling(action, &xml).body.to_vec())
                .unwrap()
        })
        .map_err(|refusal| refusal.to_string())
}

fn one_group() -> GroupMap {
    let group = group_with(1, 4, 3);
    GroupMap::from([(group.definition.name.clone(), group)])
}

/// Action, parameters, part of the refusal.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn refusals_are_awss() {
    let cases: &[Case] = &[
        (
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "g"), ("DesiredCapacity", "5")],
            "ValidationError: New SetDesiredCapacity value 5 is above max value 4",
        ),
        (
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "g"), ("DesiredCapacity", "0")],
            "is below min value 1",
        ),
        (
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "no"), ("DesiredCapacity", "1")],
            "AutoScalingGroup name not found",
        ),
        ("SetDesiredCapacity", &[("AutoScalingGroupName", "g"), ("DesiredCapacity", "-1")], "is no number"),
        (
            "SetInstanceProtection",
            &[
                ("AutoScalingGroupName", "g"),
                ("ProtectedFromScaleIn", "true"),
                ("InstanceIds.member.1", "i-9"),
            ],
            "The instance i-9 is not part of Auto Scaling group g",
        ),
        (
            "TerminateInstanceInAutoScalingGroup",
            &[("InstanceId", "i-9"), ("ShouldDecrementDesiredCapacity", "true")],
            "No managed instance found",
        ),
        (
            "CompleteLifecycleAction",
            &[
                ("AutoScalingGroupName", "g"),
                ("LifecycleHookName", "drain"),
                ("LifecycleActionResult", "CONTINUE"),
                ("InstanceId", "i-0"),
            ],
            "No active Lifecycle Action found with instance ID i-0",
        ),
        ("UpdateAutoScalingGroup", &[("AutoScalingGroupName", "g"), ("MinSize", "5")], "Max bound"),
        (
            "PutLifecycleHook",
            &[
                ("AutoScalingGroupName", "g"),
                ("LifecycleHookName", "h"),
                ("LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING"),
                ("HeartbeatTimeout", "10"),
            ],
            "between 30 and 172800",
        ),
    ];
    for (action, pairs, expected) in cases {
        let refused = call(&mut one_group(), action, pairs).expect_err(action);
        assert!(refused.contains(expected), "{action}: {refused}");
    }
}

#[test]
fn groups_are_found_by_name_and_by_tag() {
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("AutoScalingGroupNames.member.1", "g")], true),
        (&[("AutoScalingGroupNames.member.1", "other")], false),
        (&[("Filters.member.1.Name", "tag:Queue"), ("Filters.member.1.Values.member.1", "default")], true),
        (&[("Filters.member.1.Name", "tag:Queue"), ("Filters.member.1.Values.member.1", "gpu")], false),
        (&[("Filters.member.1.Name", "tag-key"), ("Filters.member.1.Values.member.1", "Queue")], true),
    ];
    for (pairs, found) in cases {
        let body = call(&mut one_group(), "DescribeAutoScalingGroups", pairs).unwrap();
        assert_eq!(body.contains("<AutoScalingGroupName>g<"), *found, "{pairs:?}");
    }
}

#[test]
fn groups_are_told_in_pages_and_asked_for_by_so_many_names() {
    let mut groups = one_group();
    for n in 0..60 {
        let mut other = groups["g"].clone();
        other.definition.name = format!("g-{n:02}");
        groups.insert(other.definition.name.clone(), other);
    }
    let mut page = |asked: &[(&str, &str)]| call(&mut groups, "DescribeAutoScalingGroups", asked);
    let told = |body: &str| body.matches("<AutoScalingGroupName>").count();
    let first = page(&[]).unwrap();
    assert!(told(&first) == 50 && first.contains("<NextToken>50<"), "{first}");
    let last = page(&[("NextToken", "50")]).unwrap();
    assert!(told(&last) == 11 && !last.contains("NextToken"), "{last}");
    assert_eq!(told(&page(&[("MaxRecords", "100")]).unwrap()), 61);
    assert!(page(&[("MaxRecords", "101")]).unwrap_err().contains("at most 100"));
    let names: Vec<String> = (0..51).map(|n| format!("AutoScalingGroupNames.member.{}", n + 1)).collect();
    let asked: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "g")).collect();
    assert!(page(&asked).unwrap_err().contains("at most 50"));
}

#[test]
fn a_terminated_instance_waits_for_its_hook_and_the_history_says_so() {
    let mut groups = one_group();
    let answer = call(
        &mut groups,
        "TerminateInstanceInAutoScalingGroup",
        &[("InstanceId", "i-0"), ("ShouldDecrementDesiredCapacity", "true")],
    );
    assert!(answer.unwrap().contains("<StatusCode>MidLifecycleAction</StatusCode>"));
    assert_eq!(groups["g"].desired, 2);
    let instances =
        call(&mut groups, "DescribeAutoScalingInstances", &[("InstanceIds.member.1", "i-0")]).unwrap();
    assert!(instances.contains("<LifecycleState>Terminating:Wait</LifecycleState>"), "{instances}");
    let action = [("AutoScalingGroupName", "g"), ("LifecycleHookName", "drain"), ("InstanceId", "i-0")];
    call(&mut groups, "RecordLifecycleActionHeartbeat", &action).unwrap();
    let mut done = action.to_vec();
    done.push(("LifecycleActionResult", "CONTINUE"));
    call(&mut groups, "CompleteLifecycleAction", &done).unwrap();
    assert!(groups["g"].member("i-0").unwrap().waits.is_empty());
    let history = call(&mut groups, "DescribeScalingActivities", &[("AutoScalingGroupName", "g")]).unwrap();
    assert!(history.contains("in response to a user request"), "{history}");
}

#[test]
fn the_history_is_told_in_pages_the_last_first() {
    let mut groups = one_group();
    for id in ["i-0", "i-1"] {
        let end = [("InstanceId", id), ("ShouldDecrementDesiredCapacity", "false")];
        call(&mut groups, "TerminateInstanceInAutoScalingGroup", &end).unwrap();
    }
    let mut page = |from: &str| {
        let asked = [("AutoScalingGroupName", "g"), ("MaxRecords", "1"), ("NextToken", from)];
        call(&mut groups, "DescribeScalingActivities", &asked).unwrap()
    };
    let first = page("0");
    assert!(first.contains("Terminating EC2 instance: i-1") && !first.contains("i-0"), "{first}");
    assert!(first.contains("<NextToken>1</NextToken>"), "{first}");
    let second = page("1");
    assert!(second.contains("Terminating EC2 instance: i-0") && !second.contains("i-1"), "{second}");
    let count = groups["g"].activities.len();
    let last = [("AutoScalingGroupName", "g"), ("NextToken", &*(count - 1).to_string())];
    let last = call(&mut groups, "DescribeScalingActivities", &last).unwrap();
    assert!(!last.contains("NextToken"), "{last}");
}

#[test]
fn a_mixed_group_names_its_launch_template_in_its_policy_alone() {
    let mut groups = one_group();
    let described = |groups: &mut GroupMap| call(groups, "DescribeAutoScalingGroups", &[]).unwrap();
    let before_instances = |body: &str| body.split("<Instances>").next().unwrap().to_owned();
    let plain = before_instances(&described(&mut groups));
    assert!(plain.contains("<LaunchTemplate><LaunchTemplateId>lt-1<"), "{plain}");
    assert!(!plain.contains("MixedInstancesPolicy"), "{plain}");
    groups.get_mut("g").unwrap().definition.mixed = Some(Distribution {
        on_demand_strategy: "prioritized".into(),
        on_demand_base: 0,
        on_demand_percentage: 100,
        spot_strategy: "lowest-price".into(),
    });
    let body = described(&mut groups);
    let mixed = before_instances(&body);
    let policy = "<MixedInstancesPolicy><LaunchTemplate><LaunchTemplateSpecification><LaunchTemplateId>lt-1<";
    assert!(mixed.contains(policy), "{mixed}");
    assert!(mixed.contains("<Overrides><member><InstanceType>c7a.large<"), "{mixed}");
    assert_eq!(mixed.matches("<LaunchTemplateId>").count(), 1, "{mixed}");
    assert!(body.contains("<Version>1</Version>"), "instances say what they were launched from: {body}");
}

#[test]
fn hooks_are_put_described_and_deleted() {
    let mut groups = one_group();
    let hook = [
        ("AutoScalingGroupName", "g"),
        ("LifecycleHookName", "second"),
        ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
        ("HeartbeatTimeout", "60"),
    ];
    call(&mut groups, "PutLifecycleHook", &hook).unwrap();
    let described = call(&mut groups, "DescribeLifecycleHooks", &hook[..1]).unwrap();
    assert!(described.contains("<GlobalTimeout>6000</GlobalTimeout>"), "{described}");
    call(&mut groups, "DeleteLifecycleHook", &hook[..2]).unwrap();
    assert!(!call(&mut groups, "DescribeLifecycleHooks", &hook[..1]).unwrap().contains("second"));
}
