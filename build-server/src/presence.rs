//! When each agent was last heard of. Kept in memory, so that pings and heartbeats cost no disk write; after a
//! restart, and after the server itself stood still, every agent counts as heard of then.

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
pub struct Presence(Mutex<All>);

#[derive(Debug)]
struct All {
    /// Nobody counts as silent for longer than this.
    since: i64,
    heard: HashMap<String, Heard>,
}

impl Presence {
    /// Nobody was heard of before `now`.
    pub fn starting(now: i64) -> Self {
        Self(Mutex::new(All { since: now, heard: HashMap::new() }))
    }

    /// The server could not listen until now, so nobody's silence before says anything.
    pub fn excuse_all(&self, now: i64) {
        let mut all = self.lock();
        all.since = now;
        // Pings stay as they are: they say what an agent did, not that it is alive.
        all.heard.values_mut().for_each(|heard| (heard.seen, heard.job) = (now, now));
    }

    /// Notes a request.
    pub fn note(&self, agent: &str, sign: Sign, now: i64) {
        let mut all = self.lock();
        let unheard = all.unheard();
        let heard = all.heard.entry(agent.to_owned()).or_insert(unheard);
        heard.seen = now;
        match sign {
            Sign::Life => {}
            Sign::Ping => heard.pinged = now,
            Sign::Job => heard.job = now,
        }
    }

    /// When the agent was last heard of; the start of the server if never.
    pub fn of(&self, agent: &str) -> Heard {
        let all = self.lock();
        all.heard.get(agent).copied().unwrap_or_else(|| all.unheard())
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &str) {
        self.lock().heard.remove(agent);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Entries are replaced whole, so a panic elsewhere leaves nothing half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn unheard(&self) -> Heard {
        Heard { seen: self.since, pinged: self.since, job: self.since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_is_noted_and_a_standstill_excuses_everyone() {
        let presence = Presence::starting(100);
        presence.note("a", Sign::Life, 110);
        presence.note("a", Sign::Ping, 120);
        presence.note("a", Sign::Job, 130);
        let of = |agent: &str| {
            let Heard { seen, pinged, job } = presence.of(agent);
            (seen, pinged, job)
        };
        assert_eq!((of("a"), of("b")), ((130, 120, 130), (100, 100, 100)));
        presence.excuse_all(500);
        assert_eq!((of("a"), of("b")), ((500, 120, 500), (500, 500, 500)));
        presence.forget("a");
        assert_eq!(of("a"), (500, 500, 500));
    }
}
