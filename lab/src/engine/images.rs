//! Images that an engine keeps.

use anyhow::{Context, Result};
use bollard::errors::Error;
use bollard::query_parameters::RemoveImageOptions;

use super::Engine;

impl Engine {
    /// Is there such an image?
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn has_image(&self, image: &str) -> Result<bool> {
        match self.docker().inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("look at image {image}")),
        }
    }

    /// Removes an image's name, and the image with its last name. Harmless for one that is gone.
    ///
    /// # Errors
    /// A container still uses it.
    pub async fn remove_image(&self, image: &str) -> Result<()> {
        match self.docker().remove_image(image, None::<RemoveImageOptions>, None).await {
            Ok(_) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("remove image {image}")),
        }
    }

    /// The label that an image was made with; none when there is no such image, or no such label.
    pub(super) async fn image_label(&self, image: &str, label: &str) -> Result<Option<String>> {
        match self.docker().inspect_image(image).await {
            Ok(found) => Ok(found.config.and_then(|config| config.labels?.remove(label))),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("look at image {image}")),
        }
    }
}
