//! When each agent was last heard of. Kept in memory, so that pings and heartbeats cost no disk write; after a
//! restart every agent counts as heard of at the start.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Unix milliseconds of an agent's last requests.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Any request.
    pub seen: i64,
    /// A ping.
    pub pinged: i64,
    /// Anything about its job.
    pub job: i64,
}

/// What kind of request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Heartbeat, connect and the like.
    Life,
    /// `GET ping`.
    Ping,
    /// Any route of a job.
    Job,
}

/// All agents heard of since the start of the server.
#[derive(Debug)]
pub struct Presence {
    since: i64,
    heard: Mutex<HashMap<String, Heard>>,
}

impl Presence {
    /// Nobody was heard of before `now`.
    pub fn starting(now: i64) -> Self {
        Self { since: now, heard: Mutex::default() }
    }

    /// Notes a request.
    pub fn note(&self, agent: &str, sign: Sign, now: i64) {
        let unheard = self.unheard();
        let mut all = self.lock();
        let heard = all.entry(agent.to_owned()).or_insert(unheard);
        heard.seen = now;
        match sign {
            Sign::Life => {}
            Sign::Ping => heard.pinged = now,
            Sign::Job => heard.job = now,
        }
    }

    /// When the agent was last heard of; the start of the server if never.
    pub fn of(&self, agent: &str) -> Heard {
        self.lock().get(agent).copied().unwrap_or(self.unheard())
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &str) {
        self.lock().remove(agent);
    }

    fn unheard(&self) -> Heard {
        Heard { seen: self.since, pinged: self.since, job: self.since }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        // Entries are replaced whole, so a panic elsewhere leaves nothing half-written.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
