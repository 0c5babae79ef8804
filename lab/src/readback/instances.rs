//! The lab's instances in moto's EC2.

use anyhow::{Context, Result};
use roxmltree::Document;

use super::Readback;
use crate::instances::InstanceOrder;

/// The version of EC2's API.
const VERSION: (&str, &str) = ("Version", "2016-11-15");

impl Readback {
    /// Has EC2 run an instance of this id: launch template and group say with which disk, network, ports and key.
    ///
    /// # Errors
    /// EC2 refuses, for instance a subnet or a security group that is not there.
    pub async fn run_instance(&self, order: &InstanceOrder) -> Result<()> {
        let mut parameters: Vec<(String, &str)> = [
            ("Action", "RunInstances"),
            VERSION,
            ("MinCount", "1"),
            ("MaxCount", "1"),
            // Taken as its id: see `launch_as_the_template_says` in `moto_server.py`.
            ("ClientToken", &order.id),
            ("InstanceType", &order.instance_type),
            ("LaunchTemplate.LaunchTemplateId", &order.template.id),
            ("LaunchTemplate.Version", &order.template.version),
            ("TagSpecification.1.ResourceType", "instance"),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let subnet = self.subnet_of(order).await?;
        match &subnet {
            Some(subnet) => parameters.push(("SubnetId".to_owned(), subnet)),
            None => parameters.push(("Placement.AvailabilityZone".to_owned(), &order.zone)),
        }
        if order.spot {
            parameters.push(("InstanceMarketOptions.MarketType".to_owned(), "spot"));
        }
        for (index, (key, value)) in (1..).zip(&order.tags) {
            parameters.push((format!("TagSpecification.1.Tag.{index}.Key"), key));
            parameters.push((format!("TagSpecification.1.Tag.{index}.Value"), value));
        }
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.query("ec2", &parameters).await.with_context(|| format!("ec2:RunInstances of {}", order.id))?;
        Ok(())
    }

    /// `TerminateInstances`, `StopInstances` or `StartInstances` of one.
    ///
    /// # Errors
    /// EC2 refuses.
    pub async fn change_instance(&self, action: &str, id: &str) -> Result<()> {
        let parameters = [("Action", action), VERSION, ("InstanceId.1", id)];
        self.query("ec2", &parameters).await.with_context(|| format!("ec2:{action} of {id}"))?;
        Ok(())
    }

    /// The group's subnet in the instance's zone.
    async fn subnet_of(&self, order: &InstanceOrder) -> Result<Option<String>> {
        if order.subnets.is_empty() {
            return Ok(None);
        }
        let named: Vec<String> = (1..=order.subnets.len()).map(|n| format!("SubnetId.{n}")).collect();
        let zone = [("Filter.1.Name", "availability-zone"), ("Filter.1.Value.1", order.zone.as_str())];
        let parameters: Vec<(&str, &str)> = [("Action", "DescribeSubnets"), VERSION]
            .into_iter()
            .chain(zone)
            .chain(named.iter().map(String::as_str).zip(order.subnets.iter().map(String::as_str)))
            .collect();
        let xml = self.query("ec2", &parameters).await.context("ec2:DescribeSubnets of the group")?;
        let document = Document::parse(&xml)?;
        let found = document.descendants().find(|n| n.tag_name().name() == "subnetId");
        let found = found.and_then(|n| n.text()).map(|id| id.trim().to_owned());
        found.with_context(|| format!("no subnet of the group in {}", order.zone)).map(Some)
    }
}
