//! Takes settings out of the environment and out of the document. Every fault is noted, so that all are told at once.

use std::time::Duration;

use aws::StoredToken;
use jiff::SignedDuration;

use super::{TokenSource, duration};

/// The environment, and the faults so far.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Where the queue's keys stand in the document.
    path: String,
    /// Is it one of several queues?
    of_several: bool,
    pub faults: Vec<String>,
}

/// Variables that say of one queue what its key says. Endpoint and token are not among them: what the environment says
/// of those holds for all queues that have none of their own.
const OF_ONE_QUEUE: [(&str, &str); 12] = [
    ("ASG_NAME", "groups"),
    ("BUILDKITE_QUEUE", "queue"),
    ("AGENTS_PER_INSTANCE", "agents-per-instance"),
    ("INSTANCE_BUFFER", "instance-buffer"),
    ("MAX_INSTANCES", "max-instances"),
    ("INCLUDE_WAITING", "include-waiting"),
    ("DISABLE_SCALE_IN", "scale-in"),
    ("DISABLE_SCALE_OUT", "scale-out"),
    ("LAUNCH_PATIENCE", "launch-patience"),
    ("SHORTAGE_RETRY_AFTER", "shortage-retry-after"),
    ("PROBE_AFTER", "probe-after"),
    ("QUEUE_SHARE", "share"),
];

impl<'a> Reader<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>, path: &str, of_several: bool) -> Self {
        Self { lookup, path: path.to_owned(), of_several, faults: Vec::new() }
    }

    /// With several queues, a variable that says something of one is a fault.
    pub fn of_one_queue(&mut self) {
        for (name, key) in OF_ONE_QUEUE {
            if self.text(name).is_some() {
                self.faults
                    .push(format!("{name} is set, and settings: queues has several: give each its {key}"));
            }
        }
        if self.text("KEEPS_PARAMETER").is_some() {
            self.faults.push(
                "KEEPS_PARAMETER is set, and settings: queues has several: each stack's is found by its groups' tags"
                    .to_owned(),
            );
        }
    }

    pub fn text(&self, name: &str) -> Option<String> {
        if self.of_several && OF_ONE_QUEUE.iter().any(|(of_one, _)| *of_one == name) {
            return None;
        }
        (self.lookup)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    pub fn parsed<T>(&mut self, name: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.faults.push(format!("{name} is `{text}`: give {form}"));
        }
        parsed
    }

    /// What a variable or a key says. Where both do, they must say the same.
    pub fn either<T: PartialEq>(
        &mut self,
        name: &str,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
        key: &str,
        keyed: Option<T>,
    ) -> Option<T> {
        let given = self.parsed(name, form, parse);
        if self.of_several {
            return keyed.or(given);
        }
        if let (Some(given), Some(keyed)) = (&given, &keyed)
            && given != keyed
        {
            let text = self.text(name).unwrap_or_default();
            let path = &self.path;
            self.faults.push(format!(
                "{name} is `{text}`, but settings: {path}{key} says otherwise: give one of them"
            ));
        }
        given.or(keyed)
    }

    pub fn number(&mut self, name: &str, least: u32, key: &str, keyed: Option<u32>) -> Option<u32> {
        let form = format!("a number of at least {least}");
        self.either(name, &form, |text| text.parse().ok().filter(|n| *n >= least), key, keyed)
    }

    pub fn flag(&mut self, name: &str, key: &str, keyed: Option<bool>) -> Option<bool> {
        let flag = |text: &str| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        self.either(name, "true or false", flag, key, keyed)
    }

    pub fn duration(
        &mut self,
        name: &str,
        key: &str,
        keyed: Option<Duration>,
        default: Duration,
    ) -> Duration {
        self.either(name, "a duration like 60s", duration, key, keyed).unwrap_or(default)
    }

    pub fn period(
        &mut self,
        name: &str,
        key: &str,
        keyed: Option<SignedDuration>,
        default: SignedDuration,
    ) -> SignedDuration {
        let signed = |text: &str| {
            duration(text).map(|period| SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX))
        };
        self.either(name, "a duration like 60s", signed, key, keyed).unwrap_or(default)
    }

    /// `ASG_NAME`: one name, or several with commas between them.
    pub fn groups(&mut self, keyed: Option<Vec<String>>) -> Vec<String> {
        let names = |text: &str| {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            Some(names.map(str::to_owned).collect::<Vec<_>>())
        };
        let is_given = keyed.is_some();
        let groups = self.either("ASG_NAME", "names", names, "groups", keyed).unwrap_or_default();
        let different: std::collections::BTreeSet<&String> = groups.iter().collect();
        if groups.is_empty() && !is_given && self.of_several {
            self.faults.push(format!(
                "settings: {}groups is not set: give the Auto Scaling groups' names, the cheapest first",
                self.path
            ));
        } else if groups.is_empty() && !is_given {
            self.faults.push(
                "ASG_NAME is not set: give the Auto Scaling group's name, or names with commas, the cheapest first"
                    .to_owned(),
            );
        } else if different.len() < groups.len() && !is_given {
            let names = self.text("ASG_NAME").unwrap_or_default();
            self.faults.push(format!("ASG_NAME is `{names}`: a group stands there twice"));
        }
        groups
    }

    pub fn token(&mut self, keyed: Option<StoredToken>) -> TokenSource {
        if self.of_several
            && let Some(token) = keyed
        {
            return TokenSource::Stored(token);
        }
        let given = self.text("BUILDKITE_AGENT_TOKEN").map(|t| TokenSource::Given(t.into()));
        let secret = self.text("BUILDKITE_AGENT_TOKEN_SECRET").map(StoredToken::SecretsManager);
        let parameter = self.text("BUILDKITE_AGENT_TOKEN_SSM_KEY").map(StoredToken::Parameter);
        let in_document = if keyed.is_some() { " (and of the settings' key token)" } else { "" };
        let stored = [secret, parameter, keyed].into_iter().flatten().map(TokenSource::Stored);
        let mut sources: Vec<TokenSource> = given.into_iter().chain(stored).collect();
        if sources.len() != 1 {
            self.faults.push(format!(
                "{} of BUILDKITE_AGENT_TOKEN, BUILDKITE_AGENT_TOKEN_SECRET and \
                 BUILDKITE_AGENT_TOKEN_SSM_KEY{in_document} are set: give exactly one",
                sources.len()
            ));
        }
        sources.pop().unwrap_or_else(|| TokenSource::Given(String::new().into()))
    }

    /// `MAX_INSTANCES` is what the stack's owner allows; the document may ask for less than that, at any time.
    pub fn most(&mut self, keyed: Option<u32>, periods: &[(String, Option<u32>)]) -> u32 {
        let allowed = self.parsed("MAX_INSTANCES", "a number of at least 0", |text| text.parse().ok());
        let base = (format!("{}max-instances", self.path), keyed);
        for (path, most) in std::iter::once(&base).chain(periods) {
            if let (Some(allowed), Some(most)) = (allowed, most)
                && *most > allowed
            {
                self.faults.push(format!("settings: {path} is {most}, more than MAX_INSTANCES, {allowed}"));
            }
        }
        keyed.or(allowed).unwrap_or(u32::MAX)
    }
}
