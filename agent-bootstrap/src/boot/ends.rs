//! Whom a boot tells how it ended: the group's lifecycle hook, CloudFormation, the group's health, CloudWatch.

use std::time::Duration;

use aws::cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws::{CallError, Fault, Session};
use tokio::time::Instant;

use super::identity::Identity;
use super::phases::within;
use super::report::Report;
use super::settings::EndSettings;
use crate::failure::Failure;

/// Nothing of a boot waits longer for these than so.
const PATIENCE: Duration = Duration::from_secs(20);

/// Metrics are the least of an instance's worries.
const METRIC_PATIENCE: Duration = Duration::from_secs(5);

/// Namespace of Tidemark's own metrics; the instance's role may write there and nowhere else.
const NAMESPACE: &str = "Tidemark";

/// What is known of an instance whose boot ends.
#[derive(Debug)]
pub struct Ends<'a> {
    /// AWS.
    pub session: &'a Session,
    /// The instance.
    pub identity: &'a Identity,
    /// Whom to tell.
    pub settings: &'a EndSettings,
}

/// Does anybody wait for this instance?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It was told.
    Told,
    /// Nobody does; that is normal for most instances.
    Nobody,
}

impl Ends<'_> {
    /// Lets the launching hook go on, once the group has got as far as waiting.
    ///
    /// # Errors
    /// Refused, or the group still launches the instance (then trying again will do).
    pub async fn proceed(&self) -> Result<Waiting, Failure> {
        self.tell_launching("CONTINUE").await
    }

    /// A machine may be up before its group has come to wait for it: a word that nobody hears then is lost, and the hook
    /// would wait for its whole time.
    async fn tell_launching(&self, result: &str) -> Result<Waiting, Failure> {
        let Some(hook) = &self.settings.launching_hook else { return Ok(Waiting::Nobody) };
        if self.complete(hook, result).await? == Waiting::Told {
            return Ok(Waiting::Told);
        }
        match self.identity.lifecycle_state(self.session).await?.as_deref() {
            Some("Pending" | "Warmed:Pending") => Err(Failure::try_again(format!(
                "the group still launches {}: its hook {hook} does not wait yet",
                self.identity.instance_id
            ))),
            // It came to wait between the two calls; or another hook holds the instance.
            Some("Pending:Wait" | "Warmed:Pending:Wait") => self.complete(hook, result).await,
            _ => Ok(Waiting::Nobody),
        }
    }

    /// The boot failed: CloudFormation hears of it, the launching hook gives the instance up, the group replaces it; where
    /// that would go on for ever, after a pause. What cannot be told is said on stderr: there is nobody else left to tell.
    pub async fn give_up(&self, pause: Duration) {
        let given_back = async {
            let ends_already = self.hold(pause).await;
            futures::join!(bounded(|| self.abandon(ends_already)), bounded(|| self.mark_unhealthy()))
        };
        let (signalled, (abandoned, marked)) = futures::join!(bounded(|| self.signal("FAILURE")), given_back);
        let instance = &self.identity.instance_id;
        match abandoned {
            Ok(Waiting::Told) => {
                eprintln!("boot: {instance}: the launch is abandoned; the group launches another one")
            }
            Ok(Waiting::Nobody) => {}
            Err(failure) => eprintln!("boot: {instance}: the launch could not be abandoned: {failure}"),
        }
        say_signal(&signalled);
        match marked {
            Ok(()) => eprintln!("boot: {instance} is marked unhealthy; its group replaces it"),
            Err(failure) => {
                eprintln!("boot: {instance} could not be marked unhealthy: {failure}; terminate it by hand");
            }
        }
    }

    /// CloudFormation may count instances that came up.
    pub async fn signal_success(&self) {
        say_signal(&bounded(|| self.signal("SUCCESS")).await);
    }

    /// The boot's times as the metric `BootSeconds`. Best effort.
    pub async fn publish(&self, report: &Report) {
        let Some(stack) = &self.settings.stack else { return };
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let phases = report.phases.iter().map(|took| (took.name.as_str(), seconds(took.milliseconds)));
        let data = phases.chain([("total", seconds(report.milliseconds))]).map(|(phase, value)| {
            let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
            MetricDatum::builder()
                .metric_name("BootSeconds")
                .dimensions(dimension("Stack", stack))
                .dimensions(dimension("Phase", phase))
                .unit(StandardUnit::Seconds)
                .value(value)
                .build()
        });
        let call = self.session.cloudwatch().put_metric_data().namespace(NAMESPACE);
        let call = call.set_metric_data(Some(data.collect())).send();
        let sent = match tokio::time::timeout(METRIC_PATIENCE, call).await {
            Ok(sent) => sent
                .map(drop)
                .map_err(|e| CallError::new(&e, "cloudwatch:PutMetricData", NAMESPACE).to_string()),
            Err(_) => Err(format!("no answer within {} s", METRIC_PATIENCE.as_secs())),
        };
        if let Err(error) = sent {
            eprintln!("boot: BootSeconds could not be published: {error}");
        }
    }

    async fn abandon(&self, ends_already: bool) -> Result<Waiting, Failure> {
        let told = self.tell_launching("ABANDON").await?;
        // Nothing runs here, so nothing has to be waited for at the end either.
        let ends = told == Waiting::Told || ends_already;
        if let Some(hook) = self.settings.terminating_hook.as_ref().filter(|_| ends) {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if self.complete(hook, "CONTINUE").await? == Waiting::Told {
                    break;
                }
            }
        }
        Ok(told)
    }

    async fn complete(&self, hook: &str, result: &str) -> Result<Waiting, Failure> {
        let Some(group) = &self.identity.group else { return Ok(Waiting::Nobody) };
        let call = self
            .session
            .autoscaling()
            .complete_lifecycle_action()
            .auto_scaling_group_name(group)
            .lifecycle_hook_name(hook)
            .instance_id(&self.identity.instance_id)
            .lifecycle_action_result(result);
        heard(call.send().await.map(drop).map_err(|e| {
            CallError::new(&e, "autoscaling:CompleteLifecycleAction", &self.identity.instance_id)
        }))
    }

    /// CloudFormation takes a signal only while it waits for that resource, and no reason with it.
    async fn signal(&self, status: &str) -> Result<Waiting, Failure> {
        let Some((stack, resource)) =
            self.settings.stack.as_ref().zip(self.settings.signal_resource.as_ref())
        else {
            return Ok(Waiting::Nobody);
        };
        let call = self
            .session
            .cloudformation()
            .signal_resource()
            .stack_name(stack)
            .logical_resource_id(resource)
            .unique_id(&self.identity.instance_id)
            .status(status.into());
        heard(
            call.send().await.map(drop).map_err(|e| {
                CallError::new(&e, "cloudformation:SignalResource", format!("{stack}/{resource}"))
            }),
        )
    }

    async fn mark_unhealthy(&self) -> Result<(), Failure> {
        let instance = &self.identity.instance_id;
        let call = self
            .session
            .autoscaling()
            .set_instance_health()
            .instance_id(instance)
            .health_status("Unhealthy")
            .should_respect_grace_period(false);
        call.send().await.map_err(|e| CallError::new(&e, "autoscaling:SetInstanceHealth", instance))?;
        Ok(())
    }
}

/// Both services answer a word that nobody waits for as a wrong request.
fn heard(answer: Result<(), CallError>) -> Result<Waiting, Failure> {
    match answer {
        Ok(()) => Ok(Waiting::Told),
        Err(error) if matches!(error.fault, Fault::Invalid | Fault::Absent) => Ok(Waiting::Nobody),
        Err(error) => Err(error.into()),
    }
}

fn say_signal(signalled: &Result<Waiting, Failure>) {
    match signalled {
        Ok(Waiting::Told) => eprintln!("boot: CloudFormation is told"),
        Ok(Waiting::Nobody) => {}
        Err(failure) => eprintln!("boot: CloudFormation could not be told: {failure}"),
    }
}

/// Tried again while it may pass.
async fn bounded<T>(call: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    within(Instant::now() + PATIENCE, "no answer", call).await
}
