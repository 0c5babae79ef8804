//! Launch templates and instance profiles, from moto's XML.

use anyhow::{Context, Result, bail};
use base64::Engine;
use futures::future::BoxFuture;
use roxmltree::{Document, Node};

use super::Readback;
use crate::group::launch::{LaunchData, LaunchTemplates};
use crate::group::model::TemplateRef;

impl LaunchTemplates for Readback {
    fn read<'a>(&'a self, template: &'a TemplateRef) -> BoxFuture<'a, Result<LaunchData>> {
        Box::pin(async move {
            let xml = self
                .query(
                    "ec2",
                    &[
                        ("Action", "DescribeLaunchTemplateVersions"),
                        ("Version", "2016-11-15"),
                        ("LaunchTemplateId", &template.id),
                        ("LaunchTemplateVersion.1", &template.version),
                    ],
                )
                .await?;
            let (mut data, profile) = launch_data(&xml)?;
            if let Some(profile) = profile {
                data.role = Some(self.role_of(&profile).await?);
            }
            Ok(data)
        })
    }
}

impl Readback {
    /// The role in an instance profile, named by ARN or name.
    async fn role_of(&self, profile: &str) -> Result<String> {
        let name = profile.rsplit('/').next().unwrap_or(profile);
        let parameters =
            [("Action", "GetInstanceProfile"), ("Version", "2010-05-08"), ("InstanceProfileName", name)];
        let xml = self.query("iam", &parameters).await?;
        let document = Document::parse(&xml)?;
        let role = document.descendants().find(|n| n.has_tag_name_of("RoleName"));
        role.and_then(|n| n.text())
            .map(str::to_owned)
            .with_context(|| format!("instance profile {name} has no role"))
    }
}

/// Names without their namespace.
trait ByName {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl ByName for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|n| n.has_tag_name_of(name))
}

fn child_text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).and_then(|n| n.text()).map(|t| t.trim().to_owned())
}

/// The newest version in the answer (versions that are numbers were asked for alone), and its instance profile.
fn launch_data(xml: &str) -> Result<(LaunchData, Option<String>)> {
    let document = Document::parse(xml)?;
    let set = document.descendants().find(|n| n.has_tag_name_of("launchTemplateVersionSet"));
    let versions = set.into_iter().flat_map(|s| s.children().filter(|n| n.has_tag_name_of("item")));
    let number = |n: &Node<'_, '_>| child_text(*n, "versionNumber").and_then(|v| v.parse::<u64>().ok());
    let Some(version) = versions.max_by_key(number) else { bail!("the launch template has no such version") };
    let data = child(version, "launchTemplateData").context("a launch template without data")?;
    let user_data = child_text(data, "userData").unwrap_or_default();
    let packed: String = user_data.split_whitespace().collect();
    let user_data =
        base64::engine::general_purpose::STANDARD.decode(packed).context("user data is no base64")?;
    let profile = child(data, "iamInstanceProfile")
        .and_then(|p| child_text(p, "arn").or_else(|| child_text(p, "name")))
        .filter(|p| !p.is_empty());
    let read = LaunchData {
        version: child_text(version, "versionNumber").unwrap_or_default(),
        image: child_text(data, "imageId").unwrap_or_default(),
        instance_type: child_text(data, "instanceType").unwrap_or_default(),
        role: None,
        user_data,
        tags: tags(data),
    };
    Ok((read, profile))
}

/// The tags of the specification for instances.
fn tags(data: Node<'_, '_>) -> Vec<(String, String)> {
    let specifications = data.descendants().filter(|n| n.has_tag_name_of("item"));
    specifications
        .filter(|n| child_text(*n, "resourceType").as_deref() == Some("instance"))
        .flat_map(|n| n.descendants().filter(|t| t.has_tag_name_of("item") && child(*t, "key").is_some()))
        .filter_map(|t| Some((child_text(t, "key")?, child_text(t, "value").unwrap_or_default())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<R xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><launchTemplateVersionSet>
        <item><versionNumber>1</versionNumber><launchTemplateData><imageId>ami-old</imageId></launchTemplateData></item>
        <item><versionNumber>12</versionNumber><launchTemplateData>
          <imageId>ami-new</imageId><instanceType>t3.large</instanceType>
          <iamInstanceProfile><arn>arn:aws:iam::1:instance-profile/p</arn></iamInstanceProfile>
          <userData>aGVs
bG8=</userData>
          <tagSpecificationSet>
            <item><resourceType>volume</resourceType><tagSet><item><key>no</key><value>x</value></item></tagSet></item>
            <item><resourceType>instance</resourceType><tagSet><item><key>yes</key><value>y</value></item></tagSet></item>
          </tagSpecificationSet>
        </launchTemplateData></item></launchTemplateVersionSet></R>"#;

    #[test]
    fn the_newest_version_is_read_with_its_instance_tags() {
        let (data, profile) = launch_data(ANSWER).unwrap();
        assert_eq!((data.version.as_str(), data.image.as_str()), ("12", "ami-new"));
        assert_eq!(data.user_data, b"hello");
        assert_eq!(data.tags, [("yes".to_owned(), "y".to_owned())]);
        assert_eq!(profile.as_deref(), Some("arn:aws:iam::1:instance-profile/p"));
    }

    #[test]
    fn no_version_is_said() {
        let none = r"<R><launchTemplateVersionSet></launchTemplateVersionSet></R>";
        assert!(launch_data(none).unwrap_err().to_string().contains("no such version"));
    }
}
