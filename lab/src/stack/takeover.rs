//! Takes over what stacks made in moto, whoever deployed them: `lab`, a journey, or `aws cloudformation` by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::Stacks;
use crate::endpoint::Endpoint;

/// How often the lab looks whether somebody else has changed stacks.
const LOOK: Duration = Duration::from_millis(500);

impl Stacks {
    /// Makes groups and schedules what moto says now. Groups that are gone end with their instances.
    ///
    /// # Errors
    /// moto does not answer; something that the lab cannot run.
    pub async fn take_over(&self) -> Result<()> {
        let definitions = self.readback.groups().await?;
        let gone = self.groups.all().into_iter().map(|g| g.definition.name);
        for name in gone.filter(|n| !definitions.iter().any(|d| d.name == *n)) {
            self.groups.remove(&name).await;
        }
        for definition in definitions {
            self.groups.define(definition);
        }
        self.schedules.set(self.readback.schedules().await?).await?;
        self.urls.set(self.readback.function_urls().await?).await
    }

    /// Takes over what others change through the endpoint: `aws cloudformation` by hand, `make create-stack`.
    pub async fn follow(self: Arc<Self>, endpoint: Arc<Endpoint>) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            let changes =
                endpoint.calls().iter().filter(|c| changes_stacks(&c.action)).map(|c| c.count).sum();
            if changes == seen {
                continue;
            }
            match self.take_over().await {
                Ok(()) => seen = changes,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "stacks are not taken over yet"),
            }
        }
    }
}

/// Calls that change what the lab runs in moto's place.
fn changes_stacks(action: &str) -> bool {
    const CHANGES: [&str; 9] = [
        "cloudformation:CreateStack",
        "cloudformation:UpdateStack",
        "cloudformation:DeleteStack",
        "cloudformation:ExecuteChangeSet",
        "autoscaling:CreateAutoScalingGroup",
        "autoscaling:DeleteAutoScalingGroup",
        "events:PutRule",
        "events:PutTargets",
        "lambda:UpdateFunctionConfiguration",
    ];
    CHANGES.contains(&action)
}
