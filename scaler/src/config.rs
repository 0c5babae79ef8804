//! The environment and the settings document, read once. Names of variables are those of the scaler that users come from,
//! where it has them.

mod reader;

mod hints;

use std::collections::BTreeSet;
use std::time::Duration;

use aws::StoredToken;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::decide::Policy;
use crate::gap::ScalingMode;
use crate::job_counts::JobSource;
use crate::price::HourlyPrice;
use crate::schedule::{Changes, Effective, Schedule};
use crate::settings::{self, Document, QueueSettings};
use crate::sharing::FixedShare;
use crate::shortage::Patience;
pub use hints::HintSettings;
use reader::Reader;

/// Where the CI's agent token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// `BUILDKITE_AGENT_TOKEN`.
    Given(SecretString),
    /// `BUILDKITE_AGENT_TOKEN_SECRET` (Secrets Manager) or `BUILDKITE_AGENT_TOKEN_SSM_KEY`.
    Stored(StoredToken),
}

impl TokenSource {
    /// Is it the same token, from the same place?
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Given(one), Self::Given(other)) => one.expose_secret() == other.expose_secret(),
            (Self::Stored(one), Self::Stored(other)) => one == other,
            _ => false,
        }
    }
}

/// Everything the scaler is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Queue by queue.
    pub queues: Vec<QueueConfig>,
    /// Who changes desired capacity.
    pub mode: ScalingMode,
    /// Publish metrics to CloudWatch.
    pub publish: bool,
    /// From one publication to the next, at least.
    pub publish_every: Duration,
    /// The SSM parameter that tells instances that idle ones are kept; without one, that of the groups' stack.
    pub keeps_parameter: Option<String>,
    /// The DynamoDB table of the lease.
    pub state_table: Option<String>,
    /// From one tick to the next.
    pub interval: Duration,
    /// How long one invocation of the Lambda function goes on ticking.
    pub invocation: Duration,
    /// Push hints, where they have a secret.
    pub hints: Option<HintSettings>,
}

/// Queues that are read with one token at one endpoint.
#[derive(Debug)]
pub struct Source<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// Where the token comes from.
    pub token: &'a TokenSource,
    /// The queues.
    pub queues: Vec<&'a QueueConfig>,
}

/// What it is told of one queue.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Base URL of the agent API, without a slash at its end.
    pub endpoint: String,
    /// Where the token comes from.
    pub token: TokenSource,
    /// The queue whose jobs count.
    pub queue: String,
    /// Which of the CI's APIs tells of them.
    pub job_source: JobSource,
    /// What the queue's agents offer beside it, where that is said.
    pub agent_tags: Option<Vec<String>>,
    /// Names of the Auto Scaling groups, the cheapest first.
    pub groups: Vec<String>,
    /// Instances of all groups together, beyond each group's own maximum.
    pub most: u32,
    /// How long AWS may owe launches.
    pub patience: Patience,
    /// After three failed boots, the pause before another one is tried; later pauses are longer.
    pub probe_after: SignedDuration,
    /// The part of the queue's jobs that is for this account and region.
    pub share: FixedShare,
    /// What an instance of each group costs for an hour, where that is told.
    pub prices: Vec<HourlyPrice>,
    /// The owner's wishes, outside of all periods.
    pub policy: Policy,
    /// When something else is wanted.
    pub schedule: Schedule,
}

/// All faults of a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// `10s`, `2m`, `500ms`; a bare number is seconds, as in the peer's settings.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
    .filter(|d| !d.is_zero())
}

fn mode(text: &str) -> Option<ScalingMode> {
    match text {
        "direct" => Some(ScalingMode::Direct),
        "alarms" => Some(ScalingMode::Alarms),
        _ => None,
    }
}

