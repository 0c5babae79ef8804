//! Settings, read once: kiln's `config.yml` as it is (seed-systems.md §1.1), and sections of our own beside kiln's six.
//! All faults are told at once, each with its setting's name.

mod section;
pub mod shown;
pub mod source;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::problem::Problem;
use section::Section;

/// A message can be hidden for twelve hours in all, so no build may take longer.
const LONGEST_BUILD: Duration = Duration::from_hours(11);

/// A dead worker's build shall not wait for longer than an hour.
const LONGEST_HEARTBEAT: Duration = Duration::from_mins(5);

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where AWS calls go.
    pub aws: AwsPlace,
    /// What is logged.
    pub log_level: LogLevel,
    /// Where messages come from.
    pub queue: Queue,
    /// Packer.
    pub packer: PackerSettings,
    /// The repository of templates.
    pub templates: Templates,
    /// The audit bucket.
    pub audit_bucket: String,
    /// How builds are done.
    pub builds: Builds,
    /// Where builds' logs go.
    pub logs: Logs,
    /// How images are told to the world; none: only by audits, as kiln did.
    pub publish: Option<Publish>,
}

/// Region and profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsPlace {
    /// The region; the environment's where none is given.
    pub region: Option<String>,
    /// A profile of the AWS configuration files.
    pub profile: Option<String>,
}

/// What is logged; PHP's eight levels as kiln took them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Also what may become one.
    Warning,
    /// Also what is done.
    Info,
    /// All.
    Debug,
}

/// The queue of builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queue {
    /// By its URL.
    Url(String),
    /// By its name, as kiln up to v3.2.0 had it.
    Name(String),
}

/// Packer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackerSettings {
    /// The program.
    pub program: PathBuf,
    /// The template's variables `aws_access_key` and `aws_secret_key`, where both are set.
    pub keys: Option<StaticKeys>,
}

/// Static keys of AWS.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticKeys {
    /// `AKIA…`
    pub access: String,
    /// The secret.
    pub secret: String,
}

impl std::fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StaticKeys(…)")
    }
}

/// The repository of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Its URL.
    pub repository: String,
    /// Where its mirror and the builds' files lie.
    pub folder: PathBuf,
    /// The secret that holds a deploy key.
    pub deploy_key: Option<String>,
    /// The secret that holds an HTTPS token.
    pub token: Option<String>,
}

/// How builds are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builds {
    /// The table of builds; none: a message that comes twice is built twice.
    pub table: Option<String>,
    /// Builds beside each other.
    pub parallel: usize,
    /// The longest that one may take.
    pub patience: Duration,
    /// From one sign of life of a build to the next. A worker that gave none for 3.5 of these is taken for dead; its message
    /// is seen again after 12.
    pub heartbeat: Duration,
    /// How often a message is tried.
    pub attempts: u32,
    /// Variables of all templates that declare them.
    pub variables: std::collections::BTreeMap<String, String>,
}

/// How images are told to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// SSM parameters of the latest images are below this path; none: there are no parameters.
    pub parameters: Option<String>,
}

/// Where builds' logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The group of CloudWatch Logs; none: only the files.
    pub group: Option<String>,
    /// The stream; the instance's id where none is given.
    pub stream: Option<String>,
    /// Where kiln's daily files lie; none: nowhere.
    pub folder: Option<PathBuf>,
}

impl Config {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no YAML, or all that is wrong in it, a line each.
    pub fn parse(yaml: &str) -> Result<Self, Problem> {
        let value: Value = serde_saphyr::from_str(yaml)
            .map_err(|error| Problem::new(78, format!("configuration: no YAML: {error}")))?;
        let mut faults = Vec::new();
        let config = Self::read(&value, &mut faults);
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => {
                let lines = faults.into_iter().map(|fault| format!("configuration: {fault}"));
                Err(Problem::new(78, lines.collect::<Vec<_>>().join("\n")))
            }
        }
    }

    fn read(value: &Value, faults: &mut Vec<String>) -> Option<Self> {
        if !value.is_object() {
            faults.push("there are no settings in it".to_owned());
            return None;
        }
        let aws = aws_place(&mut Section::of(value, "awsConfig", faults));
        let log_level = log_level(&mut Section::of(value, "appConfig", faults));
        let queue = queue(&mut Section::of(value, "sqsConfig", faults));
        let packer = packer(&mut Section::of(value, "packer", faults));
        let templates = templates(&mut Section::of(value, "templates", faults));
        let audit_bucket = Section::of(value, "executionDigest", faults).needed("bucketName");
        let builds = builds(&mut Section::of(value, "builds", faults));
        let logs = logs(&mut Section::of(value, "logs", faults));
        let publish = publish(&mut Section::of(value, "publish", faults));
        Some(Self {
            aws,
            log_level,
            queue: queue?,
            packer,
            templates: templates?,
            audit_bucket: audit_bucket?,
            builds,
            logs,
            publish,
        })
    }
}

