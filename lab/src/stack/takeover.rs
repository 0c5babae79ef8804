//! Takes over what stacks made in moto, whoever deployed them: `lab`, a journey, or `aws cloudformation` by hand.

use anyhow::Result;
use aws::CallError;

use super::Stacks;

impl Stacks {
    /// Makes groups, bucket policies and schedules what moto says now. Groups that are gone end with their
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
        self.bucket_policies().await?;
        self.schedules.set(self.readback.schedules().await?).await
    }

    /// moto's own reading of bucket policies knows no conditions, so they move to the endpoint, which does.
    async fn bucket_policies(&self) -> Result<()> {
        let s3 = self.session.s3();
        let buckets =
            s3.list_buckets().send().await.map_err(|e| CallError::new(&e, "s3:ListAllMyBuckets", "*"))?;
        for bucket in buckets.buckets().iter().filter_map(|b| b.name()) {
            if let Some(policy) = self.readback.take_bucket_policy(bucket).await? {
                let put = s3.put_bucket_policy().bucket(bucket).policy(policy).send().await;
                put.map_err(|e| CallError::new(&e, "s3:PutBucketPolicy", bucket))?;
            }
        }
        Ok(())
    }
}
