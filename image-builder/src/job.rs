//! What is to be built: a template at a commit. Pure: what arrives as text becomes types that cannot leave the repository
//! or be taken for an option of a program.

pub mod message;

use std::collections::BTreeMap;
use std::fmt;

use crate::problem::Problem;

/// A template's longest path, in bytes; it becomes part of an S3 key, which has 1,024 in all.
const LONGEST_PATH: usize = 900;

/// The shortest abbreviation of a commit id; as many characters stand in the audit's key.
pub const SHORT_COMMIT: usize = 7;

/// One build to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The Packer template.
    pub template: TemplatePath,
    /// The commit that it is taken from.
    pub commit: CommitId,
    /// Packer variables of this build.
    pub variables: BTreeMap<String, String>,
}

/// Path of a template in its repository: relative, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplatePath(String);

impl TemplatePath {
    /// Reads a path. Leading spaces and slashes are dropped, as kiln does.
    ///
    /// # Errors
    /// The path is empty, too long, leaves the repository or has characters that no path needs.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text.trim_start_matches([' ', '/']);
        // kiln took "0" for empty, too.
        if path.is_empty() || path == "0" {
            return Err("is empty".to_owned());
        }
        if path.len() > LONGEST_PATH {
            return Err(format!("has {} bytes, at most {LONGEST_PATH} are possible", path.len()));
        }
        if path.chars().any(char::is_control) {
            return Err(format!("{path:?} has control characters"));
        }
        if path.starts_with('-') {
            return Err(format!("{path:?} starts as an option does"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{path:?} is no plain path below the repository (no `..`, `.` or `//`)"));
        }
        Ok(Self(path.to_owned()))
    }

    /// As it stands in audits and keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A commit's id in hexadecimal digits, 7 to 64 of them. A branch or a tag is none: it may name something else tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitId(String);

impl CommitId {
    /// Reads an id.
    ///
    /// # Errors
    /// It is empty, too short or long, or has other characters.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == "0" {
            return Err("is empty".to_owned());
        }
        if !text.chars().all(|c| c.is_ascii_hexdigit()) {
            let shown: String = text.chars().take(60).collect();
            return Err(format!(
                "{shown:?} is no commit id: give its hexadecimal digits, not a branch or tag"
            ));
        }
        if !(SHORT_COMMIT..=64).contains(&text.len()) {
            return Err(format!("{text:?} has {} digits: give 7 to 64, best all 40", text.len()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// As it was given, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first seven digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..SHORT_COMMIT]
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a job from what a person typed.
///
/// # Errors
/// All that is wrong with it, in one text.
pub fn of_arguments(template: &str, commit: &str) -> Result<Job, Problem> {
    let (template, commit) = (TemplatePath::parse(template), CommitId::parse(commit));
    match (template, commit) {
        (Ok(template), Ok(commit)) => Ok(Job { template, commit, variables: BTreeMap::new() }),
        (template, commit) => {
            let faults = [("template", template.err()), ("sha", commit.err())];
            let faults = faults.into_iter().filter_map(|(name, fault)| Some(format!("{name} {}", fault?)));
            Err(Problem::new(2, faults.collect::<Vec<_>>().join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_stay_in_the_repository() {
        for (text, expected) in [
            ("web/base.json", Some("web/base.json")),
            (" /web/base.json", Some("web/base.json")),
            ("//web/base.pkr.hcl", Some("web/base.pkr.hcl")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a b/c;d.json", Some("a b/c;d.json")),
            ("", None),
            (" / ", None),
            ("0", None),
            ("../base.json", None),
            ("web/../../base.json", None),
            ("web//base.json", None),
            ("./base.json", None),
            ("web/", None),
            ("-force.json", None),
            ("web/a\nb.json", None),
            ("web/a\0.json", None),
        ] {
            let parsed = TemplatePath::parse(text);
            assert_eq!(parsed.as_ref().ok().map(TemplatePath::as_str), expected, "{text:?}: {parsed:?}");
        }
        assert!(TemplatePath::parse(&"a".repeat(901)).is_err());
    }

    #[test]
    fn a_commit_is_digits_only() {
        for (text, fine) in [
            ("0123456789abcdef0123456789abcdef01234567", true),
            ("0123456", true),
            ("ABCDEF0", true),
            ("012345", false),
            ("", false),
            ("0", false),
            ("-f", false),
            ("main", false),
            ("v1.0.0", false),
            ("HEAD", false),
            ("0123456^", false),
            ("0123456 --upload-pack=x", false),
        ] {
            assert_eq!(CommitId::parse(text).is_ok(), fine, "{text:?}");
        }
        assert_eq!(CommitId::parse("ABCDEF0123").unwrap().short(), "abcdef0");
        assert!(CommitId::parse(&"a".repeat(65)).is_err());
    }

    #[test]
    fn both_faults_of_a_command_line_are_told() {
        let problem = of_arguments("../x", "main").unwrap_err();
        assert_eq!(problem.code, 2);
        assert_eq!(problem.message.lines().count(), 2, "{problem}");
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_below_the_repository(text in ".{0,40}|[./ a-]{0,12}") {
            if let Ok(path) = TemplatePath::parse(&text) {
                let joined = std::path::Path::new("/repository").join(path.as_str());
                let plain = joined.components().all(|part| {
                    matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir)
                });
                prop_assert!(plain && joined.starts_with("/repository"), "{joined:?}");
            }
        }
    }
}
