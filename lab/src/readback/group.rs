//! Groups' definitions, from moto.

use anyhow::{Context, Result};
use aws::autoscaling::types::{AutoScalingGroup, LifecycleHook, MixedInstancesPolicy};
use jiff::{SignedDuration, Timestamp};

use super::Readback;
use crate::group::model::{Definition, Distribution, Hook, Tag, TemplateRef, Transition};

impl Readback {
    /// All groups as the stacks define them, with their lifecycle hooks.
    ///
    /// # Errors
    /// moto does not answer; a group that the lab cannot run.
    pub async fn groups(&self) -> Result<Vec<Definition>> {
        let client = self.session.autoscaling();
        let answer =
            client.describe_auto_scaling_groups().send().await.context("read of the groups from moto")?;
        let mut found = Vec::new();
        for group in answer.auto_scaling_groups() {
            let name = group.auto_scaling_group_name().unwrap_or_default();
            let hooks = client.describe_lifecycle_hooks().auto_scaling_group_name(name).send().await;
            let hooks = hooks.with_context(|| format!("read of the hooks of {name} from moto"))?;
            let hooks = hooks.lifecycle_hooks().iter().filter_map(hook).collect();
            let warm = client.describe_warm_pool().auto_scaling_group_name(name).send().await;
            let warm = warm.with_context(|| format!("read of the warm pool of {name} from moto"))?;
            let warm = warm.warm_pool_configuration().and_then(|pool| pool.min_size()).unwrap_or(0);
            let warm = u32::try_from(warm).unwrap_or(0);
            let read = definition(group, hooks).with_context(|| format!("group {name}"))?;
            found.push(Definition { warm, ..read });
        }
        Ok(found)
    }
}

fn hook(hook: &LifecycleHook) -> Option<Hook> {
    Some(Hook {
        name: hook.lifecycle_hook_name()?.to_owned(),
        transition: Transition::from_word(hook.lifecycle_transition()?)?,
        heartbeat: SignedDuration::from_secs(hook.heartbeat_timeout().unwrap_or(3600).into()),
        silence_continues: hook.default_result() == Some("CONTINUE"),
    })
}

fn definition(group: &AutoScalingGroup, hooks: Vec<Hook>) -> Result<Definition> {
    let mixed = group.mixed_instances_policy().and_then(|p| p.launch_template());
    let template = group.launch_template().or_else(|| mixed.and_then(|m| m.launch_template_specification()));
    let template = template.context("it has no launch template")?;
    let overrides = mixed.map(|m| m.overrides()).unwrap_or_default();
    let size = |n: Option<i32>| u32::try_from(n.unwrap_or(0)).unwrap_or(0);
    let created = group.created_time().map_or(0, |t| t.secs());
    Ok(Definition {
        name: group.auto_scaling_group_name().unwrap_or_default().to_owned(),
        arn: group.auto_scaling_group_arn().unwrap_or_default().to_owned(),
        min: size(group.min_size()),
        max: size(group.max_size()),
        protect_new: group.new_instances_protected_from_scale_in().unwrap_or(false),
        zones: group.availability_zones().to_vec(),
        subnets: group.vpc_zone_identifier().unwrap_or_default().to_owned(),
        template: TemplateRef {
            id: template.launch_template_id().unwrap_or_default().to_owned(),
            name: template.launch_template_name().unwrap_or_default().to_owned(),
            version: template.version().unwrap_or("$Default").to_owned(),
        },
        mixed: group.mixed_instances_policy().map(distribution),
        types: overrides.iter().filter_map(|o| o.instance_type()).map(str::to_owned).collect(),
        grace: SignedDuration::from_secs(group.health_check_grace_period().unwrap_or(0).into()),
        warm: 0,
        hooks,
        tags: group
            .tags()
            .iter()
            .map(|t| Tag {
                key: t.key().unwrap_or_default().to_owned(),
                value: t.value().unwrap_or_default().to_owned(),
                at_launch: t.propagate_at_launch().unwrap_or(false),
            })
            .collect(),
        created: Timestamp::from_second(created).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// What the policy leaves out has AWS's default.
fn distribution(policy: &MixedInstancesPolicy) -> Distribution {
    let given = policy.instances_distribution();
    let strategy = |given: Option<&str>, usual: &str| given.unwrap_or(usual).to_owned();
    let number = |given: Option<i32>, usual| given.and_then(|n| u32::try_from(n).ok()).unwrap_or(usual);
    Distribution {
        on_demand_strategy: strategy(given.and_then(|d| d.on_demand_allocation_strategy()), "prioritized"),
        on_demand_base: number(given.and_then(|d| d.on_demand_base_capacity()), 0),
        on_demand_percentage: number(given.and_then(|d| d.on_demand_percentage_above_base_capacity()), 100),
        spot_strategy: strategy(given.and_then(|d| d.spot_allocation_strategy()), "lowest-price"),
    }
}
