//! The group, by the Auto Scaling API.

use aws::autoscaling::primitives::DateTime;
use aws::autoscaling::types::{self, Instance, LaunchTemplateSpecification};
use aws::{CallError, Session, autoscaling};
use jiff::Timestamp;

use crate::brake::Seen;
use crate::decide::Capacity;
use crate::ports::{Group, Problem};
use lifecycle::boots::{Activity, Boot, boots};

/// The most that one answer holds: some fifty boots, of which a few tell enough.
const ACTIVITIES: i32 = 100;

/// One Auto Scaling group.
#[derive(Debug, Clone)]
pub struct AutoScalingGroup {
    client: autoscaling::Client,
    name: String,
}

impl AutoScalingGroup {
    /// The group `name` in the session's region.
    #[must_use]
    pub fn new(session: &Session, name: &str) -> Self {
        Self { client: session.autoscaling(), name: name.to_owned() }
    }

    /// Its last scaling activities, the newest first.
    ///
    /// # Errors
    /// AWS refuses or does not answer.
    pub async fn activities(&self) -> Result<Vec<Activity>, Problem> {
        let answer = self
            .client
            .describe_scaling_activities()
            .auto_scaling_group_name(&self.name)
            .max_records(ACTIVITIES)
            .send()
            .await
            .map_err(|e| CallError::new(&e, "autoscaling:DescribeScalingActivities", &self.name))?;
        Ok(answer.activities().iter().filter_map(activity).collect())
    }
}

impl Group for AutoScalingGroup {
    async fn boots(&self) -> Result<Vec<Boot>, Problem> {
        Ok(boots(&self.activities().await?))
    }

    async fn set_desired(&self, desired: u32) -> Result<(), Problem> {
        let size = i32::try_from(desired).map_err(|_| {
            Problem::new(1, format!("desired capacity {desired} is beyond what AWS can hold"))
        })?;
        self.client
            .set_desired_capacity()
            .auto_scaling_group_name(&self.name)
            .desired_capacity(size)
            .honor_cooldown(false)
            .send()
            .await
            .map_err(|e| CallError::new(&e, "autoscaling:SetDesiredCapacity", &self.name))?;
        Ok(())
    }
}

/// What a description tells.
pub(crate) fn seen(group: &types::AutoScalingGroup) -> Seen {
    let instances = group.instances();
    let those = |wanted: fn(&str) -> bool| {
        let state = |i: &Instance| i.lifecycle_state().is_some_and(|s| wanted(s.as_str()));
        let ids = instances.iter().filter(|i| state(i)).filter_map(|i| i.instance_id());
        ids.map(str::to_owned).collect()
    };
    Seen {
        capacity: capacity(group),
        launches_from: launches_from(group),
        booting: those(|state| state.starts_with("Pending")),
        serving: those(|state| state == "InService"),
    }
}

/// Launch template and version, from wherever the group has them. `$Latest` and `$Default` never change.
fn launches_from(group: &types::AutoScalingGroup) -> Option<String> {
    let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    let mixed = mixed.and_then(|template| template.launch_template_specification());
    let named = |template: &LaunchTemplateSpecification| {
        let template_is = template.launch_template_id().or(template.launch_template_name());
        format!("{}:{}", template_is.unwrap_or_default(), template.version().unwrap_or_default())
    };
    group.launch_template().or(mixed).map(named)
}

fn activity(told: &types::Activity) -> Option<Activity> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Some(Activity {
        description: text(told.description()),
        cause: text(told.cause()),
        status: told.status_code().map(|code| code.as_str().to_owned()).unwrap_or_default(),
        message: text(told.status_message()),
        start: time(told.start_time()?)?,
        end: told.end_time().and_then(time),
    })
}

fn time(told: &DateTime) -> Option<Timestamp> {
    Timestamp::new(told.secs(), i32::try_from(told.subsec_nanos()).ok()?).ok()
}

/// Its numbers: instances by what scale-in may do with them. Pure.
fn capacity(group: &types::AutoScalingGroup) -> Capacity {
    let [min, max, desired] = [group.min_size(), group.max_size(), group.desired_capacity()]
        .map(|size| u32::try_from(size.unwrap_or(0)).unwrap_or(0));
    counted(min, max, desired, group.instances())
}

fn counted(min: u32, max: u32, desired: u32, instances: &[Instance]) -> Capacity {
    let mut counted = Capacity { min, max, desired, ..Capacity::default() };
    for instance in instances {
        let state = instance.lifecycle_state().map_or("", |s| s.as_str());
        let leaving = state.starts_with("Terminat") || state.starts_with("Detach");
        // An unhealthy instance is replaced by AWS whatever we desire; it is no capacity and no candidate.
        let unhealthy = instance.health_status() == Some("Unhealthy");
        // Warm instances lie outside desired capacity.
        if leaving || unhealthy || state.starts_with("Warmed") || state == "Standby" {
            continue;
        }
        counted.live += 1;
        let in_service = state == "InService";
        if in_service {
            counted.in_service += 1;
        }
        if in_service && instance.protected_from_scale_in() == Some(false) {
            counted.releasable += 1;
        } else {
            counted.held += 1;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: &str, health: &str, protected: bool) -> Instance {
        Instance::builder()
            .instance_id("i-1")
            .availability_zone("us-east-1a")
            .lifecycle_state(state.into())
            .health_status(health)
            .protected_from_scale_in(protected)
            .build()
    }

    #[test]
    fn instances_are_counted_by_what_scale_in_may_do() {
        let instances = [
            instance("InService", "Healthy", true),
            instance("InService", "Healthy", false),
            instance("Pending", "Healthy", false),
            instance("Pending:Wait", "Healthy", true),
            instance("InService", "Unhealthy", true),
            instance("Terminating:Wait", "Healthy", false),
            instance("Warmed:Stopped", "Healthy", false),
            instance("Standby", "Healthy", false),
        ];
        let counted = counted(0, 9, 4, &instances);
        assert_eq!(
            counted,
            Capacity {
                min: 0,
                max: 9,
                desired: 4,
                live: 4,
                in_service: 2,
                held: 3,
                releasable: 1,
                short: false,
                phantom: 0,
                ceiling: None,
            }
        );
    }
}
