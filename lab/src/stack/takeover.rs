//! Takes over what stacks made in moto, whoever deployed them: `lab`, a journey, or `aws cloudformation` by hand.

use anyhow::Result;

use super::Stacks;

impl Stacks {
    /// Makes groups and schedules what moto says now. Groups that are gone end with their
    /// instances.
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
        self.schedules.set(self.readback.schedules().await?).await
    }
}
