//! How images are told to the world: tags that say where an image came from, and SSM parameters that name the latest image
//! of each template.

use std::collections::BTreeMap;

use aws::{CallError, Session};

use crate::config::Publish;
use crate::packer::output::Image;
use crate::problem::Problem;
use crate::repository::shown;

/// Tags and parameters.
#[derive(Debug)]
pub struct Publisher {
    session: Session,
    repository: String,
    settings: Option<Publish>,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy)]
pub struct Provenance<'a> {
    /// The template.
    pub template: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// The execution's id.
    pub execution: &'a str,
}

impl Publisher {
    /// Publishes as `settings` say; not at all where there are none.
    #[must_use]
    pub fn new(session: &Session, repository: &str, settings: Option<&Publish>) -> Self {
        Self { session: session.clone(), repository: shown(repository), settings: settings.cloned() }
    }

    /// Tells of images; the second time does no harm. Returns what was done, in words.
    ///
    /// # Errors
    /// EC2 or SSM refuses, or does not answer.
    pub async fn publish(
        &self,
        images: &[Image],
        provenance: &Provenance<'_>,
    ) -> Result<Vec<String>, Problem> {
        let mut told = Vec::new();
        let Some(settings) = &self.settings else { return Ok(told) };
        for image in images {
            self.tag(image, provenance).await?;
        }
        let Some(prefix) = &settings.parameters else { return Ok(told) };
        for ((region, name), id) in parameters(prefix, provenance.template, images) {
            let call = self.session.in_region(&region).ssm().put_parameter().name(&name).value(&id);
            let call = call.r#type(aws::ssm::types::ParameterType::String).overwrite(true);
            call.send().await.map_err(|error| {
                Problem::of_call("publish", &CallError::new(&error, "ssm:PutParameter", &name))
            })?;
            told.push(format!("SSM parameter {name} in {region} is {id}"));
        }
        Ok(told)
    }

    async fn tag(&self, image: &Image, provenance: &Provenance<'_>) -> Result<(), Problem> {
        let tags = [
            ("tidemark:repository", self.repository.as_str()),
            ("tidemark:template", provenance.template),
            ("tidemark:commit", provenance.commit),
            ("tidemark:build", provenance.execution),
            ("tidemark:builder", &image.builder),
        ];
        let mut parameters = vec![("ResourceId.1".to_owned(), image.id.clone())];
        for (number, (key, value)) in (1..).zip(tags) {
            parameters.push((format!("Tag.{number}.Key"), key.to_owned()));
            parameters.push((format!("Tag.{number}.Value"), value.chars().take(256).collect()));
        }
        let answer = self.session.in_region(&image.region).ec2().call("CreateTags", parameters).await;
        answer.map(drop).map_err(|error| {
            Problem::of_call("publish", &CallError::new(&error, "ec2:CreateTags", &image.id))
        })
    }
}

/// Pure: the parameters of a template's images by region and name. A template with several builders has one for each,
/// below its own name; of several images of one builder and region the last holds.
fn parameters(prefix: &str, template: &str, images: &[Image]) -> BTreeMap<(String, String), String> {
    let stem = [".pkr.hcl", ".pkr.json", ".json", ".hcl"].iter().find_map(|end| template.strip_suffix(end));
    let stem = name(stem.unwrap_or(template));
    let builders: std::collections::BTreeSet<&str> =
        images.iter().map(|image| image.builder.as_str()).collect();
    let named = images.iter().map(|image| {
        let own = if builders.len() > 1 { format!("/{}", name(&image.builder)) } else { String::new() };
        ((image.region.clone(), format!("{prefix}/{stem}{own}")), image.id.clone())
    });
    named.collect()
}

/// As SSM takes names.
fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "/-_.".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(builder: &str, region: &str, id: &str) -> Image {
        Image { builder: builder.to_owned(), region: region.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn a_template_has_a_parameter_in_each_region() {
        let one = [image("a", "r1", "ami-1"), image("a", "r2", "ami-2")];
        let names = |template: &str, images: &[Image]| {
            let all = parameters("/tidemark/ami", template, images);
            all.into_iter().map(|((region, name), id)| format!("{region} {name} {id}")).collect::<Vec<_>>()
        };
        assert_eq!(
            names("web/base.json", &one),
            ["r1 /tidemark/ami/web/base ami-1", "r2 /tidemark/ami/web/base ami-2"]
        );
        assert_eq!(names("a b.pkr.hcl", &one[..1]), ["r1 /tidemark/ami/a-b ami-1"]);
        let two = [image("x", "r1", "ami-1"), image("amazon-ebs.y", "r1", "ami-2")];
        assert_eq!(
            names("w.json", &two),
            ["r1 /tidemark/ami/w/amazon-ebs.y ami-2", "r1 /tidemark/ami/w/x ami-1"]
        );
    }
}
