//! The settings document: YAML that says more than the environment can. Pure: text in, typed values or all faults out.
//!
//! The keys of one queue stand at the top. A document of several queues has them below `queues`, and at the top only
//! what concerns the whole process.

mod section;
pub mod source;

use std::collections::BTreeSet;
use std::time::Duration;

use aws::StoredToken;
use jiff::SignedDuration;
use serde_json::Value;

use crate::job_counts::JobSource;
use crate::price::HourlyPrice;
use crate::schedule::cron::Cron;
use crate::schedule::{Changes, Period, Schedule, zone, zones};
use crate::sharing::FixedShare;
use section::{Noted, Section, nearest};

/// A document that is larger is a mistake.
const MOST_BYTES: usize = 256 * 1024;

/// All that a document says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// From one tick to the next.
    pub interval: Option<Duration>,
    /// Publish metrics?
    pub metrics: Option<bool>,
    /// Queue by queue; exactly one where the keys stand at the top.
    pub queues: Vec<QueueSettings>,
}

/// What it says of one queue. What is absent is left to the environment, and to the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Where it stands in the document, with a dot at its end; empty at the top.
    pub path: String,
    /// The queue.
    pub queue: Option<String>,
    /// Names of its groups, the cheapest first.
    pub groups: Option<Vec<String>>,
    /// Base URL of the agent API.
    pub endpoint: Option<String>,
    /// Where the CI's token lies. Never the token.
    pub token: Option<StoredToken>,
    /// Which of the CI's APIs tells of its jobs.
    pub job_source: Option<JobSource>,
    /// What its agents offer beside the queue.
    pub agent_tags: Option<Vec<String>>,
    /// Agents on one instance.
    pub agents_per_instance: Option<u32>,
    /// Instances beyond the need, while there are jobs.
    pub instance_buffer: Option<u32>,
    /// Instances' worth of idle agents, jobs or not.
    pub idle_instances: Option<u32>,
    /// Never fewer, of all groups together.
    pub min_instances: Option<u32>,
    /// Never more, of all groups together.
    pub max_instances: Option<u32>,
    /// What an instance costs for an hour: of all groups one, or one for each.
    pub hourly_price: Option<Vec<HourlyPrice>>,
    /// The part of the queue's jobs that is for this account and region.
    pub share: Option<FixedShare>,
    /// Do jobs count that wait for others?
    pub include_waiting: Option<bool>,
    /// May desired capacity be lowered?
    pub scale_in: Option<bool>,
    /// May it be raised?
    pub scale_out: Option<bool>,
    /// How long a group may owe launches.
    pub launch_patience: Option<SignedDuration>,
    /// After so long a group that was short is tried again.
    pub shortage_retry_after: Option<SignedDuration>,
    /// The pause before the first probe.
    pub probe_after: Option<SignedDuration>,
    /// When something else is wanted.
    pub schedule: Schedule,
}

/// Reads a document: what it says, as far as it can be read, and all its faults, each with its path.
#[must_use]
pub fn read(text: &str) -> (Document, Vec<String>) {
    let mut noted = Noted::new();
    let document = parse(text, &mut noted).map(|top| document(top, &mut noted)).unwrap_or_default();
    (document, noted.into_iter().map(|fault| format!("settings: {fault}")).collect())
}

fn parse(text: &str, noted: &mut Noted) -> Option<Section> {
    if text.len() > MOST_BYTES {
        noted.push(format!("the document has {} bytes: {MOST_BYTES} are the most", text.len()));
        return None;
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Null) => Some(Section::new("", serde_json::Map::new())),
        Ok(Value::Object(values)) => Some(Section::new("", values)),
        Ok(_) => {
            noted.push("the document is no map: give lines of `key: value`".to_owned());
            None
        }
        Err(error) => {
            let text = error.to_string();
            // What a program could do about it is nothing for the document's writer.
            let first = text.lines().next().and_then(|line| line.split(", set DuplicateKeyPolicy").next());
            noted.push(first.unwrap_or("no YAML").to_owned());
            None
        }
    }
}

fn document(mut top: Section, noted: &mut Noted) -> Document {
    let interval = top.period("interval", noted);
    let metrics = top.flag("metrics", noted);
    let queues = if top.has("queues") {
        let sections = top.sections("queues", noted);
        top.finish(noted);
        let queues: Vec<QueueSettings> = sections.into_iter().map(|section| queue(section, noted)).collect();
        among(&queues, noted);
        queues
    } else {
        vec![queue(top, noted)]
    };
    Document { interval, metrics, queues }
}

