//! Where the settings come from: a file, `s3://bucket/key`, or kiln's place; and what the command line says beside them.

use std::path::PathBuf;
use std::time::Duration;

use aws::session::Patience;
use aws::{CallError, Session};

use super::{AwsPlace, Config};
use crate::problem::Problem;

/// kiln's place, from where it was started.
pub const DEFAULT: &str = "./config/config.yml";

/// The largest that settings may be, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--config`
    pub config: Option<String>,
    /// `--awsRegion`, which wins over the file's.
    pub region: Option<String>,
    /// `--awsProfile`, which wins over the file's.
    pub profile: Option<String>,
}

/// Settings, and a session in their region with their profile.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where calls go.
    pub session: Session,
}

impl Given {
    /// Reads the settings, wherever they lie, and opens a session. The region of settings in S3 need not be known before:
    /// the bucket's own is found.
    ///
    /// # Errors
    /// They are not there, cannot be read, or are wrong; there is no region.
    pub async fn load(&self) -> Result<Loaded, Problem> {
        let place = self.config.as_deref().map_or(DEFAULT, |given| given.trim_matches([' ', '\'']));
        let text = match place.strip_prefix("s3://") {
            Some(object) => self.of_bucket(place, object).await?,
            None => of_file(place)?,
        };
        let mut config = Config::parse(&text)?;
        config.aws = AwsPlace {
            region: self.region.clone().or(config.aws.region),
            profile: self.profile.clone().or(config.aws.profile),
        };
        let session = session(&config.aws).await?;
        Ok(Loaded { config, session })
    }

    async fn of_bucket(&self, place: &str, object: &str) -> Result<String, Problem> {
        let (bucket, key) = object
            .split_once('/')
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .ok_or_else(|| Problem::new(78, format!("configuration {place}: give s3://bucket/key")))?;
        // Any region will do to ask which one the bucket is in.
        let asked = AwsPlace { region: self.region.clone(), profile: self.profile.clone() };
        let session = match session(&asked).await {
            Ok(session) => session,
            Err(_) => session(&AwsPlace { region: Some("us-east-1".to_owned()), ..asked }).await?,
        };
        match object_text(&session, bucket, key, place).await {
            Err((Some(region), _)) if region != session.region() => {
                object_text(&session.in_region(&region), bucket, key, place).await
            }
            other => other,
        }
        .map_err(|(_, problem)| problem)
    }
}

/// Bounds of calls. Nobody waits for these as a job does, and an attempt must outlast the queue's long poll.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(40),
    operation: Duration::from_mins(3),
    attempts: 5,
};

/// A session at this place.
///
/// # Errors
/// There is no region.
pub async fn session(place: &AwsPlace) -> Result<Session, Problem> {
    let loaded = Session::of_profile(place.profile.as_deref(), place.region.as_deref(), PATIENCE).await;
    loaded.map_err(|error| Problem::new(78, format!("{error}, or give awsConfig.region or --awsRegion")))
}

fn of_file(place: &str) -> Result<String, Problem> {
    let path = PathBuf::from(place);
    std::fs::read_to_string(&path).map_err(|error| {
        Problem::new(78, format!("configuration {place}: {error}; make one with `image-builder config init`"))
    })
}

/// An object's text; a failure may say in which region the bucket really is.
async fn object_text(
    session: &Session,
    bucket: &str,
    key: &str,
    place: &str,
) -> Result<String, (Option<String>, Problem)> {
    let answer = session.s3().get_object().bucket(bucket).key(key).send().await;
    let answer = answer.map_err(|error| {
        let error = CallError::new(&error, "s3:GetObject", place);
        (error.bucket_region.clone(), Problem::of_call("configuration", &error))
    })?;
    let failed = |why: &str| (None, Problem::new(78, format!("configuration {place}: {why}")));
    if answer
        .content_length()
        .is_some_and(|length| usize::try_from(length).unwrap_or(usize::MAX) > MOST_BYTES)
    {
        return Err(failed("it is larger than 256 KiB"));
    }
    let bytes = answer.body.collect().await.map_err(|error| failed(&format!("it broke off: {error}")))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| failed("it is no text"))
}

#[cfg(test)]
mod tests {
    use super::PATIENCE;
    use crate::queue::LONG_POLL;

    /// It did not once, and each look at an empty queue failed after ten seconds.
    #[test]
    fn an_attempt_outlasts_the_long_poll() {
        assert!(PATIENCE.attempt > LONG_POLL + PATIENCE.connect);
        assert!(PATIENCE.operation > PATIENCE.attempt);
    }
}