fn aws_place(section: &mut Section<'_>) -> AwsPlace {
    AwsPlace { region: section.text("region"), profile: section.text("profile") }
}

fn log_level(section: &mut Section<'_>) -> LogLevel {
    match section.text("logLevel").unwrap_or_else(|| "debug".to_owned()).to_ascii_lowercase().as_str() {
        "emergency" | "alert" | "critical" | "error" => LogLevel::Error,
        "warning" => LogLevel::Warning,
        "notice" | "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        other => {
            section.fault("logLevel", format!("{other:?} is no level: error, warning, info or debug"));
            LogLevel::Debug
        }
    }
}

fn queue(section: &mut Section<'_>) -> Option<Queue> {
    let name = section.text("amiBuildRequestQueueName").map(Queue::Name);
    let Some(url) = section.text("amiBuildRequestQueueUrl") else {
        if name.is_none() {
            section.fault("amiBuildRequestQueueUrl", "is missing: give the queue's URL".to_owned());
        }
        return name;
    };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        section.fault("amiBuildRequestQueueUrl", format!("{url:?} is no URL"));
        return None;
    }
    Some(Queue::Url(url))
}

fn packer(section: &mut Section<'_>) -> PackerSettings {
    let program = section.text("executablePath").unwrap_or_else(|| "packer".to_owned());
    let (access, secret) = (section.text("awsAccessKey"), section.text("awsSecretKey"));
    if access.is_some() != secret.is_some() {
        section.fault("awsAccessKey", "and awsSecretKey are given both or neither".to_owned());
    }
    let keys = access.zip(secret).map(|(access, secret)| StaticKeys { access, secret });
    PackerSettings { program: program.into(), keys }
}

fn templates(section: &mut Section<'_>) -> Option<Templates> {
    let repository = section.needed("templatesRepo")?;
    if repository.starts_with('-') || repository.contains("::") || repository.chars().any(char::is_whitespace)
    {
        section.fault("templatesRepo", format!("{repository:?} is no URL of a repository"));
        return None;
    }
    let folder = section.text("checkoutPath").unwrap_or_else(|| "/var/lib/tidemark/templates".to_owned());
    let (deploy_key, token) = (section.text("deployKeySecret"), section.text("tokenSecret"));
    if deploy_key.is_some() && token.is_some() {
        section.fault("deployKeySecret", "and tokenSecret are given both: one of them is used".to_owned());
    }
    Some(Templates { repository, folder: folder.into(), deploy_key, token })
}

fn builds(section: &mut Section<'_>) -> Builds {
    let parallel = section.number("parallel", 1..=64).unwrap_or(1);
    Builds {
        table: section.text("table"),
        parallel: usize::try_from(parallel).unwrap_or(1),
        patience: section.duration("timeout", LONGEST_BUILD).unwrap_or(Duration::from_hours(4)),
        heartbeat: section.duration("heartbeat", LONGEST_HEARTBEAT).unwrap_or(Duration::from_secs(10)),
        attempts: section.number("attempts", 1..=100).unwrap_or(3),
        variables: section.texts("variables"),
    }
}

fn publish(section: &mut Section<'_>) -> Option<Publish> {
    if !section.is_there() {
        return None;
    }
    let path = section.text("parameters").unwrap_or_else(|| "/tidemark/ami".to_owned());
    let fine = path.starts_with('/') && path.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.".contains(c));
    if !fine && path != "none" {
        section.fault("parameters", format!("is {path:?}: give a path as /tidemark/ami, or none"));
    }
    Some(Publish { parameters: Some(path.trim_end_matches('/').to_owned()).filter(|path| path != "none") })
}

fn logs(section: &mut Section<'_>) -> Logs {
    let group = section.text("group").unwrap_or_else(|| "/kiln/logs/app".to_owned());
    Logs {
        group: Some(group).filter(|group| group != "none"),
        stream: section.text("stream"),
        folder: section.text("folder").map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests;
