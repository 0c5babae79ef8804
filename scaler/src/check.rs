//! `scaler check`: the settings that hold, or all their faults. No call is made.

use std::fmt::Write as _;
use std::path::PathBuf;

use aws::StoredToken;
use jiff::Timestamp;

use crate::config::{Config, QueueConfig, TokenSource};
use crate::ports::Problem;
use crate::schedule::{Changes, Period};
use crate::settings::source::{Source, VARIABLE};

/// Arguments of `check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckOptions {
    /// Read the settings document from this file (`-`: from stdin) instead of SCALER_SETTINGS
    #[arg(long)]
    file: Option<PathBuf>,
}

/// A variable of this process.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints the settings that hold.
///
/// # Errors
/// All faults, or the document cannot be read here.
#[expect(clippy::print_stdout, reason = "the settings are what was asked for")]
pub fn check(options: &CheckOptions, now: Timestamp) -> Result<(), Problem> {
    let document = match &options.file {
        Some(file) => Some(read(file)?),
        None => match Source::of_environment(&environment)? {
            Some(Source::Parameter(name)) => {
                return Err(Problem::new(
                    78,
                    format!(
                        "{VARIABLE} is `ssm:{name}`, and check makes no call: give the document, \
                         aws ssm get-parameter --with-decryption --query Parameter.Value --output text \
                         --name {name} | scaler check --file -"
                    ),
                ));
            }
            Some(Source::Inline(text)) => Some(text),
            None => None,
        },
    };
    let config = Config::read(&environment, document.as_deref())
        .map_err(|faults| Problem::new(78, faults.to_string()))?;
    print!("{}", shown(&config, now));
    Ok(())
}

fn read(file: &PathBuf) -> Result<String, Problem> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| Problem::new(78, format!("settings document {}: {error}", file.display())))
}

/// The settings as a document: read again, it says the same.
fn shown(config: &Config, now: Timestamp) -> String {
    let mut text = String::new();
    let process =
        [("metrics", config.publish.to_string()), ("interval", format!("{}ms", config.interval.as_millis()))];
    for (key, value) in process {
        line(&mut text, key, &value);
    }
    if let [queue] = config.queues.as_slice() {
        return text + &shown_queue(queue, now);
    }
    text.push_str("queues:\n");
    for queue in &config.queues {
        for (index, line) in shown_queue(queue, now).lines().enumerate() {
            text.push_str(if index == 0 { "  - " } else { "    " });
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    // A `String` takes all that is written.
    let _ = writeln!(text, "{key}: {value}");
}

fn shown_queue(config: &QueueConfig, now: Timestamp) -> String {
    let QueueConfig { policy, patience, .. } = config;
    let mut text = String::new();
    let mut line = |key: &str, value: String| line(&mut text, key, &value);
    line("queue", quoted(&config.queue));
    line(
        "groups",
        format!("[{}]", config.groups.iter().map(|group| quoted(group)).collect::<Vec<_>>().join(", ")),
    );
    line("endpoint", quoted(&config.endpoint));
    match &config.token {
        TokenSource::Given(_) => line("# token", "given in BUILDKITE_AGENT_TOKEN".to_owned()),
        TokenSource::Stored(StoredToken::SecretsManager(id)) => {
            line("token", format!("{{ secret: {} }}", quoted(id)));
        }
        TokenSource::Stored(StoredToken::Parameter(name)) => {
            line("token", format!("{{ parameter: {} }}", quoted(name)));
        }
    }
    line("job-source", config.job_source.name().to_owned());
    if let Some(tags) = &config.agent_tags {
        line(
            "agent-tags",
            format!("[{}]", tags.iter().map(|tag| quoted(tag)).collect::<Vec<_>>().join(", ")),
        );
    }
    line("agents-per-instance", policy.agents_per_instance.to_string());
    line("instance-buffer", policy.instance_buffer.to_string());
    line("idle-instances", policy.idle_instances.to_string());
    line("min-instances", policy.min_instances.to_string());
    match config.most {
        u32::MAX => line("# max-instances", "as the groups' own".to_owned()),
        most => line("max-instances", most.to_string()),
    }
    match config.prices.as_slice() {
        [] => {}
        prices => {
            let prices: Vec<String> = prices.iter().map(ToString::to_string).collect();
            line("hourly-price", format!("[{}]", prices.join(", ")));
        }
    }
    line("include-waiting", policy.include_waiting.to_string());
    line("scale-in", policy.scale_in.to_string());
    line("scale-out", policy.scale_out.to_string());
    line("launch-patience", format!("{}ms", patience.launch.as_millis()));
    line("shortage-retry-after", format!("{}ms", patience.retry_after.as_millis()));
    line("probe-after", format!("{}ms", config.probe_after.as_millis()));
    if !config.schedule.periods.is_empty() {
        line("time-zone", quoted(config.schedule.zone.iana_name().unwrap_or("UTC")));
        // A `String` takes all that is written, here and below.
        let _ = writeln!(text, "periods:");
        for period in &config.schedule.periods {
            periods(&mut text, period);
        }
        let holds = config.schedule.period_at(now).map_or("none", |period| &period.name);
        let _ = writeln!(text, "# at {now:.0} the period that holds is: {}", quoted(holds));
    }
    text
}

fn periods(text: &mut String, period: &Period) {
    let Changes { idle_instances, instance_buffer, min_instances, max_instances, scale_in } = period.changes;
    let when: Vec<String> = period.when.iter().map(|cron| quoted(cron.text())).collect();
    // A `String` takes all that is written, here and below.
    let _ = writeln!(text, "  - name: {}\n    when: [{}]", quoted(&period.name), when.join(", "));
    let numbers = [
        ("idle-instances", idle_instances),
        ("instance-buffer", instance_buffer),
        ("min-instances", min_instances),
        ("max-instances", max_instances),
    ];
    for (key, number) in numbers.into_iter().filter_map(|(key, number)| Some((key, number?))) {
        let _ = writeln!(text, "    {key}: {number}");
    }
    if let Some(scale_in) = scale_in {
        let _ = writeln!(text, "    scale-in: {scale_in}");
    }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "
queue: linux
groups: [ci-spot, ci-instances]
endpoint: https://ci.example/v3/
token: { secret: 'arn:aws:secretsmanager:x' }
job-source: stacks
agent-tags: docker=true, os=debian
agents-per-instance: 2
idle-instances: 1
max-instances: 20
hourly-price: [0.0312, 0.0912]
launch-patience: 90s
interval: 5
time-zone: europe/berlin
periods:
  - name: office
    when: '* 8-17 * * mon-fri'
    idle-instances: 3
  - when: ['* 22-23 * * *', '* 0-4 * * *']
    max-instances: 4
    scale-in: false
";

    fn read(document: &str) -> Config {
        Config::read(&|_| None, Some(document)).unwrap()
    }

    #[test]
    fn what_holds_is_shown_as_a_document_that_says_the_same() {
        let now = "2026-11-23T07:00:00Z".parse().unwrap();
        let config = read(DOCUMENT);
        let text = shown(&config, now);
        insta::assert_snapshot!(text);
        assert_eq!(format!("{:?}", read(&text)), format!("{config:?}"));
    }
}
