//! The group, by the Auto Scaling API.

use std::collections::BTreeSet;

use aws::autoscaling::primitives::DateTime;
use aws::autoscaling::types::{self, LaunchTemplateSpecification};
use aws::{CallError, Fault, Session};
use jiff::Timestamp;
use lifecycle::AwsState;
use lifecycle::boots::{Activity, launched};

use super::group::{Group, Member, Refusal, Size};
use lifecycle::rollout::{Peer, Rollout, TemplateVersion};

/// Activities of one answer: the most that AWS gives.
const PAGE: i32 = 100;

/// A launch that lies further back counts as one of long ago.
const MOST_PAGES: usize = 20;

/// An Auto Scaling group and one of its instances.
#[derive(Debug, Clone)]
pub struct AutoScalingGroup {
    client: aws::autoscaling::Client,
    group: String,
    instance: String,
}

macro_rules! refusal {
    ($operation:literal, $resource:expr) => {
        |error| refusal(CallError::new(&error, $operation, $resource))
    };
}

impl AutoScalingGroup {
    /// The group of that name and its instance.
    pub fn new(session: &Session, group: impl Into<String>, instance: impl Into<String>) -> Self {
        Self { client: session.autoscaling(), group: group.into(), instance: instance.into() }
    }

    async fn describe(&self) -> Result<types::AutoScalingGroup, Refusal> {
        let answer = self
            .client
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(&self.group)
            .send()
            .await
            .map_err(refusal!("autoscaling:DescribeAutoScalingGroups", &self.group))?;
        answer.auto_scaling_groups.unwrap_or_default().into_iter().next().ok_or_else(|| self.absent())
    }

    fn absent(&self) -> Refusal {
        Refusal::Absent(format!("{} is no group of this account and region", self.group))
    }

    async fn terminate(&self, decrement: bool) -> Result<(), Refusal> {
        let call = self
            .client
            .terminate_instance_in_auto_scaling_group()
            .instance_id(&self.instance)
            .should_decrement_desired_capacity(decrement);
        call.send()
            .await
            .map_err(refusal!("autoscaling:TerminateInstanceInAutoScalingGroup", &self.instance))?;
        Ok(())
    }
}

impl Group for AutoScalingGroup {
    async fn describe_instance(&self) -> Result<Option<Member>, Refusal> {
        let answer = self
            .client
            .describe_auto_scaling_instances()
            .instance_ids(&self.instance)
            .send()
            .await
            .map_err(refusal!("autoscaling:DescribeAutoScalingInstances", &self.instance))?;
        Ok(answer.auto_scaling_instances().first().map(|instance| Member {
            state: AwsState::from(instance.lifecycle_state().unwrap_or_default()),
            protected: instance.protected_from_scale_in().unwrap_or_default(),
        }))
    }

    async fn describe_size(&self) -> Result<Size, Refusal> {
        let group = self.describe().await?;
        let sizes = group.min_size().zip(group.max_size()).zip(group.desired_capacity());
        let stays = |word: &str| word.starts_with("Pending") || word == "InService";
        let words = group.instances().iter().map(|i| i.lifecycle_state().map_or("", |state| state.as_str()));
        let live = i32::try_from(words.filter(|word| stays(word)).count()).unwrap_or(i32::MAX);
        let size = sizes.map(|((min, max), desired)| Size { min, max, desired, live });
        size.ok_or_else(|| self.absent())
    }

    async fn describe_rollout(&self) -> Result<Rollout, Refusal> {
        let group = self.describe().await?;
        let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
        let mixed = mixed.and_then(|template| template.launch_template_specification());
        let peers = group.instances().iter().map(|instance| Peer {
            id: instance.instance_id().unwrap_or_default().to_owned(),
            state: AwsState::from(instance.lifecycle_state().map(|s| s.as_str()).unwrap_or_default()),
            template: instance.launch_template().map(version),
        });
        Ok(Rollout {
            min: group.min_size().ok_or_else(|| self.absent())?,
            desired: group.desired_capacity().ok_or_else(|| self.absent())?,
            template: group.launch_template().or(mixed).map(version),
            peers: peers.collect(),
        })
    }