impl Config {
    /// Reads all settings through `lookup`, and out of the document, if there is one.
    ///
    /// # Errors
    /// Every missing or malformed setting, each in a line with its name.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>, document: Option<&str>) -> Result<Self, Faults> {
        let (document, mut faults) = document.map(settings::read).unwrap_or_default();
        let Document { interval, metrics, queues } = document;
        let several = queues.len() > 1;
        let one = if queues.is_empty() { vec![QueueSettings::default()] } else { queues };
        let queues = one.into_iter().map(|queue| {
            let mut reader = Reader::new(lookup, &queue.path, several);
            let config = QueueConfig::read(&mut reader, queue);
            faults.append(&mut reader.faults);
            config
        });
        let queues = queues.collect();
        let mut reader = Reader::new(lookup, "", false);
        if several {
            reader.of_one_queue();
        }
        let config = Self {
            queues,
            mode: reader.parsed("SCALING_MODE", "direct or alarms", mode).unwrap_or_default(),
            publish: reader.flag("CLOUDWATCH_METRICS", "metrics", metrics).unwrap_or(true),
            publish_every: reader.duration("PUBLISH_EVERY", "", None, Duration::from_secs(60)),
            keeps_parameter: reader.text("KEEPS_PARAMETER"),
            state_table: reader.text("STATE_TABLE"),
            hints: reader.hints(),
            interval: reader.duration("LAMBDA_INTERVAL", "interval", interval, Duration::from_secs(10)),
            invocation: reader.duration("LAMBDA_TIMEOUT", "", None, Duration::from_secs(50)),
        };
        if !config.mode.is_direct() && !config.publish {
            let fault =
                "SCALING_MODE is `alarms` and CLOUDWATCH_METRICS is false: alarms see nothing but metrics";
            reader.faults.push(fault.to_owned());
        }
        faults.append(&mut reader.faults);
        // What holds for all queues was read for each.
        let mut told = BTreeSet::new();
        faults.retain(|fault| told.insert(fault.clone()));
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    /// The queues by the CI that has them.
    #[must_use]
    pub fn by_source(&self) -> Vec<Source<'_>> {
        let mut sources: Vec<Source<'_>> = Vec::new();
        for queue in &self.queues {
            let QueueConfig { endpoint, token, .. } = queue;
            match sources.iter_mut().find(|source| source.endpoint == endpoint && source.token.is(token)) {
                Some(source) => source.queues.push(queue),
                None => sources.push(Source { endpoint, token, queues: vec![queue] }),
            }
        }
        sources
    }
}

