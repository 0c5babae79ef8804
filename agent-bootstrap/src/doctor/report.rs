//! The report: verdicts, its text and its JSON. Pure.

use std::fmt::Write;

use serde::Serialize;

/// How a check ended; later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Works.
    Ok,
    /// Works not, or could not be looked at, and jobs may go well all the same.
    Warn,
    /// Jobs will fail.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, one line. Never a secret.
    pub found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: one_line(found), fix: None }
    }

    /// Worth a look.
    pub fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: one_line(found), fix: Some(one_line(fix)) }
    }

    /// Jobs will fail.
    pub fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: one_line(found), fix: Some(one_line(fix)) }
    }
}

/// Other people's words may hold line breaks and control characters.
fn one_line(text: impl Into<String>) -> String {
    text.into().split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
}

impl Report {
    /// The worst verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// For people: a line a check, and beneath it what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            let _ = writeln!(text, "{verdict:<5} {:<width$}  {}", check.name, check.found);
            if let Some(fix) = &check.fix {
                let _ = writeln!(text, "{:<5} {:<width$}  fix: {fix}", "", "");
            }
        }
        text
    }

    /// For programs: `{"verdict":…,"checks":[{"name","verdict","found","fix"?}]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let value = serde_json::json!({ "verdict": self.verdict(), "checks": self.checks });
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            checks: vec![
                Check::ok("identity", "arn:aws:sts::123456789012:assumed-role/ci/i-1 in eu-west-1"),
                Check::warn("docker", "no program `docker`", "install docker, or tag the queue docker=false"),
                Check::fail("bucket", "s3://b: AccessDenied:\nno", "let the role call s3:ListBucket on it"),
            ],
        }
    }

    #[test]
    fn text_for_people() {
        insta::assert_snapshot!(report().text(), @r"
        ok    identity  arn:aws:sts::123456789012:assumed-role/ci/i-1 in eu-west-1
        warn  docker    no program `docker`
                        fix: install docker, or tag the queue docker=false
        fail  bucket    s3://b: AccessDenied: no
                        fix: let the role call s3:ListBucket on it
        ");
    }

    #[test]
    fn json_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(value["verdict"], "fail");
        assert_eq!(value["checks"][0]["verdict"], "ok");
        assert!(value["checks"][0].get("fix").is_none());
        assert_eq!(value["checks"][2]["fix"], "let the role call s3:ListBucket on it");
    }
}