/// What several queues in one document must have, and must not share.
fn among(queues: &[QueueSettings], noted: &mut Noted) {
    let mut names = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for queue in queues {
        let QueueSettings { path, .. } = queue;
        match &queue.queue {
            None if queues.len() > 1 => noted.push(format!("{path}queue is not set: give the queue's name")),
            Some(name) if !names.insert((&queue.endpoint, name)) => {
                noted.push(format!("{path}queue is `{name}`, which stands there twice"));
            }
            _ => {}
        }
        for group in queue.groups.iter().flatten() {
            if !groups.insert(group) {
                noted.push(format!("{path}groups names `{group}`, which runs another queue's jobs"));
            }
        }
    }
}

fn queue(mut section: Section, noted: &mut Noted) -> QueueSettings {
    let signed = |period: Option<Duration>| {
        period.map(|period| SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX))
    };
    let settings = QueueSettings {
        path: section.path(""),
        queue: section.text("queue", "the queue's name", noted),
        groups: groups(&mut section, noted),
        endpoint: endpoint(&mut section, noted),
        token: token(&mut section, noted),
        job_source: job_source(&mut section, noted),
        agent_tags: agent_tags(&mut section, noted),
        agents_per_instance: section.number("agents-per-instance", 1, noted),
        instance_buffer: section.number("instance-buffer", 0, noted),
        idle_instances: section.number("idle-instances", 0, noted),
        min_instances: section.number("min-instances", 0, noted),
        max_instances: section.number("max-instances", 0, noted),
        hourly_price: hourly_price(&mut section, noted),
        share: share(&mut section, noted),
        include_waiting: section.flag("include-waiting", noted),
        scale_in: section.flag("scale-in", noted),
        scale_out: section.flag("scale-out", noted),
        launch_patience: signed(section.period("launch-patience", noted)),
        shortage_retry_after: signed(section.period("shortage-retry-after", noted)),
        probe_after: signed(section.period("probe-after", noted)),
        schedule: schedule(&mut section, noted),
    };
    section.finish(noted);
    settings
}

fn groups(section: &mut Section, noted: &mut Noted) -> Option<Vec<String>> {
    let groups = section.texts("groups", "names of Auto Scaling groups, the cheapest first", noted)?;
    let mut different = BTreeSet::new();
    for group in &groups {
        if !different.insert(group) {
            noted.push(format!("{} names `{group}` twice", section.path("groups")));
        }
    }
    Some(groups)
}

fn hourly_price(section: &mut Section, noted: &mut Noted) -> Option<Vec<HourlyPrice>> {
    let value = section.take("hourly-price", noted)?;
    let values = if let Value::Array(values) = value { values } else { vec![value] };
    let prices: Option<Vec<HourlyPrice>> = values.iter().map(HourlyPrice::of).collect();
    let prices = prices.filter(|prices| !prices.is_empty());
    if prices.is_none() {
        noted.push(format!("{} is no price: give {}", section.path("hourly-price"), HourlyPrice::FORM));
    }
    prices
}

fn share(section: &mut Section, noted: &mut Noted) -> Option<FixedShare> {
    let form = "a part like 40%, from 1% to 100%";
    let text = section.text("share", form, noted)?;
    let share = FixedShare::parse(&text);
    if share.is_none() {
        noted.push(format!("{} is `{text}`: give {form}", section.path("share")));
    }
    share
}

fn endpoint(section: &mut Section, noted: &mut Noted) -> Option<String> {
    let endpoint = section.text("endpoint", "a URL with https://", noted)?;
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        noted.push(format!("{} is `{endpoint}`: give a URL with https://", section.path("endpoint")));
    }
    Some(endpoint.trim_end_matches('/').to_owned())
}

fn job_source(section: &mut Section, noted: &mut Noted) -> Option<JobSource> {
    let text = section.text("job-source", JobSource::FORM, noted)?;
    let source = JobSource::parse(&text);
    if source.is_none() {
        noted.push(format!("{} is `{text}`: give {}", section.path("job-source"), JobSource::FORM));
    }
    source
}

