//! Settings that the user data names by reference (`s3://`, `ssm:`) can change while the instance runs.

use aws::{Imds, Session};

use crate::boot::identity::InstanceFile;
use crate::boot::{fetch, settings, user_data};
use crate::failure::Failure;
use crate::layout::Layout;

/// The settings as an instance that boots now would get them.
pub trait NewestSettings {
    /// Do they say something else than those that this instance booted with?
    ///
    /// # Errors
    /// When they cannot be read, or would stop a boot.
    fn have_changed(&self) -> impl Future<Output = Result<bool, Failure>>;
}

/// The settings of the instance's user data.
#[derive(Debug, Clone)]
pub struct UserDataSettings {
    session: Session,
    imds: Imds,
    layout: Layout,
}

impl UserDataSettings {
    /// Those of the instance with these paths.
    #[must_use]
    pub fn new(session: Session, imds: Imds, layout: Layout) -> Self {
        Self { session, imds, layout }
    }
}

impl NewestSettings for UserDataSettings {
    async fn have_changed(&self) -> Result<bool, Failure> {
        let user_data = self.imds.get("user-data").await?.unwrap_or_default();
        let parts = user_data::settings_parts(&user_data).map_err(|e| Failure::config(e.to_string()))?;
        if !parts.iter().any(|part| fetch::is_reference(part)) {
            return Ok(false);
        }
        // Read anew: a second boot may have taken the newest already.
        let booted = InstanceFile::read(&self.layout)?.and_then(|instance| instance.settings_digest);
        let mut resolved = Vec::with_capacity(parts.len());
        for part in parts {
            resolved.push(fetch::resolve(&self.session, part).await?);
        }
        let newest = settings::read(&resolved).map_err(|faults| Failure::config(faults.to_string()))?;
        Ok(booted.is_some_and(|digest| digest != newest.digest))
    }
}
