//! Where a setting comes from: the job's environment, or the instance's settings file (`NAME=value` lines).

use std::collections::BTreeMap;
use std::path::Path;

use super::{Fault, Lookup};
use crate::failure::Failure;

/// Both sources, with the rule which of them speaks.
pub struct Settings<'a> {
    environment: Lookup<'a>,
    file: Option<BTreeMap<String, String>>,
    /// Guarded names that the job's environment tried to set.
    ignored: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Settings<'a> {
    /// `file` is what [`read_file`] gave: `None` where the instance has no settings file.
    #[must_use]
    pub fn new(environment: Lookup<'a>, file: Option<BTreeMap<String, String>>) -> Self {
        Self { environment, file, ignored: Vec::new(), faults: Vec::new() }
    }

    /// A job's own affair: its environment wins over the settings file. Empty counts as not set.
    pub fn open(&self, name: &str) -> Option<String> {
        let given = (self.environment)(name).filter(|v| !v.is_empty());
        given.or_else(|| self.in_file(name))
    }

    /// Decides about protection: where there is a settings file, only it may say so.
    pub fn guarded(&mut self, name: &'static str) -> Option<String> {
        let given = (self.environment)(name).filter(|v| !v.is_empty());
        if self.file.is_none() {
            return given;
        }
        let fixed = self.in_file(name);
        if given.is_some() && given != fixed {
            self.ignored.push(name);
        }
        fixed
    }

    /// Does the settings file name this?
    #[must_use]
    pub fn fixes(&self, name: &str) -> bool {
        self.in_file(name).is_some()
    }

    fn in_file(&self, name: &str) -> Option<String> {
        self.file.as_ref().and_then(|f| f.get(name)).filter(|v| !v.is_empty()).cloned()
    }

    /// Notes a fault; parsing goes on so that all of them are told at once.
    pub fn fault(&mut self, name: &'static str, detail: impl Into<String>) {
        self.faults.push(Fault { name, detail: detail.into() });
    }

    /// A switch: `true`/`1`/`yes`/`on` or `false`/`0`/`no`/`off`.
    pub fn switch(&mut self, name: &'static str, value: Option<String>, default: bool) -> bool {
        let Some(value) = value else { return default };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.fault(name, format!("'{}' is neither true nor false", visible(&value)));
                default
            }
        }
    }

    /// The guarded names that were ignored, and the faults.
    #[must_use]
    pub fn finish(self) -> (Vec<&'static str>, Vec<Fault>) {
        (self.ignored, self.faults)
    }
}

/// At most 60 characters of a value that goes into a message, control characters escaped.
#[must_use]
pub fn visible(value: &str) -> String {
    let mut text: String = value.chars().take(60).flat_map(char::escape_debug).collect();
    if value.chars().nth(60).is_some() {
        text.push('…');
    }
    text
}

/// Reads the settings file. No file is no fault; one that cannot be read or understood is, since protection hangs
/// on it.
///
/// # Errors
/// Exit code 78, with file and line.
pub fn read_file(path: &Path) -> Result<Option<BTreeMap<String, String>>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).map_err(|line| {
            Failure::config(format!("settings: {} line {line}: write NAME=value", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::config(format!(
            "settings: {}: {error}; it must be readable for the agent's user",
            path.display()
        ))),
    }
}

/// `NAME=value` lines, `#` comments. A value reaches to the end of its line and is taken as it stands.
/// The error is the number of the first other line.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut values = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number + 1)?;
        values.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_names_follow_the_job_and_guarded_names_follow_the_file() {
        let file = parse("# by boot\nA=file\nB = file b \n\n").unwrap();
        let lookup = |name: &str| match name {
            "A" | "C" => Some("job".to_owned()),
            "B" => Some(String::new()),
            _ => None,
        };
        let mut settings = Settings::new(&lookup, Some(file));
        assert_eq!(settings.open("A").as_deref(), Some("job"));
        assert_eq!(settings.open("B").as_deref(), Some("file b"));
        assert_eq!(settings.guarded("A").as_deref(), Some("file"));
        assert_eq!(settings.guarded("C"), None, "absent from the file means the default, not the job's word");
        assert_eq!(settings.finish().0, ["A", "C"]);

        let mut alone = Settings::new(&lookup, None);
        assert_eq!(
            alone.guarded("A").as_deref(),
            Some("job"),
            "without a file the environment is all there is"
        );
    }

    #[test]
    fn a_settings_file_that_cannot_be_understood_is_a_fault() {
        assert_eq!(parse("A=1\nwhat"), Err(2));
        let folder = tempfile::tempdir().unwrap();
        assert!(read_file(&folder.path().join("absent")).unwrap().is_none());
        assert_eq!(read_file(folder.path()).unwrap_err().code, 78);
    }
}
