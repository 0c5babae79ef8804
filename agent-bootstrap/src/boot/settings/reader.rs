//! Takes typed values out of a map and notes every fault on the way, so that all are told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};
use strsim::levenshtein;

use super::stay::Stay;
use crate::boot::reference::{NO_REFERENCE, Reference};

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name.
    pub name: String,
    /// What is wrong, fit to follow the name.
    pub detail: String,
}

impl Fault {
    /// A fault of `name`.
    pub fn new(name: &str, detail: &str) -> Self {
        Self { name: name.to_owned(), detail: detail.to_owned() }
    }
}

/// All faults of the settings, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}`{}` {}", fault.name, fault.detail)?;
        }
        Ok(())
    }
}

/// The settings not yet taken, and the faults so far.
pub(super) struct Reader {
    values: Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Reader {
    pub fn new(values: Map<String, Value>, faults: Vec<Fault>) -> Self {
        Self { values, known: Vec::new(), faults }
    }

    pub fn fault(&mut self, name: &str, detail: impl AsRef<str>) {
        self.faults.push(Fault::new(name, detail.as_ref()));
    }

    /// The value, or none where it is absent, null or the empty text (a template's parameter left empty).
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.values.remove(name).filter(|v| !v.is_null() && v.as_str() != Some(""))
    }

