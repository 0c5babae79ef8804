//! What the Describe calls answer.

use crate::endpoint::answer::Xml;
use crate::endpoint::autoscaling::{Params, members, structures};
use crate::group::model::{Activity, ActivityStatus, Group, Hook, Member};

use super::GroupMap;
use crate::group::requests::Refusal;

/// The most names in a call, groups on a page where nobody says how many, and the most that anybody may say:
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html>.
const NAMES: usize = 50;
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 100;

pub(super) fn groups(groups: &GroupMap, params: &Params) -> Result<Xml, Refusal> {
    let names = members(params, "AutoScalingGroupNames");
    if names.len() > NAMES {
        let count = names.len();
        return Err(Refusal::validation(format!(
            "{count} names at 'autoScalingGroupNames': at most {NAMES}"
        )));
    }
    let number = |field: &str| params.get(field).and_then(|n| n.parse().ok());
    let (from, most) = (number("NextToken").unwrap_or(0), number("MaxRecords").unwrap_or(PAGE));
    if most > LARGEST_PAGE {
        return Err(Refusal::validation(format!("{most} at 'maxRecords': at most {LARGEST_PAGE}")));
    }
    let filters = structures(params, "Filters");
    let found = groups
        .values()
        .filter(|g| names.is_empty() || names.contains(&g.definition.name.as_str()))
        .filter(|g| filters.iter().all(|f| passes(g, f)));
    let mut left = found.skip(from);
    let mut fields = vec![("AutoScalingGroups", Xml::List(left.by_ref().take(most).map(group).collect()))];
    if left.next().is_some() {
        fields.push(("NextToken", Xml::text(from + most)));
    }
    Ok(Xml::Fields(fields))
}

/// `tag:KEY` with values, `tag-key` and `tag-value`: as the API filters groups.
fn passes(group: &Group, filter: &Params) -> bool {
    let name = filter.get("Name").map_or("", String::as_str);
    let values = members(filter, "Values");
    group.definition.tags.iter().any(|tag| match name {
        "tag-key" => values.contains(&tag.key.as_str()),
        "tag-value" => values.contains(&tag.value.as_str()),
        _ => name.strip_prefix("tag:").is_some_and(|k| k == tag.key) && values.contains(&tag.value.as_str()),
    })
}

fn group(group: &Group) -> Xml {
    let d = &group.definition;
    let tags = d.tags.iter().map(|t| {
        Xml::Fields(vec![
            ("ResourceId", Xml::text(&d.name)),
            ("ResourceType", Xml::text("auto-scaling-group")),
            ("Key", Xml::text(&t.key)),
            ("Value", Xml::text(&t.value)),
            ("PropagateAtLaunch", Xml::text(t.at_launch)),
        ])
    });
    // AWS tells of warm instances apart.
    let serving = group.members.iter().filter(|m| !m.lifecycle.is_warmed());
    Xml::Fields(vec![
        ("AutoScalingGroupName", Xml::text(&d.name)),
        ("AutoScalingGroupARN", Xml::text(&d.arn)),
        source(group),
        ("MinSize", Xml::text(d.min)),
        ("MaxSize", Xml::text(d.max)),
        ("DesiredCapacity", Xml::text(group.desired)),
        ("DefaultCooldown", Xml::text(300)),
        ("AvailabilityZones", Xml::List(d.zones.iter().map(Xml::text).collect())),
        ("LoadBalancerNames", Xml::List(Vec::new())),
        ("HealthCheckType", Xml::text("EC2")),
        ("HealthCheckGracePeriod", Xml::text(d.grace.as_secs())),
        ("Instances", Xml::List(serving.map(|m| instance(group, m, false)).collect())),
        ("WarmPoolSize", Xml::text(group.members.iter().filter(|m| m.lifecycle.is_warmed()).count())),
        ("CreatedTime", Xml::text(d.created)),
        ("SuspendedProcesses", Xml::List(Vec::new())),
        ("VPCZoneIdentifier", Xml::text(&d.subnets)),
        ("Tags", Xml::List(tags.collect())),
        ("NewInstancesProtectedFromScaleIn", Xml::text(d.protect_new)),
    ])
}

/// What instances are launched from: the launch template itself, or inside the mixed instances policy; never both.
fn source(group: &Group) -> (&'static str, Xml) {
    let d = &group.definition;
    let template = template(group, &d.template.version);
    let Some(distribution) = &d.mixed else { return ("LaunchTemplate", template) };
    let overrides = d.types.iter().map(|name| Xml::Fields(vec![("InstanceType", Xml::text(name))]));
    let template =
        vec![("LaunchTemplateSpecification", template), ("Overrides", Xml::List(overrides.collect()))];
    let distribution = vec![
        ("OnDemandAllocationStrategy", Xml::text(&distribution.on_demand_strategy)),
        ("OnDemandBaseCapacity", Xml::text(distribution.on_demand_base)),
        ("OnDemandPercentageAboveBaseCapacity", Xml::text(distribution.on_demand_percentage)),
        ("SpotAllocationStrategy", Xml::text(&distribution.spot_strategy)),
    ];
    let policy =
        vec![("LaunchTemplate", Xml::Fields(template)), ("InstancesDistribution", Xml::Fields(distribution))];
    ("MixedInstancesPolicy", Xml::Fields(policy))
}

