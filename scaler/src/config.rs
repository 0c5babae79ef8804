//! The environment, read once. Names are those of the scaler that users come from, where it has them.

mod hints;

use std::time::Duration;

use aws::StoredToken;
use jiff::SignedDuration;
use secrecy::SecretString;

use crate::decide::Policy;
use crate::gap::ScalingMode;
use crate::shortage::Patience;
pub use hints::HintSettings;

/// Where the CI's agent token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// `BUILDKITE_AGENT_TOKEN`.
    Given(SecretString),
    /// `BUILDKITE_AGENT_TOKEN_SECRET` (Secrets Manager) or `BUILDKITE_AGENT_TOKEN_SSM_KEY`.
    Stored(StoredToken),
}

/// Everything the scaler is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base URL of the agent API, without a slash at its end.
    pub endpoint: String,
    /// Where the token comes from.
    pub token: TokenSource,
    /// The queue whose jobs count.
    pub queue: String,
    /// Names of the Auto Scaling groups, the cheapest first.
    pub groups: Vec<String>,
    /// Instances of all groups together, beyond each group's own maximum.
    pub most: u32,
    /// How long AWS may owe launches.
    pub patience: Patience,
    /// After three failed boots, the pause before another one is tried; later pauses are longer.
    pub probe_after: SignedDuration,
    /// The owner's wishes.
    pub policy: Policy,
    /// Who changes desired capacity.
    pub mode: ScalingMode,
    /// Publish metrics to CloudWatch.
    pub publish: bool,
    /// From one publication to the next, at least.
    pub publish_every: Duration,
    /// From one tick to the next.
    pub interval: Duration,
    /// How long one invocation of the Lambda function goes on ticking.
    pub invocation: Duration,
    /// Push hints, where they have a secret.
    pub hints: Option<HintSettings>,
}

/// All faults of a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// Collects faults while settings are read, so that all are reported at once.
struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    fn required(&mut self, name: &str, what: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.faults.push(format!("{name} is not set: give {what}"));
            String::new()
        })
    }

    fn parsed<T>(&mut self, name: &str, default: T, form: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(&text).unwrap_or_else(|| {
            self.faults.push(format!("{name} is `{text}`: give {form}"));
            default
        })
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        self.parsed(name, default, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// `ASG_NAME`: one name, or several with commas between them.
    fn groups(&mut self) -> Vec<String> {
        let names = self
            .required("ASG_NAME", "the Auto Scaling group's name, or names with commas, the cheapest first");
        let groups: Vec<String> =
            names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let different: std::collections::BTreeSet<&String> = groups.iter().collect();
        if different.len() < groups.len() {
            self.faults.push(format!("ASG_NAME is `{names}`: a group stands there twice"));
        }
        groups
    }

    fn period(&mut self, name: &str, default: &str) -> SignedDuration {
        let default = duration(default).unwrap_or_default();
        let period = self.parsed(name, default, "a duration like 60s", duration);
        SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX)
    }

    fn token(&mut self) -> TokenSource {
        let given = self.text("BUILDKITE_AGENT_TOKEN").map(|t| TokenSource::Given(t.into()));
        let secret = self.text("BUILDKITE_AGENT_TOKEN_SECRET").map(StoredToken::SecretsManager);
        let parameter = self.text("BUILDKITE_AGENT_TOKEN_SSM_KEY").map(StoredToken::Parameter);
        let stored = [secret, parameter].into_iter().flatten().map(TokenSource::Stored);
        let mut sources: Vec<TokenSource> = given.into_iter().chain(stored).collect();
        if sources.len() != 1 {
            self.faults.push(format!(
                "{} of BUILDKITE_AGENT_TOKEN, BUILDKITE_AGENT_TOKEN_SECRET and BUILDKITE_AGENT_TOKEN_SSM_KEY are set: \
                 give exactly one",
                sources.len()
            ));
        }
        sources.pop().unwrap_or_else(|| TokenSource::Given(String::new().into()))
    }
}

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