    /// A text of one line. Such texts end up in files of `name=value` lines, some of them quoted.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        let text = scalar(&value);
        match text.as_deref().map(unsafe_in_line) {
            Some(None) => return text,
            Some(Some(what)) => self.fault(name, format!("holds {what}")),
            None => self.fault(name, "is no text"),
        }
        None
    }

    pub fn required(&mut self, name: &'static str) -> String {
        let there = self.values.contains_key(name);
        let text = self.text(name);
        if text.is_none() && !(there && self.faults.iter().any(|f| f.name == name)) {
            self.fault(name, "is missing");
        }
        text.unwrap_or_default()
    }

    /// A required name: letters, digits and `_.:-`.
    pub fn word(&mut self, name: &'static str) -> String {
        let text = self.required(name);
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b)) {
            self.fault(name, "may hold letters, digits and _ . : - only");
        }
        text
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.fault(name, "is neither true nor false");
        }
        value
    }

    pub fn number(&mut self, name: &'static str, default: i64, range: RangeInclusive<i64>) -> i64 {
        self.optional_number(name, range).unwrap_or(default)
    }

    pub fn optional_number(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|n| range.contains(n));
        if number.is_none() {
            self.fault(name, format!("is no whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A duration of at least `least`: `90s`, `5m`, `2h`, `200ms`; a bare number counts seconds.
    pub fn period(&mut self, name: &'static str, default: SignedDuration, least: Duration) -> SignedDuration {
        let Some(text) = self.text(name) else { return default };
        match parse_period(&text) {
            Some(period) if period.unsigned_abs() >= least => period,
            _ => {
                self.fault(name, format!("is no duration of at least {least:?} (such as 90s, 5m, 2h)"));
                default
            }
        }
    }

    /// A duration of so many seconds.
    pub fn period_within(&mut self, name: &'static str, seconds: RangeInclusive<u64>) -> Option<Duration> {
        let text = self.text(name)?;
        let range = Duration::from_secs(*seconds.start())..=Duration::from_secs(*seconds.end());
        let period = parse_period(&text).map(SignedDuration::unsigned_abs).filter(|p| range.contains(p));
        if period.is_none() {
            self.fault(name, format!("is no duration from {:?} to {:?}", range.start(), range.end()));
        }
        period
    }

    pub fn period_or_never(
        &mut self,
        name: &'static str,
        default: Option<SignedDuration>,
    ) -> Option<SignedDuration> {
        let Some(text) = self.text(name) else { return default };
        if text == "never" {
            return None;
        }
        let period = parse_period(&text);
        if period.is_none() {
            self.fault(name, "is neither a duration (such as 90s, 5m, 2h) nor `never`");
        }
        period.or(default)
    }

    /// A duration, `never` or `auto`, which also holds where nothing is said.
    pub fn stay(&mut self, name: &'static str) -> Stay {
        let Some(text) = self.text(name) else { return Stay::Auto };
        Stay::try_from(Some(text)).unwrap_or_else(|_| {
            self.fault(name, "is neither a duration (such as 90s, 5m, 2h), nor `auto`, nor `never`");
            Stay::Auto
        })
    }

    /// A text, or a list of texts joined by commas.
    pub fn listed(&mut self, name: &'static str) -> Option<String> {
        match self.values.get(name) {
            Some(Value::Array(_)) => {
                let texts = self.texts(name);
                (!texts.is_empty()).then(|| texts.join(","))
            }
            _ => self.text(name),
        }
    }

    /// A list, or a text with commas.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let texts = match &value {
            Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>(),
            other => scalar(other).map(|t| t.split(',').map(|p| p.trim().to_owned()).collect()),
        };
        match texts {
            Some(texts) if texts.iter().all(|t| unsafe_in_line(t).is_none()) => texts,
            _ => {
                self.fault(name, "is no list of texts of one line without quotes and backslashes");
                Vec::new()
            }
        }
    }

    /// One of these words.
    pub fn choice(&mut self, name: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(name)?;
        let word = words.iter().find(|word| **word == text).copied();
        if word.is_none() {
            self.fault(name, format!("is none of {}", words.join(", ")));
        }
        word
    }

    /// A path from the root.
    pub fn absolute_path(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        let path = std::path::Path::new(&text);
        let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
        if path.is_absolute() && plain && path.parent().is_some() {
            return Some(text);
        }
        self.fault(name, "is no path from the root");
        None
    }

    /// A place outside the settings. It is not repeated: it may hold a signature.
    pub fn reference(&mut self, name: &'static str) -> Option<Reference> {
        let text = self.text(name)?;
        let reference = Reference::parse(&text);
        if reference.is_none() {
            self.fault(name, NO_REFERENCE);
        }
        reference
    }

    /// `key=value` pairs: a list, a text with commas, or a map.
    pub fn pairs(&mut self, name: &'static str) -> Vec<String> {
        let pairs = if let Some(Value::Object(map)) = self.values.get(name) {
            let pairs: Option<Vec<Value>> =
                map.iter().map(|(k, v)| scalar(v).map(|v| Value::String(format!("{k}={v}")))).collect();
            self.values.insert(name.to_owned(), pairs.map_or(Value::Object(Map::new()), Value::Array));
            self.texts(name)
        } else {
            self.texts(name)
        };
        let pairs: Vec<String> = pairs.into_iter().filter(|p| !p.is_empty()).collect();
        if pairs.iter().any(|p| p.contains(',') || p.starts_with('=')) {
            self.fault(name, "holds a tag without a key or with a comma");
        }
        pairs
    }

    /// A map of environment variables.
    pub fn environment(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let Some(value) = self.take(name) else { return BTreeMap::new() };
        let Value::Object(map) = value else {
            self.fault(name, "is no map of names and values");
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for (key, value) in map {
            match scalar(&value) {
                Some(text) if is_variable(&key) && !text.contains(['\n', '\r', '\0']) => {
                    variables.insert(key, text);
                }
                _ => self.fault(&format!("{name}.{key}"), "is no variable with a value of one line"),
            }
        }
        variables
    }

    /// What was read, unless there were faults. Settings that nobody took are faults, but for the scaler's own.
    pub fn finish<T>(mut self, read: T) -> Result<T, Faults> {
        let unknown: Vec<String> = self.values.keys().filter(|k| !is_of_scaler(k)).cloned().collect();
        for name in unknown {
            let detail = match nearest(&name, &self.known) {
                Some(known) => format!("is no setting; did you mean `{known}`?"),
                None => "is no setting (docs/settings.md lists all)".to_owned(),
            };
            self.fault(&name, detail);
        }
        if self.faults.is_empty() { Ok(read) } else { Err(Faults(self.faults)) }
    }
}

/// Is it one of the scaler's settings, which are left alone here?
pub(super) fn is_of_scaler(name: &str) -> bool {
    name == "scaler" || name.starts_with("scaler-")
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn unsafe_in_line(text: &str) -> Option<&'static str> {
    if text.chars().any(char::is_control) {
        return Some("a line break or control character");
    }
    text.contains(['"', '\\']).then_some("a double quote or backslash")
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn parse_period(text: &str) -> Option<SignedDuration> {
    let period = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().ok()?,
    };
    (!period.is_negative()).then_some(period)
}

/// The known name that differs least, if it is at most two letters away.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    known.iter().map(|k| (levenshtein(name, k), *k)).filter(|(d, _)| *d <= 2).min().map(|(_, k)| k)
}
