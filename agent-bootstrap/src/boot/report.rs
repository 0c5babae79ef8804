//! What the last boot did and how long it took (`boot.json` of the state folder), for `boot --report`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{self, Owner};
use super::phases::{Phases, Took};
use crate::failure::Failure;
use crate::layout::Layout;

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Agents were started.
    Ready,
    /// It was given up; `error` says why.
    Failed,
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The instance, if it got as far as knowing.
    #[serde(default)]
    pub instance: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Phase, reason and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// All of it, in milliseconds.
    pub milliseconds: u64,
    /// The phases that ended well, in the order of their ends. Some run side by side.
    pub phases: Vec<Took>,
}

impl Report {
    /// The boot so far: ready, or failed by `error`.
    #[must_use]
    pub fn new(phases: &Phases, instance: Option<String>, error: Option<String>, at: Timestamp) -> Self {
        let (phases, milliseconds) = phases.so_far();
        let outcome = if error.is_none() { Outcome::Ready } else { Outcome::Failed };
        Self { instance, at, outcome, error, milliseconds, phases }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, layout: &Layout) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map_err(|e| Failure::failed(format!("boot.json: {e}")))?;
        files::folder(&layout.state(), 0o755, Owner::own())?;
        files::file(&layout.boot_report(), text.as_bytes(), 0o644, Owner::own())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = self.instance.as_deref().unwrap_or("an instance that does not know itself");
        let ended = match self.outcome {
            Outcome::Ready => "ready",
            Outcome::Failed => "failed",
        };
        writeln!(f, "{instance}: {ended} in {} ms, {:.0}", self.milliseconds, self.at)?;
        writeln!(f, "{:<20} {:>10} {:>10}", "phase", "began", "took")?;
        for phase in &self.phases {
            writeln!(f, "{:<20} {:>7} ms {:>7} ms", phase.name, phase.began, phase.milliseconds)?;
        }
        match &self.error {
            Some(error) => writeln!(f, "{error}"),
            None => Ok(()),
        }
    }
}

/// Prints the last boot, as a table or as the file has it.
///
/// # Errors
/// When no boot has ended here, or its report cannot be read.
#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
pub fn print(layout: &Layout, json: bool) -> Result<(), Failure> {
    let path = layout.boot_report();
    let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::failed(format!("boot: {}: no boot has ended here yet", path.display()))
        }
        _ => Failure::failed(format!("boot: {}: {e}", path.display())),
    })?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| Failure::failed(format!("boot: {}: {e}; boot again writes it anew", path.display())))?;
    if json {
        println!("{text}");
    } else {
        print!("{report}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_for_people() {
        let report = Report {
            instance: Some("i-0abc".into()),
            at: "2026-11-21T13:00:00Z".parse().unwrap(),
            outcome: Outcome::Failed,
            error: Some("boot: agent token: denied".into()),
            milliseconds: 1234,
            phases: vec![
                Took { name: "identity".into(), began: 0, milliseconds: 46 },
                Took { name: "settings".into(), began: 47, milliseconds: 1003 },
            ],
        };
        insta::assert_snapshot!(report.to_string(), @r"
        i-0abc: failed in 1234 ms, 2026-11-21T13:00:00Z
        phase                     began       took
        identity                   0 ms      46 ms
        settings                  47 ms    1003 ms
        boot: agent token: denied
        ");
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
