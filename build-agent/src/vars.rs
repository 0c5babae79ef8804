//! A process environment: names and values as bytes, because jobs may put anything there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Names a shell sets for itself; they are no one's changes.
const SHELL_OWN: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// Environment variables by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vars(BTreeMap<OsString, OsString>);

/// Values may be secrets: only names are shown.
impl std::fmt::Debug for Vars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What one run of a hook did to its environment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Changes {
    /// Added and changed variables with their new values.
    pub set: Vars,
    /// Variables that are gone.
    pub unset: Vec<OsString>,
}

impl Vars {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// What [`Vars::to_dump`] wrote.
    #[must_use]
    pub fn from_dump(dump: &[u8]) -> Self {
        let entries = dump.split(|byte| *byte == 0).filter_map(|entry| {
            let equals = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (entry[..equals].to_vec(), entry[equals + 1..].to_vec());
            Some((OsString::from_vec(name), OsString::from_vec(value)))
        });
        Self(entries.filter(|(name, _)| !name.is_empty()).collect())
    }

    /// `NAME=value` entries, each ended by NUL: the one byte that no value can hold.
    #[must_use]
    pub fn to_dump(&self) -> Vec<u8> {
        let mut dump = Vec::new();
        for (name, value) in &self.0 {
            dump.extend_from_slice(name.as_bytes());
            dump.push(b'=');
            dump.extend_from_slice(value.as_bytes());
            dump.push(0);
        }
        dump
    }

    /// A value as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(OsStr::new(name)).map(|value| value.to_string_lossy().into_owned())
    }

    /// A value that is neither absent nor empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Is the value `true` or `1`?
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.as_str(), "true" | "1"))
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Removes a variable.
    pub fn remove(&mut self, name: impl AsRef<OsStr>) -> Option<OsString> {
        self.0.remove(name.as_ref())
    }

    /// Is there such a variable?
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(OsStr::new(name))
    }

    /// Names and values in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }

    /// What has to be done to `self` to get `after`; what shells set for themselves does not count.
    #[must_use]
    pub fn changes_to(&self, after: &Self) -> Changes {
        let counts = |name: &OsString| !SHELL_OWN.iter().any(|own| name == own);
        let set = after.0.iter().filter(|(name, value)| counts(name) && self.0.get(*name) != Some(value));
        let unset = self.0.keys().filter(|name| counts(name) && !after.0.contains_key(*name));
        Changes {
            set: Self(set.map(|(name, value)| (name.clone(), value.clone())).collect()),
            unset: unset.cloned().collect(),
        }
    }

    /// Carries changes out.
    pub fn apply(&mut self, changes: Changes) {
        self.0.extend(changes.set.0);
        for name in changes.unset {
            self.0.remove(&name);
        }
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_03_changes_hold_multi_line_values_and_unsets() {
        let before = Vars::from_iter([("A", "1"), ("GONE", "x"), ("SAME", "s"), ("PWD", "/a")]);
        let after = Vars::from_dump(b"A=line 1\nline 2\0SAME=s\0NEW=\0PWD=/b\0_=/bin/x\0");
        let changes = before.changes_to(&after);
        assert_eq!(changes.set, Vars::from_iter([("A", "line 1\nline 2"), ("NEW", "")]));
        assert_eq!(changes.unset, ["GONE"]);
        let mut result = before.clone();
        result.apply(changes);
        assert_eq!(result.get("PWD").as_deref(), Some("/a"), "the shell's own are nobody's changes");
        assert!(!result.contains("GONE"));
    }

    #[test]
    fn dump_and_back_is_the_same() {
        let vars = Vars::from_iter([("A", "x=y\n"), ("B", "")]);
        assert_eq!(Vars::from_dump(&vars.to_dump()), vars);
    }
}