impl Config {
    /// Reads all settings through `lookup`.
    ///
    /// # Errors
    /// Every missing or malformed setting, each in a line with its name.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut reader = Reader { lookup, faults: Vec::new() };
        let endpoint = reader
            .text("BUILDKITE_AGENT_ENDPOINT")
            .unwrap_or_else(|| "https://agent.buildkite.com/v3".to_owned());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            reader.faults.push(format!("BUILDKITE_AGENT_ENDPOINT is `{endpoint}`: give a URL with https://"));
        }
        let at_least_one = |text: &str| text.parse().ok().filter(|n| *n >= 1);
        let config = Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: reader.token(),
            queue: reader.text("BUILDKITE_QUEUE").unwrap_or_else(|| "default".to_owned()),
            groups: reader.groups(),
            most: reader.parsed("MAX_INSTANCES", u32::MAX, "a number", |text| text.parse().ok()),
            patience: Patience {
                launch: reader.period("LAUNCH_PATIENCE", "60s"),
                retry_after: reader.period("SHORTAGE_RETRY_AFTER", "10m"),
            },
            probe_after: reader.period("PROBE_AFTER", "1m"),
            policy: Policy {
                agents_per_instance: reader.parsed(
                    "AGENTS_PER_INSTANCE",
                    1,
                    "a number of at least 1",
                    at_least_one,
                ),
                instance_buffer: reader.parsed("INSTANCE_BUFFER", 0, "a number", |text| text.parse().ok()),
                include_waiting: reader.flag("INCLUDE_WAITING", false),
                scale_in: !reader.flag("DISABLE_SCALE_IN", false),
                scale_out: !reader.flag("DISABLE_SCALE_OUT", false),
            },
            mode: reader.parsed("SCALING_MODE", ScalingMode::Direct, "direct or alarms", |text| match text {
                "direct" => Some(ScalingMode::Direct),
                "alarms" => Some(ScalingMode::Alarms),
                _ => None,
            }),
            publish: reader.flag("CLOUDWATCH_METRICS", true),
            publish_every: reader.parsed(
                "PUBLISH_EVERY",
                Duration::from_secs(60),
                "a duration like 60s",
                duration,
            ),
            interval: reader.parsed(
                "LAMBDA_INTERVAL",
                Duration::from_secs(10),
                "a duration like 10s",
                duration,
            ),
            invocation: reader.parsed(
                "LAMBDA_TIMEOUT",
                Duration::from_secs(50),
                "a duration like 50s",
                duration,
            ),
            hints: reader.hints(),
        };
        if !config.mode.is_direct() && !config.publish {
            let fault =
                "SCALING_MODE is `alarms` and CLOUDWATCH_METRICS is false: alarms see nothing but metrics";
            reader.faults.push(fault.to_owned());
        }
        if reader.faults.is_empty() { Ok(config) } else { Err(Faults(reader.faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Faults> {
        Config::read(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn a_minimal_environment_has_safe_defaults() {
        let config = read(&[("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t")]).unwrap();
        assert_eq!(config.endpoint, "https://agent.buildkite.com/v3");
        assert_eq!((config.queue.as_str(), config.policy.agents_per_instance), ("default", 1));
        assert!(config.policy.scale_in && config.policy.scale_out && config.publish);
        assert_eq!((config.groups.as_slice(), config.most), (&["g".to_owned()][..], u32::MAX));
        assert_eq!((config.patience.launch.as_secs(), config.patience.retry_after.as_secs()), (60, 600));
        assert_eq!((config.probe_after.as_secs(), config.publish_every.as_secs()), (60, 60));
        assert_eq!(config.mode, ScalingMode::Direct);
        assert_eq!((config.interval.as_secs(), config.invocation.as_secs()), (10, 50));
    }

    #[test]
    fn groups_are_named_in_order_and_once() {
        let of =
            |names| read(&[("ASG_NAME", names), ("BUILDKITE_AGENT_TOKEN", "t")]).map(|config| config.groups);
        assert_eq!(of("ci-spot, ci-instances,").unwrap(), ["ci-spot", "ci-instances"]);
        assert!(
            of("ci,ci").unwrap_err().to_string().contains("ASG_NAME is `ci,ci`: a group stands there twice")
        );
    }

    #[test]
    fn all_faults_are_reported_at_once_with_their_names() {
        let faults = read(&[
            ("AGENTS_PER_INSTANCE", "0"),
            ("INCLUDE_WAITING", "maybe"),
            ("LAMBDA_INTERVAL", "soon"),
            ("SCALING_MODE", "alarm"),
            ("BUILDKITE_AGENT_ENDPOINT", "ci.example"),
        ])
        .unwrap_err();
        insta::assert_snapshot!(faults.to_string());
    }

    #[test]
    fn alarms_without_metrics_would_do_nothing() {
        let of = |publish| {
            let rest = [("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t"), ("SCALING_MODE", "alarms")];
            read(&[rest.as_slice(), &[("CLOUDWATCH_METRICS", publish)]].concat())
        };
        assert_eq!(of("true").unwrap().mode, ScalingMode::Alarms);
        let fault = of("false").unwrap_err().to_string();
        assert!(fault.starts_with("SCALING_MODE is `alarms` and CLOUDWATCH_METRICS is false"), "{fault}");
    }

    #[test]
    fn the_token_never_shows_in_debug() {
        let config = read(&[("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "very-secret")]).unwrap();
        assert!(!format!("{config:?}").contains("very-secret"));
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in
            [("10", Some(10)), ("10s", Some(10)), ("2m", Some(120)), ("0s", None), ("x", None), ("5h", None)]
        {
            assert_eq!(duration(text).map(|d| d.as_secs()), seconds, "{text}");
        }
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
    }
}
