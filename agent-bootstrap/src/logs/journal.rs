//! The journal as a source: a `journalctl` of our own follows it. A program rather than a library, since this one is
//! linked statically and libsystemd is not to be had so.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};

use super::export::{Entry, Parser};
use super::record::{Kind, Record};
use super::source::{Position, Source};
use crate::failure::Failure;

/// Time until a `journalctl` that ended is started again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

const FIELDS: &str = "MESSAGE,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,SYSLOG_FACILITY";

/// The journal of this machine.
pub struct Journal {
    cursor: Option<String>,
    child: Option<(Child, ChildStdout)>,
    parser: Parser,
    ready: VecDeque<Entry>,
    buffer: Vec<u8>,
    draining: bool,
}

impl Journal {
    /// All that comes after a cursor; all there is without one.
    #[must_use]
    pub fn after(cursor: Option<String>) -> Self {
        Self {
            cursor,
            child: None,
            parser: Parser::default(),
            ready: VecDeque::new(),
            buffer: vec![0; 32 * 1024],
            draining: false,
        }
    }

    fn start(&self) -> Result<(Child, ChildStdout), Failure> {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager", "--no-tail", "--boot=all", "--output=export"]);
        command.arg(format!("--output-fields={FIELDS}"));
        if let Some(cursor) = &self.cursor {
            command.arg(format!("--after-cursor={cursor}"));
        }
        if !self.draining {
            command.arg("--follow");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let failed = |e: std::io::Error| Failure::failed(format!("logs: start of journalctl: {e}"));
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed(std::io::Error::other("it has no output")))?;
        Ok((child, stdout))
    }

    /// What was read of an entry that is not whole yet is forgotten: the next child begins after the last whole one.
    fn reset(&mut self) {
        self.child = None;
        self.parser = Parser::default();
    }

    /// Reads more. False at the end of what is to be read.
    async fn fill(&mut self) -> Result<bool, Failure> {
        if self.child.is_none() {
            self.child = Some(self.start()?);
        }
        let Some((child, stdout)) = &mut self.child else { return Ok(true) };
        let count = stdout.read(&mut self.buffer).await.unwrap_or(0);
        if count > 0 {
            let mut entries = Vec::new();
            let parsed = self.parser.feed(&self.buffer[..count], &mut entries);
            self.ready.extend(entries);
            if let Err(error) = parsed {
                self.reset();
                return Err(Failure::failed(format!("logs: {error}")));
            }
            return Ok(true);
        }
        let status = child.wait().await;
        let whole = self.draining && status.as_ref().is_ok_and(std::process::ExitStatus::success);
        self.reset();
        if !whole {
            let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
            eprintln!("logs: journalctl ended: {status}; it is started again");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Ok(!whole)
    }
}

impl Source for Journal {
    async fn next(&mut self) -> Result<Option<Record>, Failure> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.cursor = Some(entry.cursor.clone());
                return Ok(Some(record(entry)));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        // What programs wrote before now is in the journal when this returns. Without the right to ask for it, the
        // last milliseconds may be missing.
        let sync = Command::new("journalctl").arg("--sync").stdin(Stdio::null()).status().await;
        if !sync.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("logs: journalctl --sync: {sync:?}; the last lines may be missing");
        }
        self.ready.clear();
        self.reset();
        self.draining = true;
        Ok(())
    }

    fn position(&self) -> Position {
        Position::Journal(self.cursor.clone())
    }
}

/// Is this a cursor? `journalctl` refuses others, and would be started for ever.
#[must_use]
pub fn is_cursor(text: &str) -> bool {
    !text.is_empty()
        && text.split(';').all(|item| {
            item.split_once('=').is_some_and(|(key, value)| {
                key.len() == 1 && !value.is_empty() && value.bytes().all(|b| b.is_ascii_hexdigit())
            })
        })
}

fn record(entry: Entry) -> Record {
    // What systemd says of a unit belongs to the unit: started, failed, killed for want of memory.
    let unit = if entry.unit == "init.scope" && !entry.about.is_empty() { &entry.about } else { &entry.unit };
    let (kind, label) = classify(unit, &entry.identifier, &entry.facility);
    Record { at: entry.realtime / 1000, kind, label, message: entry.message, cut: entry.cut }
}

/// Facilities `auth` and `authpriv` of syslog.
const AUTH: [&str; 2] = ["4", "10"];

fn classify(unit: &str, identifier: &str, facility: &str) -> (Kind, Option<String>) {
    let said_by = (!identifier.is_empty()).then(|| identifier.to_owned());
    if let Some(number) = unit.strip_prefix("tidemark-agent@").and_then(|u| u.strip_suffix(".service")) {
        return (Kind::Agent, Some(format!("agent-{number}")));
    }
    match unit {
        "tidemark-boot.service" => (Kind::Boot, None),
        "tidemark-watch.service" | "tidemark-logs.service" => (Kind::Watch, None),
        "docker.service" | "docker.socket" | "containerd.service" => (Kind::Docker, said_by),
        _ if unit.starts_with("cloud-") => (Kind::CloudInit, said_by),
        _ if AUTH.contains(&facility) => (Kind::Auth, said_by),
        _ => (Kind::System, said_by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_facilities_decide_the_kind() {
        for (unit, about, identifier, facility, kind, label) in [
            ("tidemark-agent@2.service", "", "env", "3", Kind::Agent, Some("agent-2")),
            ("init.scope", "tidemark-agent@1.service", "systemd", "3", Kind::Agent, Some("agent-1")),
            ("tidemark-boot.service", "", "agent-bootstrap", "3", Kind::Boot, None),
            ("tidemark-watch.service", "", "agent-bootstrap", "3", Kind::Watch, None),
            ("tidemark-logs.service", "", "agent-bootstrap", "3", Kind::Watch, None),
            ("docker.service", "", "dockerd", "3", Kind::Docker, Some("dockerd")),
            ("cloud-final.service", "", "cloud-init", "3", Kind::CloudInit, Some("cloud-init")),
            ("ssh.service", "", "sshd", "10", Kind::Auth, Some("sshd")),
            ("", "", "kernel", "0", Kind::System, Some("kernel")),
            ("init.scope", "", "systemd", "3", Kind::System, Some("systemd")),
            ("x.service", "", "", "", Kind::System, None),
        ] {
            let entry = Entry {
                unit: unit.into(),
                about: about.into(),
                identifier: identifier.into(),
                facility: facility.into(),
                realtime: 1_999,
                ..Entry::default()
            };
            let found = record(entry);
            assert_eq!((found.kind, found.label.as_deref(), found.at), (kind, label, 1), "{unit} {about}");
        }
    }

    #[test]
    fn only_cursors_are_given_to_journalctl() {
        let real = "s=9195a6f68b134b6095438bcc937bec41;i=1;b=691de0216d694b3f9587b34e01b7efae;m=39a86738;\
            t=660c9335ed147;x=22c95e6d7e74bfb3";
        assert!(is_cursor(real));
        for text in ["", "garbage", "s=", "s=9;;i=1", "s=9;i=xyz", "s=9 ;i=1"] {
            assert!(!is_cursor(text), "{text}");
        }
    }
}
