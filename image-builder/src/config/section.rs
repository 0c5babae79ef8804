//! One section of the settings, read key by key; each fault is noted with its key and reading goes on.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::job::message::is_variable_name;

pub(super) struct Section<'a> {
    name: &'static str,
    keys: Option<&'a serde_json::Map<String, Value>>,
    faults: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    /// The section of this name; an absent or empty one has no keys.
    pub fn of(value: &'a Value, name: &'static str, faults: &'a mut Vec<String>) -> Self {
        let keys = match value.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(keys)) => Some(keys),
            Some(_) => {
                faults.push(format!("{name} has no keys"));
                None
            }
        };
        Self { name, keys, faults }
    }

    /// Is there such a section?
    pub fn is_there(&self) -> bool {
        self.keys.is_some()
    }

    pub fn fault(&mut self, key: &str, fault: impl std::fmt::Display) {
        self.faults.push(format!("{}.{key} {fault}", self.name));
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.keys.and_then(|keys| keys.get(key)).filter(|value| !value.is_null())
    }

    /// Text without the spaces around it; empty text is none.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let text = match self.value(key)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.fault(key, "is no text");
                return None;
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }

    pub fn needed(&mut self, key: &str) -> Option<String> {
        let before = self.faults.len();
        let text = self.text(key);
        if text.is_none() && self.faults.len() == before {
            self.fault(key, "is missing");
        }
        text
    }

    pub fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(key)?;
        let number =
            value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            self.fault(
                key,
                format!("is {value}: give a whole number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// `90s`, `30m` or `4h`; at least a second.
    pub fn duration(&mut self, key: &str, most: Duration) -> Option<Duration> {
        let text = self.text(key)?;
        let unit = text.chars().last().and_then(|unit| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            _ => None,
        });
        let count = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u64>().ok());
        let seconds = unit.zip(count).and_then(|(unit, count)| count.checked_mul(unit));
        let seconds = seconds.filter(|seconds| (1..=most.as_secs()).contains(seconds));
        if seconds.is_none() {
            self.fault(
                key,
                format!("is {text:?}: give a time as 90s, 30m or 4h, at most {}h", most.as_secs() / 3600),
            );
        }
        seconds.map(Duration::from_secs)
    }

    /// Names and values of variables.
    pub fn texts(&mut self, key: &str) -> BTreeMap<String, String> {
        let Some(value) = self.value(key) else { return BTreeMap::new() };
        let Value::Object(object) = value else {
            self.fault(key, "has no keys");
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (name, value) in object {
            let text = match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
                _ => None,
            };
            match text {
                Some(text) if is_variable_name(name) => drop(texts.insert(name.clone(), text)),
                _ => self.fault(key, format!("has {name:?}, which is no variable with a plain value")),
            }
        }
        texts
    }
}
