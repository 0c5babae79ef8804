//! Launch templates, and what an instance is ordered with.

use futures::future::BoxFuture;

use super::model::{Definition, TemplateRef};
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
    tags.insert(VERSION_TAG.to_owned(), data.version);
    let instance_type = definition.types.first().cloned().unwrap_or(data.instance_type);
    InstanceOrder {
        id,
        zone,
        instance_type,
        image: data.image,
        role: data.role,
        user_data: data.user_data,
        tags,
    }
}
