//! The Auto Scaling API over the Query protocol: parameters in, XML out. Pure but for the groups it changes.

mod describe;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::model::{Group, Hook, Transition};
use super::requests::Refusal;
use crate::endpoint::answer::Xml;
use crate::endpoint::autoscaling::{Params, members};

/// All groups by name.
pub type GroupMap = BTreeMap<String, Group>;

type Result<T> = std::result::Result<T, Refusal>;

/// Answers `action`, or `None` when moto shall.
pub fn answer(groups: &mut GroupMap, action: &str, params: &Params, now: Timestamp) -> Option<Result<Xml>> {
    Some(match action {
        "DescribeAutoScalingGroups" => describe::groups(groups, params),
        "DescribeAutoScalingInstances" => Ok(describe::instances(groups, params)),
        "DescribeScalingActivities" => Ok(describe::activities(groups, params)),
        "DescribeLifecycleHooks" => named(groups, params).map(|g| describe::hooks(g)),
        "SetDesiredCapacity" => set_desired(groups, params, now),
        "UpdateAutoScalingGroup" => update(groups, params),
        "SetInstanceProtection" => set_protection(groups, params),
        "SetInstanceHealth" => set_health(groups, params, now),
        "TerminateInstanceInAutoScalingGroup" => terminate(groups, params, now),
        "RecordLifecycleActionHeartbeat" => heartbeat(groups, params, now),
        "CompleteLifecycleAction" => complete(groups, params, now),
        "PutLifecycleHook" => put_hook(groups, params),
        "DeleteLifecycleHook" => delete_hook(groups, params),
        _ => return None,
    })
}

fn nothing() -> Xml {
    Xml::Fields(Vec::new())
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).map(String::as_str).filter(|v| !v.is_empty()).ok_or_else(|| {
        Refusal::validation(format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"))
    })
}

fn number(params: &Params, name: &str) -> Result<Option<u32>> {
    params
        .get(name)
        .map(|text| {
            text.parse().map_err(|_| Refusal::validation(format!("Value `{text}` at '{name}' is no number")))
        })
        .transpose()
}

fn flag(params: &Params, name: &str) -> Option<bool> {
    params.get(name).map(|v| v.eq_ignore_ascii_case("true"))
}

fn named<'a>(groups: &'a mut GroupMap, params: &Params) -> Result<&'a mut Group> {
    let name = required(params, "AutoScalingGroupName")?;
    groups.get_mut(name).ok_or_else(|| {
        Refusal::validation(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"))
    })
}

/// The group that holds the instance `InstanceId`.
fn holding<'a>(groups: &'a mut GroupMap, id: &str) -> Result<&'a mut Group> {
    groups.values_mut().find(|g| g.member(id).is_some()).ok_or_else(|| {
        Refusal::validation(format!(
            "Instance Id not found - No managed instance found for instance ID: {id}"
        ))
    })
}

fn set_desired(groups: &mut GroupMap, params: &Params, now: Timestamp) -> Result<Xml> {
    let to = required(params, "DesiredCapacity").and_then(|_| number(params, "DesiredCapacity"))?;
    named(groups, params)?.set_desired(to.unwrap_or_default(), now)?;
    Ok(nothing())
}

/// Sizes and the protection of new instances; what else a group is made of comes from the stack.
fn update(groups: &mut GroupMap, params: &Params) -> Result<Xml> {
    let group = named(groups, params)?;
    let mut definition = group.definition.clone();
    definition.min = number(params, "MinSize")?.unwrap_or(definition.min);
    definition.max = number(params, "MaxSize")?.unwrap_or(definition.max);
    definition.protect_new =
        flag(params, "NewInstancesProtectedFromScaleIn").unwrap_or(definition.protect_new);
    if definition.min > definition.max {
        return Err(Refusal::validation("Max bound must be greater than or equal to min bound"));
    }
    let desired = number(params, "DesiredCapacity")?;
    if let Some(desired) = desired
        && !(definition.min..=definition.max).contains(&desired)
    {
        return Err(Refusal::validation(format!(
            "Desired capacity:{desired} must be between the specified min size:{} and max size:{}",
            definition.min, definition.max
        )));
    }
    group.redefine(definition);
    group.desired = desired.unwrap_or(group.desired);
    Ok(nothing())
}

