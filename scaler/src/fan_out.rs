//! How many jobs a build of a pipeline brings, learned from those before it. Pure: `now` is a parameter.
//!
//! A build is queued long before its jobs are: the first one uploads the others. What a build of the pipeline brought
//! so far, in the time for which an announcement is believed, is the estimate for the next one. Later builds count
//! more than earlier ones, and a pipeline that has not built for a month is forgotten. A build that never began to
//! run teaches nothing: its jobs stand behind others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hint::{Event, Hint};

/// How much the latest build counts; the rest is what was known before.
const WEIGHT: f64 = 0.3;

/// Pipelines that are remembered, builds that are watched, and jobs of one that are told apart, at most: all are named
/// by somebody else.
const PIPELINES: usize = 1000;
const BUILDS: usize = 1000;
const JOBS: usize = 2000;

/// For so long a build is remembered, so that a delivery that is repeated announces nothing: longer than a signature is
/// good for.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(15);

/// A pipeline that has not built for so long is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FanOut {
    pipelines: BTreeMap<String, Learned>,
    builds: BTreeMap<String, Watched>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Learned {
    jobs: f64,
    at: Timestamp,
}

/// A build of which jobs are awaited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    pipeline: Option<String>,
    since: Timestamp,
    runs: bool,
    /// Its time is over.
    over: bool,
    jobs: BTreeSet<String>,
}

impl FanOut {
    /// Takes note of a hint, and tells how many jobs it announces for `queue`. A build announces once: a hint that
    /// comes twice, or its next event, adds nothing. `window`: for how long jobs of a build are awaited.
    pub fn hear(&mut self, hint: &Hint, queue: &str, window: SignedDuration, now: Timestamp) -> u32 {
        self.settle(window, now);
        let Some(build) = &hint.build else { return 0 };
        if hint.event == Event::BuildFinished {
            let ended = self.builds.get_mut(build).filter(|watched| !watched.over).map(|watched| {
                (watched.runs, watched.over) = (true, true);
                watched.clone()
            });
            if let Some(watched) = ended {
                self.learn(&watched, now);
            }
            return 0;
        }
        let known = self.builds.contains_key(build);
        if !known && self.builds.len() >= BUILDS {
            let eldest = self.builds.iter().min_by_key(|(_, watched)| watched.since);
            if let Some(eldest) = eldest.map(|(id, _)| id.clone()) {
                self.builds.remove(&eldest);
            }
        }
        let watched = self.builds.entry(build.clone()).or_insert_with(|| Watched {
            pipeline: hint.pipeline.clone(),
            since: now,
            runs: false,
            over: false,
            jobs: BTreeSet::new(),
        });
        match hint.event {
            Event::JobScheduled => {
                let counts = !watched.over && watched.jobs.len() < JOBS && hint.is_for(queue);
                if let Some(job) = hint.job.as_ref().filter(|_| counts) {
                    watched.jobs.insert(job.clone());
                }
                0
            }
            Event::BuildRunning if !watched.runs => {
                // Its other jobs come from now on. What was announced long ago is believed no more.
                let announced = known && !watched.over;
                if watched.over {
                    watched.jobs.clear();
                }
                (watched.runs, watched.over, watched.since) = (true, false, now);
                if announced { 0 } else { self.estimate(hint, queue) }
            }
            _ if known => 0,
            _ => self.estimate(hint, queue),
        }
    }

    /// Adds what another process learned: of a pipeline what was learned later, of a build the jobs of both.
    pub fn join(&mut self, theirs: Self) {
        for (pipeline, learned) in theirs.pipelines {
            let mine = self.pipelines.entry(pipeline).or_insert(learned);
            if learned.at > mine.at {
                *mine = learned;
            }
        }
        for (build, watched) in theirs.builds {
            match self.builds.entry(build) {
                Entry::Vacant(entry) => drop(entry.insert(watched)),
                Entry::Occupied(mut entry) => entry.get_mut().jobs.extend(watched.jobs),
            }
        }
    }

    /// Forgets the elder half of the builds or, where there are none, of the pipelines. False: there is nothing left.
    pub fn cut(&mut self) -> bool {
        if !forget_elder_half(&mut self.builds, |watched| watched.since) {
            return forget_elder_half(&mut self.pipelines, |learned| learned.at);
        }
        true
    }

    fn estimate(&self, hint: &Hint, queue: &str) -> u32 {
        let learned = || {
            let learned = self.pipelines.get(hint.pipeline.as_ref()?)?;
            // At most as many as are told apart.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to JOBS")]
            Some(learned.jobs.round() as u32)
        };
        if hint.is_for(queue) { hint.announces(queue).or_else(learned).unwrap_or(0) } else { 0 }
    }

    /// Learns from builds whose time is over, and forgets pipelines that build no more.
    fn settle(&mut self, window: SignedDuration, now: Timestamp) {
        let is_over = |watched: &Watched| !watched.over && now.duration_since(watched.since) >= window;
        let mut over = Vec::new();
        for watched in self.builds.values_mut().filter(|watched| is_over(watched)) {
            watched.over = true;
            over.push(watched.clone());
        }
        for watched in over {
            self.learn(&watched, now);
        }
        self.builds.retain(|_, watched| now.duration_since(watched.since) < REMEMBERED);
        self.pipelines.retain(|_, learned| now.duration_since(learned.at) < FORGOTTEN);
    }

    fn learn(&mut self, watched: &Watched, now: Timestamp) {
        let Some(pipeline) = watched.pipeline.clone().filter(|_| watched.runs) else { return };
        if !self.pipelines.contains_key(&pipeline) && self.pipelines.len() >= PIPELINES {
            let eldest = self.pipelines.iter().min_by_key(|(_, learned)| learned.at);
            if let Some(eldest) = eldest.map(|(name, _)| name.clone()) {
                self.pipelines.remove(&eldest);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "JOBS at most")]
        let brought = watched.jobs.len() as f64;
        let learned = self.pipelines.entry(pipeline).or_insert(Learned { jobs: brought, at: now });
        *learned = Learned { jobs: learned.jobs + WEIGHT * (brought - learned.jobs), at: now };
    }
}

fn forget_elder_half<V>(map: &mut BTreeMap<String, V>, at: impl Fn(&V) -> Timestamp) -> bool {
    let mut times: Vec<Timestamp> = map.values().map(&at).collect();
    times.sort_unstable();
    let Some(middle) = times.get(times.len() / 2).copied() else { return false };
    let mut left = map.len() / 2;
    // Of those that are as old as the one in the middle some stay, so that half of them do.
    map.retain(|_, value| {
        let stays = left > 0 && at(value) >= middle;
        left -= usize::from(stays);
        stays
    });
    true
}

#[cfg(test)]
mod tests;
