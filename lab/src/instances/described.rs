//! Instances that EC2 knows too: for each machine of the lab moto keeps an instance of the same id, so that
//! `aws ec2 describe-instances` tells what launch template and group gave it: disk, subnet, security groups, key, role.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{InstanceOrder, Instances, LaunchFailed};
use crate::readback::Readback;

/// Machines of the lab and EC2's word of them.
pub struct Described {
    machines: Arc<dyn Instances>,
    ec2: Readback,
}

impl Described {
    /// EC2 hears of what happens to these machines.
    #[must_use]
    pub fn new(machines: Arc<dyn Instances>, ec2: Readback) -> Self {
        Self { machines, ec2 }
    }

    /// The machine is what counts: EC2's word alone may be late.
    async fn tell(&self, action: &str, id: &str) {
        if let Err(error) = self.ec2.change_instance(action, id).await {
            tracing::warn!(id, error = format!("{error:#}"), "EC2 does not hear of an instance");
        }
    }
}

impl Instances for Described {
    fn launch(&self, order: InstanceOrder) -> BoxFuture<'_, Result<(), LaunchFailed>> {
        Box::pin(async move {
            let id = order.id.clone();
            // Side by side: the boot shall not wait for moto.
            match futures::join!(self.machines.launch(order.clone()), self.ec2.run_instance(&order)) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(failed), described) => {
                    if described.is_ok() {
                        self.tell("TerminateInstances", &id).await;
                    }
                    Err(failed)
                }
                (Ok(()), Err(error)) => {
                    self.machines.terminate(&id).await;
                    Err(LaunchFailed { id, reason: format!("{error:#}") })
                }
            }
        })
    }

    fn terminate<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.machines.terminate(id).await;
            self.tell("TerminateInstances", id).await;
        })
    }

    fn stop<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.machines.stop(id).await;
            self.tell("StopInstances", id).await;
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), LaunchFailed>> {
        Box::pin(async move {
            self.machines.start(id).await?;
            self.tell("StartInstances", id).await;
            Ok(())
        })
    }

    fn tell_target_state(&self, id: &str, state: &'static str) {
        self.machines.tell_target_state(id, state);
    }

    fn ended(&self) -> BoxFuture<'_, Vec<String>> {
        self.machines.ended()
    }
}