fn set_protection(groups: &mut GroupMap, params: &Params) -> Result<Xml> {
    let protected = flag(params, "ProtectedFromScaleIn");
    let protected = protected.ok_or_else(|| Refusal::validation("ProtectedFromScaleIn is missing"))?;
    let ids: Vec<String> = members(params, "InstanceIds").into_iter().map(str::to_owned).collect();
    named(groups, params)?.set_protection(&ids, protected)?;
    Ok(nothing())
}

fn set_health(groups: &mut GroupMap, params: &Params, now: Timestamp) -> Result<Xml> {
    let id = required(params, "InstanceId")?;
    let healthy = match required(params, "HealthStatus")? {
        "Healthy" => true,
        "Unhealthy" => false,
        other => {
            return Err(Refusal::validation(format!(
                "HealthStatus `{other}` is neither Healthy nor Unhealthy"
            )));
        }
    };
    let respect = flag(params, "ShouldRespectGracePeriod").unwrap_or(true);
    holding(groups, id)?.set_health(id, healthy, respect, now);
    Ok(nothing())
}

fn terminate(groups: &mut GroupMap, params: &Params, now: Timestamp) -> Result<Xml> {
    let id = required(params, "InstanceId")?;
    let decrement = flag(params, "ShouldDecrementDesiredCapacity");
    let decrement =
        decrement.ok_or_else(|| Refusal::validation("ShouldDecrementDesiredCapacity is missing"))?;
    let group = holding(groups, id)?;
    let activity = group.terminate(id, decrement, now)?;
    Ok(Xml::Fields(vec![("Activity", describe::activity(&group.definition.name, &activity))]))
}

/// The instance of a lifecycle call, named by itself or by its action's token.
fn held(group: &Group, params: &Params) -> Result<String> {
    if let Some(id) = params.get("InstanceId") {
        return Ok(id.clone());
    }
    let token = required(params, "LifecycleActionToken")?;
    let member = group.members.iter().find(|m| m.waits.iter().any(|w| w.token == token));
    member
        .map(|m| m.id.clone())
        .ok_or_else(|| Refusal::validation(format!("No active Lifecycle Action found with token {token}")))
}

fn heartbeat(groups: &mut GroupMap, params: &Params, now: Timestamp) -> Result<Xml> {
    let hook = required(params, "LifecycleHookName")?;
    let group = named(groups, params)?;
    let id = held(group, params)?;
    group.heartbeat(&id, hook, now)?;
    Ok(nothing())
}

fn complete(groups: &mut GroupMap, params: &Params, now: Timestamp) -> Result<Xml> {
    let hook = required(params, "LifecycleHookName")?;
    let go_on = required(params, "LifecycleActionResult")? == "CONTINUE";
    let group = named(groups, params)?;
    let id = held(group, params)?;
    group.complete(&id, hook, go_on, now)?;
    Ok(nothing())
}

fn put_hook(groups: &mut GroupMap, params: &Params) -> Result<Xml> {
    let hook = hook(params)?;
    named(groups, params)?.put_hook(hook);
    Ok(nothing())
}

/// A hook from the fields that the API and the CloudFormation resource share.
///
/// # Errors
/// A field is missing or out of AWS's range.
pub fn hook(params: &Params) -> Result<Hook> {
    let word = required(params, "LifecycleTransition")?;
    let transition = Transition::from_word(word)
        .ok_or_else(|| Refusal::validation(format!("`{word}` is no lifecycle transition")))?;
    let timeout = number(params, "HeartbeatTimeout")?.unwrap_or(3600);
    if !(30..=172_800).contains(&timeout) {
        return Err(Refusal::validation("HeartbeatTimeout must be between 30 and 172800 seconds"));
    }
    Ok(Hook {
        name: required(params, "LifecycleHookName")?.to_owned(),
        transition,
        heartbeat: SignedDuration::from_secs(timeout.into()),
        silence_continues: params.get("DefaultResult").is_some_and(|r| r == "CONTINUE"),
    })
}

fn delete_hook(groups: &mut GroupMap, params: &Params) -> Result<Xml> {
    let name = required(params, "LifecycleHookName")?;
    let group = named(groups, params)?;
    group.definition.hooks.retain(|h| h.name != name);
    Ok(nothing())
}

#[cfg(test)]
mod tests;
