//! Launch templates, and what an instance is ordered with.

use futures::future::BoxFuture;

use super::model::{Definition, Distribution, TemplateRef};
use crate::instances::InstanceOrder;

/// What a launch template says about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchData {
    /// Version number, `$Latest` and `$Default` resolved.
    pub version: String,
    /// AMI id.
    pub image: String,
    /// Its own instance type.
    pub instance_type: String,
    /// Name of the instance profile's role.
    pub role: Option<String>,
    /// Decoded.
    pub user_data: Vec<u8>,
    /// Tags for instances.
    pub tags: Vec<(String, String)>,
}

/// Where launch templates are read.
pub trait LaunchTemplates: Send + Sync {
    /// The version that the group means, as it is now.
    fn read<'a>(&'a self, template: &'a TemplateRef) -> BoxFuture<'a, anyhow::Result<LaunchData>>;
}

/// The tag with the launch template's version.
pub(super) const VERSION_TAG: &str = "aws:ec2launchtemplate:version";

/// The tags are the template's, then the group's that go to instances, then AWS's own.
pub(super) fn order(definition: &Definition, zone: String, data: LaunchData) -> InstanceOrder {
    // Eight hexadecimal digits as EC2's older ids: paths of sockets below an instance's folder must stay short.
    let id = format!("i-{:08x}", rand::random::<u32>());
    let mut tags: std::collections::BTreeMap<String, String> = data.tags.into_iter().collect();
    let own = definition.tags.iter().filter(|t| t.at_launch).map(|t| (t.key.clone(), t.value.clone()));
    tags.extend(own);
    tags.insert("aws:autoscaling:groupName".to_owned(), definition.name.clone());
    tags.insert("aws:ec2launchtemplate:id".to_owned(), definition.template.id.clone());
    tags.insert(VERSION_TAG.to_owned(), data.version.clone());
    let instance_type = definition.types.first().cloned().unwrap_or(data.instance_type);
    InstanceOrder {
        id,
        zone,
        instance_type,
        image: data.image,
        role: data.role,
        user_data: data.user_data,
        tags,
        template: TemplateRef { version: data.version, ..definition.template.clone() },
        subnets: definition.subnets.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        spot: definition.mixed.as_ref().is_some_and(Distribution::is_spot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::laws::definition;

    fn ordered(change: impl FnOnce(&mut Definition)) -> InstanceOrder {
        let mut group = definition(0, 1);
        change(&mut group);
        let data = LaunchData {
            version: "12".into(),
            image: "ami-1".into(),
            instance_type: "t3.large".into(),
            role: None,
            user_data: Vec::new(),
            tags: Vec::new(),
        };
        order(&group, "us-east-1b".into(), data)
    }

    #[test]
    fn an_order_names_the_version_and_all_subnets() {
        let order = ordered(|group| {
            group.subnets = "subnet-a,subnet-b".into();
            group.template = TemplateRef { id: "lt-1".into(), name: "t".into(), version: "$Latest".into() };
        });
        assert_eq!((order.template.id.as_str(), order.template.version.as_str()), ("lt-1", "12"));
        assert_eq!(order.subnets, ["subnet-a", "subnet-b"]);
        assert!(ordered(|group| group.subnets.clear()).subnets.is_empty());
    }

    #[test]
    fn only_a_group_without_any_on_demand_share_is_of_spot_instances() {
        for (base, percentage, spot) in [(0, 0, true), (1, 0, false), (0, 100, false), (0, 50, false)] {
            let mixed = Distribution {
                on_demand_strategy: "prioritized".into(),
                on_demand_base: base,
                on_demand_percentage: percentage,
                spot_strategy: "lowest-price".into(),
            };
            assert_eq!(ordered(|group| group.mixed = Some(mixed)).spot, spot, "{base} {percentage}");
        }
        assert!(!ordered(|group| group.mixed = None).spot);
    }
}