    async fn describe_activities(&self, of: &BTreeSet<String>) -> Result<Vec<Activity>, Refusal> {
        let mut activities = Vec::new();
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let call = self.client.describe_scaling_activities().auto_scaling_group_name(&self.group);
            let answer = call
                .max_records(PAGE)
                .set_next_token(next)
                .send()
                .await
                .map_err(refusal!("autoscaling:DescribeScalingActivities", &self.group))?;
            activities.extend(answer.activities().iter().filter_map(activity));
            next = answer.next_token;
            let told = launched(&activities);
            if next.is_none() || of.iter().all(|id| told.contains_key(id)) {
                break;
            }
        }
        Ok(activities)
    }

    async fn set_protection(&self, protected: bool) -> Result<(), Refusal> {
        let call = self
            .client
            .set_instance_protection()
            .auto_scaling_group_name(&self.group)
            .instance_ids(&self.instance)
            .protected_from_scale_in(protected);
        call.send().await.map_err(refusal!("autoscaling:SetInstanceProtection", &self.instance))?;
        Ok(())
    }

    async fn heartbeat(&self, hook: &str) -> Result<(), Refusal> {
        let call = self
            .client
            .record_lifecycle_action_heartbeat()
            .auto_scaling_group_name(&self.group)
            .lifecycle_hook_name(hook)
            .instance_id(&self.instance);
        call.send().await.map_err(refusal!("autoscaling:RecordLifecycleActionHeartbeat", &self.instance))?;
        Ok(())
    }

    async fn complete(&self, hook: &str) -> Result<(), Refusal> {
        let call = self
            .client
            .complete_lifecycle_action()
            .auto_scaling_group_name(&self.group)
            .lifecycle_hook_name(hook)
            .instance_id(&self.instance)
            .lifecycle_action_result("CONTINUE");
        call.send().await.map_err(refusal!("autoscaling:CompleteLifecycleAction", &self.instance))?;
        Ok(())
    }

    async fn terminate_with_decrement(&self) -> Result<(), Refusal> {
        self.terminate(true).await
    }

    async fn terminate_for_successor(&self) -> Result<(), Refusal> {
        self.terminate(false).await
    }

    async fn mark_unhealthy(&self) -> Result<(), Refusal> {
        let call = self
            .client
            .set_instance_health()
            .instance_id(&self.instance)
            .health_status("Unhealthy")
            .should_respect_grace_period(false);
        call.send().await.map_err(refusal!("autoscaling:SetInstanceHealth", &self.instance))?;
        Ok(())
    }
}

fn version(named: &LaunchTemplateSpecification) -> TemplateVersion {
    TemplateVersion {
        template: named.launch_template_id().unwrap_or_default().to_owned(),
        version: named.version().unwrap_or_default().to_owned(),
    }
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

/// Auto Scaling answers every wrong request with `ValidationError`; only the message tells which.
fn refusal(error: CallError) -> Refusal {
    let text = error.to_string();
    let said = error.detail.to_ascii_lowercase();
    if error.fault != Fault::Invalid {
        return Refusal::Failed(text);
    }
    let holds = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if holds(&["min size", "minsize", "minimum size"]) {
        Refusal::Minimum(text)
    } else if holds(&["no active lifecycle action"]) {
        Refusal::NoAction(text)
    } else if holds(&[
        "not in inservice",
        "not in the inservice",
        "in service or standby",
        "inservice or standby",
    ]) {
        Refusal::State(text)
    } else if holds(&["not found", "not part of", "does not exist"]) {
        Refusal::Absent(text)
    } else {
        Refusal::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_tells_which_refusal_it_is() {
        let refused = |detail: &str| {
            refusal(CallError {
                fault: Fault::Invalid,
                operation: "autoscaling:X",
                resource: "i-1".into(),
                code: Some("ValidationError".into()),
                status: Some(400),
                bucket_region: None,
                detail: detail.to_owned(),
            })
        };
        assert!(matches!(
            refused("ValidationError: The instance i-1 is not in InService or Standby."),
            Refusal::State(_)
        ));
        assert!(matches!(
            refused(
                "ValidationError: Currently, desiredSize equals minSize (1). Terminating instance without \
                replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag \
                to false or lower group's min size."
            ),
            Refusal::Minimum(_)
        ));
        assert!(matches!(
            refused("ValidationError: No active Lifecycle Action found with instance ID i-1"),
            Refusal::NoAction(_)
        ));
        assert!(matches!(
            refused("ValidationError: Instance Id not found - No managed instance found"),
            Refusal::Absent(_)
        ));
        assert!(matches!(refused("ValidationError: something new"), Refusal::Failed(_)));
    }
}