fn template(group: &Group, version: &str) -> Xml {
    Xml::Fields(vec![
        ("LaunchTemplateId", Xml::text(&group.definition.template.id)),
        ("LaunchTemplateName", Xml::text(&group.definition.template.name)),
        ("Version", Xml::text(version)),
    ])
}

/// An instance as `DescribeAutoScalingGroups` has it, or with its group's name as `DescribeAutoScalingInstances`.
fn instance(group: &Group, member: &Member, with_group: bool) -> Xml {
    let health = if member.healthy { "Healthy" } else { "Unhealthy" };
    let mut fields = vec![
        ("InstanceId", Xml::text(&member.id)),
        ("InstanceType", Xml::text(&member.instance_type)),
        ("AvailabilityZone", Xml::text(&member.zone)),
        ("LifecycleState", Xml::text(member.lifecycle.word())),
        // The two calls really differ in the case of this word.
        ("HealthStatus", Xml::text(if with_group { health.to_uppercase() } else { health.to_owned() })),
        ("LaunchTemplate", template(group, &member.template_version)),
        ("ProtectedFromScaleIn", Xml::text(member.protected)),
    ];
    if with_group {
        fields.push(("AutoScalingGroupName", Xml::text(&group.definition.name)));
    }
    Xml::Fields(fields)
}

pub(super) fn instances(groups: &GroupMap, params: &Params) -> Xml {
    let ids = members(params, "InstanceIds");
    let found = groups.values().flat_map(|group| {
        let wanted = group.members.iter().filter(|m| ids.is_empty() || ids.contains(&m.id.as_str()));
        wanted.map(|m| instance(group, m, true)).collect::<Vec<_>>()
    });
    Xml::Fields(vec![("AutoScalingInstances", Xml::List(found.collect()))])
}

pub(super) fn activities(groups: &GroupMap, params: &Params) -> Xml {
    let name = params.get("AutoScalingGroupName");
    let ids = members(params, "ActivityIds");
    let number = |field: &str| params.get(field).and_then(|n| n.parse().ok());
    let (from, most) = (number("NextToken").unwrap_or(0), number("MaxRecords").unwrap_or(100));
    let found = groups
        .values()
        .filter(|g| name.is_none_or(|n| *n == g.definition.name))
        .flat_map(|g| g.activities.iter().rev().map(|a| (&g.definition.name, a)))
        .filter(|(_, a)| ids.is_empty() || ids.contains(&a.id.as_str()));
    let mut left = found.skip(from);
    let page = left.by_ref().take(most).map(|(group, a)| activity(group, a)).collect();
    let mut fields = vec![("Activities", Xml::List(page))];
    if left.next().is_some() {
        fields.push(("NextToken", Xml::text(from + most)));
    }
    Xml::Fields(fields)
}

pub(super) fn activity(group: &str, activity: &Activity) -> Xml {
    let (status, progress) = match activity.status {
        ActivityStatus::InProgress => ("InProgress", 50),
        ActivityStatus::MidLifecycleAction => ("MidLifecycleAction", 60),
        ActivityStatus::Successful => ("Successful", 100),
        ActivityStatus::Failed => ("Failed", 100),
        ActivityStatus::Cancelled => ("Cancelled", 100),
    };
    let mut fields = vec![
        ("ActivityId", Xml::text(&activity.id)),
        ("AutoScalingGroupName", Xml::text(group)),
        ("Description", Xml::text(&activity.description)),
        ("Cause", Xml::text(&activity.cause)),
        ("StartTime", Xml::text(activity.start)),
        ("StatusCode", Xml::text(status)),
        ("Progress", Xml::text(progress)),
        ("Details", Xml::text("{}")),
    ];
    if let Some(end) = activity.end {
        fields.push(("EndTime", Xml::text(end)));
    }
    if !activity.message.is_empty() {
        fields.push(("StatusMessage", Xml::text(&activity.message)));
    }
    Xml::Fields(fields)
}

pub(super) fn hooks(group: &Group) -> Xml {
    let one = |hook: &Hook| {
        Xml::Fields(vec![
            ("LifecycleHookName", Xml::text(&hook.name)),
            ("AutoScalingGroupName", Xml::text(&group.definition.name)),
            ("LifecycleTransition", Xml::text(hook.transition.word())),
            ("HeartbeatTimeout", Xml::text(hook.heartbeat.as_secs())),
            ("GlobalTimeout", Xml::text(hook.limit().as_secs())),
            ("DefaultResult", Xml::text(if hook.silence_continues { "CONTINUE" } else { "ABANDON" })),
        ])
    };
    Xml::Fields(vec![("LifecycleHooks", Xml::List(group.definition.hooks.iter().map(one).collect()))])
}