impl QueueConfig {
    fn read(reader: &mut Reader<'_>, queue: QueueSettings) -> Self {
        let of_periods = |what: fn(&Changes) -> Option<u32>| -> Vec<(String, Option<u32>)> {
            let periods = queue.schedule.periods.iter().enumerate();
            let path = |index| format!("{}periods[{index}].max-instances", queue.path);
            periods.map(|(index, period)| (path(index), what(&period.changes))).collect()
        };
        let most = reader.most(queue.max_instances, &of_periods(|changes| changes.max_instances));
        let any = |text: &str| Some(text.to_owned());
        let url = |text: &str| {
            let is_url = text.starts_with("https://") || text.starts_with("http://");
            is_url.then(|| text.trim_end_matches('/').to_owned())
        };
        let forbidden = |allowed: Option<bool>| allowed.map(|allowed| !allowed);
        let secs = SignedDuration::from_secs;
        let policy = Policy {
            agents_per_instance: reader
                .number("AGENTS_PER_INSTANCE", 1, "agents-per-instance", queue.agents_per_instance)
                .unwrap_or(1),
            instance_buffer: reader
                .number("INSTANCE_BUFFER", 0, "instance-buffer", queue.instance_buffer)
                .unwrap_or(0),
            idle_instances: queue.idle_instances.unwrap_or(0),
            min_instances: queue.min_instances.unwrap_or(0),
            include_waiting: reader
                .flag("INCLUDE_WAITING", "include-waiting", queue.include_waiting)
                .unwrap_or(false),
            scale_in: !reader
                .flag("DISABLE_SCALE_IN", "scale-in", forbidden(queue.scale_in))
                .unwrap_or(false),
            scale_out: !reader
                .flag("DISABLE_SCALE_OUT", "scale-out", forbidden(queue.scale_out))
                .unwrap_or(false),
        };
        let groups = reader.groups(queue.groups);
        let config = Self {
            prices: prices(reader, &queue.path, queue.hourly_price, groups.len()),
            endpoint: reader
                .either("BUILDKITE_AGENT_ENDPOINT", "a URL with https://", url, "endpoint", queue.endpoint)
                .unwrap_or_else(|| "https://agent.buildkite.com/v3".to_owned()),
            token: reader.token(queue.token),
            queue: reader
                .either("BUILDKITE_QUEUE", "the queue's name", any, "queue", queue.queue)
                .unwrap_or_else(|| "default".to_owned()),
            job_source: reader
                .either("JOB_SOURCE", JobSource::FORM, JobSource::parse, "job-source", queue.job_source)
                .unwrap_or_default(),
            agent_tags: queue.agent_tags,
            groups,
            most,
            patience: Patience {
                launch: reader.period("LAUNCH_PATIENCE", "launch-patience", queue.launch_patience, secs(60)),
                retry_after: reader.period(
                    "SHORTAGE_RETRY_AFTER",
                    "shortage-retry-after",
                    queue.shortage_retry_after,
                    secs(600),
                ),
            },
            probe_after: reader.period("PROBE_AFTER", "probe-after", queue.probe_after, secs(60)),
            share: reader
                .either(
                    "QUEUE_SHARE",
                    "a part like 40%, from 1% to 100%",
                    FixedShare::parse,
                    "share",
                    queue.share,
                )
                .unwrap_or_default(),
            policy,
            schedule: queue.schedule,
        };
        config.fits(&queue.path, &mut reader.faults);
        if config.agent_tags.is_some() && config.job_source == JobSource::Metrics {
            let fault = format!(
                "settings: {}agent-tags is set, but the metrics do not tell which agents jobs ask for: \
                 give job-source: stacks too",
                queue.path
            );
            reader.faults.push(fault);
        }
        config
    }

    /// No policy asks for more than it allows, at any time.
    fn fits(&self, path: &str, faults: &mut Vec<String>) {
        let mut fits = |path: String, min: u32, most: u32| {
            if min > most {
                faults.push(format!("settings: {path}min-instances is {min}, more than the maximum, {most}"));
            }
        };
        fits(path.to_owned(), self.policy.min_instances, self.most);
        for (index, period) in self.schedule.periods.iter().enumerate() {
            let Changes { min_instances, max_instances, .. } = period.changes;
            if min_instances.is_some() || max_instances.is_some() {
                let min = min_instances.unwrap_or(self.policy.min_instances);
                fits(format!("{path}periods[{index}]."), min, max_instances.unwrap_or(self.most));
            }
        }
    }

    /// What is wanted now: the policy, changed by the period that holds.
    #[must_use]
    pub fn effective_at(&self, now: Timestamp) -> Effective {
        self.schedule.policy_at(&self.policy, self.most, now)
    }
}

/// One price is that of all groups.
fn prices(
    reader: &mut Reader<'_>,
    path: &str,
    given: Option<Vec<HourlyPrice>>,
    groups: usize,
) -> Vec<HourlyPrice> {
    match given.as_deref() {
        None => Vec::new(),
        Some([one]) => vec![*one; groups],
        Some(each) => {
            if each.len() != groups {
                let prices = each.len();
                let fault = format!(
                    "settings: {path}hourly-price has {prices} prices, and there are {groups} groups"
                );
                reader.faults.push(fault);
            }
            each.to_vec()
        }
    }
}

#[cfg(test)]
mod tests;
