//! Takes typed values out of one map of the document. Every fault is noted with its path, so that all are told at once.

use std::time::Duration;

use serde_json::{Map, Value};
use strsim::levenshtein;

use crate::config::duration;

/// Where faults are noted, a line each.
pub type Noted = Vec<String>;

/// A map of the document, and what of it is known.
pub struct Section {
    /// Of the map itself, with a dot at its end; empty at the top.
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Section {
    /// The map that lies at this path.
    pub fn new(path: &str, values: Map<String, Value>) -> Self {
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        Self { path, values, known: Vec::new() }
    }

    /// The same for a value, which may be none.
    pub fn of(path: &str, value: Value, noted: &mut Noted) -> Option<Self> {
        match value {
            Value::Object(values) => Some(Self::new(path, values)),
            other => {
                noted.push(format!("{path} is {}: give keys and values", kind(&other)));
                None
            }
        }
    }

    /// The path of a key.
    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Is the key there?
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of a key, whatever its type.
    pub fn take(&mut self, key: &'static str, noted: &mut Noted) -> Option<Value> {
        self.known.push(key);
        let value = self.values.remove(key)?;
        if value.is_null() {
            noted.push(format!("{} has no value", self.path(key)));
            return None;
        }
        Some(value)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        form: &str,
        noted: &mut Noted,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key, noted)?;
        let read = read(&value);
        if read.is_none() {
            noted.push(format!("{} is {}: give {form}", self.path(key), shown(&value)));
        }
        read
    }

    /// A number of instances or agents.
    pub fn number(&mut self, key: &'static str, least: u32, noted: &mut Noted) -> Option<u32> {
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        self.typed(key, &format!("a whole number of at least {least}"), noted, |value| {
            number(value).filter(|n| *n >= least)
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, noted: &mut Noted) -> Option<bool> {
        self.typed(key, "true or false", noted, Value::as_bool)
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &'static str, form: &str, noted: &mut Noted) -> Option<String> {
        self.typed(key, form, noted, |value| {
            value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        })
    }

    /// `90s`, `5m`, `200ms`; a bare number counts seconds.
    pub fn period(&mut self, key: &'static str, noted: &mut Noted) -> Option<Duration> {
        self.typed(key, "a duration like 60s or 10m", noted, |value| match value {
            Value::String(text) => duration(text),
            Value::Number(number) => duration(&number.to_string()),
            _ => None,
        })
    }

    /// Texts in a list, or a single one.
    pub fn texts(&mut self, key: &'static str, form: &str, noted: &mut Noted) -> Option<Vec<String>> {
        let value = self.take(key, noted)?;
        let path = self.path(key);
        let values = match value {
            Value::Array(values) if !values.is_empty() => values,
            Value::String(text) => vec![Value::String(text)],
            other => {
                noted.push(format!("{path} is {}: give {form}", shown(&other)));
                return None;
            }
        };
        let mut texts = Vec::new();
        for (index, value) in values.iter().enumerate() {
            match value.as_str().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => texts.push(text.to_owned()),
                None => noted.push(format!("{path}[{index}] is {}: give {form}", shown(value))),
            }
        }
        Some(texts)
    }

    /// Maps in a list, each with its path.
    pub fn sections(&mut self, key: &'static str, noted: &mut Noted) -> Vec<Self> {
        let path = self.path(key);
        match self.take(key, noted) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                let read = |(index, value)| Self::of(&format!("{path}[{index}]"), value, noted);
                values.into_iter().enumerate().filter_map(read).collect()
            }
            Some(other) => {
                noted.push(format!("{path} is {}: give a list", shown(&other)));
                Vec::new()
            }
        }
    }

    /// What nobody took is a fault: a misspelt key would otherwise change nothing.
    pub fn finish(self, noted: &mut Noted) {
        for key in self.values.keys() {
            let near = nearest(key, self.known.iter().copied());
            let near = near.map_or_else(
                || "docs/scaler.md lists all".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            noted.push(format!("{}{key} is no key here: {near}", self.path));
        }
    }
}

/// A value, short enough for a line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 60 => format!("`{text}`"),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        other => kind(other).to_owned(),
    }
}

/// What it is, without a word of it: it may be a secret in the wrong place.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(values) if values.is_empty() => "an empty list",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The known name that differs least, if that is by a third of its letters at most.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let near = known.map(|k| (levenshtein(&name, &k.to_lowercase().replace('_', "-")), k));
    near.filter(|(letters, known)| *letters <= known.len().div_ceil(3)).min().map(|(_, known)| known)
}
