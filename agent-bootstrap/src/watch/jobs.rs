//! The jobs that run here, kept in a file so that a restarted `watch` still knows them.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use lifecycle::rollout::SettingsSeen;
use lifecycle::{Observed, State, Word};
use serde::{Deserialize, Serialize};

use crate::boot::files::{self, Owner};
use crate::failure::Failure;
use crate::units::process::Process;

/// A running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The agent's process, if it is known. The job is over at the latest when this is.
    pub agent: Option<Process>,
    /// The process that runs the job, if it is known; the same holds.
    #[serde(default)]
    pub process: Option<Process>,
    /// When it was let in.
    pub since: Timestamp,
}

/// What must outlive this process, but not a reboot: nothing runs after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the instance does.
    pub state: State,
    /// Jobs by id.
    pub jobs: BTreeMap<String, Job>,
    /// Since when nothing runs.
    pub idle_since: Timestamp,
    /// What was seen of the settings by reference.
    #[serde(default)]
    pub settings: SettingsSeen,
    /// The operator's last word.
    #[serde(default)]
    pub word: Word,
    /// Did a job end here?
    #[serde(default)]
    pub served: bool,
    /// Were the agents told to leave? A second time would cancel their jobs.
    #[serde(default)]
    pub agents_told: bool,
    /// Why running jobs were cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
    /// When the shipping of logs was told to send what is left and to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_told: Option<Timestamp>,
}

impl Memory {
    /// Of an instance that was just born.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: State::Booting,
            jobs: BTreeMap::new(),
            idle_since: now,
            settings: SettingsSeen::default(),
            word: Word::Serve,
            served: false,
            agents_told: false,
            cancelled: None,
            logs_told: None,
        }
    }

    /// Reads what a former `watch` left. A file that cannot be read is an error, not an empty memory: a job may run.
    ///
    /// # Errors
    /// Names the file.
    pub fn load(path: &Path) -> Result<Option<Self>, Failure> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Failure::failed(format!("watch: {}: {e}; remove it when no job runs here", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::failed(format!("watch: {}: {error}", path.display()))),
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).map_err(|e| Failure::failed(format!("watch: {e}")))?;
        files::file(path, &bytes, 0o600, Owner::own())
    }

    /// Lets a job in. An agent runs one job at a time, so an earlier one of the same agent is over.
    pub fn start(&mut self, id: String, job: Job) {
        if job.agent.is_some() {
            self.jobs.retain(|_, other| other.agent != job.agent);
        }
        self.jobs.insert(id, job);
    }

    /// Ids of an agent's jobs.
    #[must_use]
    pub fn of_agent(&self, agent: Process) -> Vec<String> {
        let own = self.jobs.iter().filter(|(_, job)| job.agent == Some(agent));
        own.map(|(id, _)| id.clone()).collect()
    }

    /// Forgets a job that is over; false when it was not known.
    pub fn finish(&mut self, id: &str) -> bool {
        self.jobs.remove(id).is_some()
    }

    /// What a new `watch` knows of the instance; the rest is asked anew.
    #[must_use]
    pub fn observed(&self) -> Observed {
        Observed {
            jobs: self.jobs.len(),
            word: self.word,
            served: self.served,
            agents_told: self.agents_told,
            cancelled: self.cancelled.is_some(),
            logs_told: self.logs_told,
            ..Observed::new(self.state, self.idle_since)
        }
    }

    /// Takes over what is to be remembered.
    pub fn remember(&mut self, seen: &Observed) {
        self.state = seen.state;
        self.idle_since = seen.idle_since;
        self.word = seen.word;
        self.served = seen.served;
        self.agents_told = seen.agents_told;
        self.logs_told = seen.logs_told;
    }

    /// Ids of jobs that cannot run any more: their agent or their own process is gone. Jobs of which neither is known
    /// last as long as any agent.
    pub fn ended(&self, any_agent: bool, is_alive: impl Fn(Process) -> bool) -> Vec<String> {
        let runs = |job: &Job| {
            let mut known = job.agent.iter().chain(&job.process).peekable();
            if known.peek().is_none() { any_agent } else { known.all(|process| is_alive(*process)) }
        };
        self.jobs.iter().filter(|(_, job)| !runs(job)).map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const A: Process = Process { pid: 7, started: 1 };
    const B: Process = Process { pid: 8, started: 1 };

    fn job(agent: Option<Process>, process: Option<Process>) -> Job {
        Job { agent, process, since: at(1) }
    }

    #[test]
    fn an_agent_has_one_job() {
        let mut memory = Memory::new(at(0));
        memory.start("one".into(), job(Some(A), None));
        memory.start("two".into(), job(Some(B), None));
        memory.start("three".into(), job(Some(A), None));
        assert_eq!(memory.jobs.keys().collect::<Vec<_>>(), ["three", "two"]);
        assert_eq!((memory.of_agent(A), memory.of_agent(B)), (vec!["three".into()], vec!["two".into()]));
        assert!(memory.finish("two") && !memory.finish("two") && !memory.finish("one"));
        assert_eq!(memory.observed().jobs, 1);
    }

    #[test]
    fn what_an_older_watch_left_is_read() {
        let older = r#"{"state":{"state":"busy"},"jobs":{"j":{"agent":null,"since":"1970-01-01T00:00:01Z"}},
            "idle_since":"1970-01-01T00:00:00Z"}"#;
        let memory: Memory = serde_json::from_str(older).unwrap();
        assert_eq!((memory.state, memory.jobs.len(), memory.word), (State::Busy, 1, Word::Serve));
    }

    #[test]
    fn a_job_ends_with_its_agent_or_its_own_process() {
        let mut memory = Memory::new(at(0));
        memory.start("agent".into(), job(Some(A), None));
        memory.start("both".into(), job(Some(B), Some(A)));
        memory.start("neither".into(), job(None, None));
        let none: [&str; 0] = [];
        assert_eq!(memory.ended(true, |_| true), none);
        assert_eq!(memory.ended(true, |process| process == B), ["agent", "both"]);
        assert_eq!(memory.ended(true, |process| process == A), ["both"]);
        assert_eq!(memory.ended(false, |_| true), ["neither"]);
    }

    #[test]
    fn a_memory_reads_back_and_a_broken_one_is_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch.json");
        assert_eq!(Memory::load(&path).unwrap(), None);
        let mut memory = Memory::new(at(0));
        memory.start("one".into(), job(Some(A), Some(B)));
        memory.save(&path).unwrap();
        assert_eq!(Memory::load(&path).unwrap(), Some(memory));
        std::fs::write(&path, "{").unwrap();
        assert!(Memory::load(&path).is_err());
    }
}
