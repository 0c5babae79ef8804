//! The settings that hold, in the form in which they are given; secrets are not among them.

use super::{Config, LogLevel, Queue};
use crate::audit::emitter::{Node, emit};

/// All settings, also those that nobody gave.
#[must_use]
pub fn shown(config: &Config, region: &str) -> String {
    let text = |text: &str| Node::text(text);
    let or_none = |text: Option<&str>| Node::text(text.unwrap_or("none"));
    let number = |number: u64| Node::Seconds(std::time::Duration::from_secs(number).as_secs_f64());
    let section =
        |keys: Vec<(&str, Node)>| Node::Map(keys.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    let level = match config.log_level {
        LogLevel::Error => "error",
        LogLevel::Warning => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let queue = match &config.queue {
        Queue::Url(url) => ("amiBuildRequestQueueUrl", text(url)),
        Queue::Name(name) => ("amiBuildRequestQueueName", text(name)),
    };
    let (templates, builds, logs) = (&config.templates, &config.builds, &config.logs);
    let seconds = |time: std::time::Duration| Node::text(format!("{}s", time.as_secs()));
    let variables = builds.variables.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let keys = if config.packer.keys.is_some() { "given" } else { "none" };
    let mut sections = vec![
        (
            "awsConfig",
            section(vec![("region", text(region)), ("profile", or_none(config.aws.profile.as_deref()))]),
        ),
        ("appConfig", section(vec![("logLevel", text(level))])),
        ("sqsConfig", section(vec![queue])),
        (
            "packer",
            section(vec![
                ("executablePath", text(&config.packer.program.display().to_string())),
                ("awsAccessKey", text(keys)),
            ]),
        ),
        (
            "templates",
            section(vec![
                ("templatesRepo", text(&crate::repository::shown(&templates.repository))),
                ("checkoutPath", text(&templates.folder.display().to_string())),
                ("deployKeySecret", or_none(templates.deploy_key.as_deref())),
                ("tokenSecret", or_none(templates.token.as_deref())),
            ]),
        ),
        ("executionDigest", section(vec![("bucketName", text(&config.audit_bucket))])),
        (
            "builds",
            section(vec![
                ("table", or_none(builds.table.as_deref())),
                ("parallel", number(builds.parallel.try_into().unwrap_or(u64::MAX))),
                ("timeout", seconds(builds.patience)),
                ("attempts", number(builds.attempts.into())),
                ("heartbeat", seconds(builds.heartbeat)),
                ("variables", section(variables)),
            ]),
        ),
        (
            "logs",
            section(vec![
                ("group", or_none(logs.group.as_deref())),
                ("stream", text(logs.stream.as_deref().unwrap_or("the instance's id"))),
                ("folder", or_none(logs.folder.as_ref().and_then(|folder| folder.to_str()))),
            ]),
        ),
    ];
    if let Some(publish) = &config.publish {
        sections.push(("publish", section(vec![("parameters", or_none(publish.parameters.as_deref()))])));
    }
    let sections: Vec<_> = sections.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
    emit(&sections)
}