/// As instances are told them: a list, or one text with commas. The queue has a key of its own.
fn agent_tags(section: &mut Section, noted: &mut Noted) -> Option<Vec<String>> {
    let form = "tags like docker=true, in a list or with commas";
    let texts = section.texts("agent-tags", form, noted)?;
    let tags = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    let tags: Vec<String> = tags.map(str::to_owned).collect();
    for tag in &tags {
        match tag.split_once('=') {
            Some(("queue", _)) => {
                noted.push(format!(
                    "{} has `{tag}`: the queue has a key of its own",
                    section.path("agent-tags")
                ));
            }
            Some((key, _)) if !key.trim().is_empty() => {}
            _ => noted.push(format!("{} has `{tag}`: give {form}", section.path("agent-tags"))),
        }
    }
    Some(tags)
}

fn token(section: &mut Section, noted: &mut Noted) -> Option<StoredToken> {
    let path = section.path("token");
    let value = section.take("token", noted)?;
    let form = "give `secret:` (Secrets Manager) or `parameter:` (SSM) and where it lies there, never the token itself";
    let Value::Object(values) = value else {
        noted.push(format!("{path} says nothing of where it lies: {form}"));
        return None;
    };
    let mut places = Section::new(&path, values);
    let secret = places.text("secret", "an ARN or a name", noted).map(StoredToken::SecretsManager);
    let parameter = places.text("parameter", "a name", noted).map(StoredToken::Parameter);
    places.finish(noted);
    if secret.is_some() && parameter.is_some() {
        noted.push(format!("{path} lies in two places: {form}"));
    }
    secret.or(parameter)
}

fn schedule(section: &mut Section, noted: &mut Noted) -> Schedule {
    let zone_path = section.path("time-zone");
    let named = section.text("time-zone", "a name of the IANA database like Europe/Berlin", noted);
    let zone = named.and_then(|name| {
        let zone = zone(&name);
        if zone.is_none() {
            let near = nearest(&name, zones()).map_or_else(
                || "give one like Europe/Berlin".to_owned(),
                |zone| format!("did you mean {zone}?"),
            );
            noted
                .push(format!("{zone_path} is `{name}`, which is no time zone of the IANA database: {near}"));
        }
        zone
    });
    let list = section.path("periods");
    let sections = section.sections("periods", noted);
    let mut periods: Vec<(String, Period)> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let period = period(section, &format!("{list}[{index}]"), noted);
        for (other_path, other) in &periods {
            if let Some((one, another)) = other.overlap(&period) {
                let (one, another) = (one.text(), another.text());
                noted.push(format!("{other_path} and {list}[{index}] overlap: `{one}` and `{another}`"));
            }
            if other.name == period.name {
                noted.push(format!("{list}[{index}].name is `{}`, as that of {other_path}", period.name));
            }
        }
        periods.push((format!("{list}[{index}]"), period));
    }
    Schedule {
        zone: zone.unwrap_or(jiff::tz::TimeZone::UTC),
        periods: periods.into_iter().map(|(_, period)| period).collect(),
    }
}

fn period(mut section: Section, path: &str, noted: &mut Noted) -> Period {
    let when_path = section.path("when");
    let form = "cron expressions of five fields like `* 8-17 * * mon-fri`";
    let is_there = section.has("when");
    let texts = section.texts("when", form, noted).unwrap_or_default();
    if !is_there {
        noted.push(format!("{when_path} is not set: give {form}"));
    }
    let mut when = Vec::new();
    for text in texts {
        match text.parse::<Cron>() {
            Ok(cron) if cron.ever_holds() => when.push(cron),
            Ok(_) => noted.push(format!("{when_path} is `{text}`, which no day of the calendar is")),
            Err(fault) => noted.push(format!("{when_path} is `{text}`: {fault}")),
        }
    }
    let changes = Changes {
        idle_instances: section.number("idle-instances", 0, noted),
        instance_buffer: section.number("instance-buffer", 0, noted),
        min_instances: section.number("min-instances", 0, noted),
        max_instances: section.number("max-instances", 0, noted),
        scale_in: section.flag("scale-in", noted),
    };
    let name = section.text("name", "a name", noted).unwrap_or_else(|| path.to_owned());
    section.finish(noted);
    Period { name, when, changes }
}

#[cfg(test)]
mod tests;
