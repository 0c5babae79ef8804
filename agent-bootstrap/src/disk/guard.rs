//! The task that looks at the disk, decides and prunes. It runs beside the keeper, which must never wait for a prune.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use lifecycle::Disk;
use tokio::sync::watch::{Receiver, Sender, channel};

use super::decide::{Activity, Limits, Next, Seen, Space, decide};
use super::engine::Engine;

/// The keeper's end: it tells what the jobs are up to, and hears how the disk is.
#[derive(Debug)]
pub struct KeeperEnd {
    /// What the jobs are up to.
    pub activity: Sender<Activity>,
    /// How the disk is.
    pub verdict: Receiver<Disk>,
}

/// The guard's end.
#[derive(Debug)]
pub struct GuardEnd {
    activity: Receiver<Activity>,
    verdict: Sender<Disk>,
}

/// Both ends. Without a guard the disk is taken to be fine.
#[must_use]
pub fn ends() -> (KeeperEnd, GuardEnd) {
    let (told, activity) = channel(Activity::default());
    let (verdict, heard) = channel(Disk::Fine);
    (KeeperEnd { activity: told, verdict: heard }, GuardEnd { activity, verdict })
}

/// Guards the disk.
#[derive(Debug)]
pub struct Guard<E, S> {
    engine: Option<E>,
    /// Room on the file system of a path.
    space: S,
    limits: Limits,
    /// Where jobs work.
    builds: PathBuf,
    end: GuardEnd,
    instance: String,
    /// Where the engine keeps what it keeps, once it has told.
    data_root: Option<PathBuf>,
    old_pruned: Option<Timestamp>,
    unused_pruned: Option<Timestamp>,
}

impl<E: Engine, S: Fn(&PathBuf) -> std::io::Result<Space>> Guard<E, S> {
    /// A guard of the file systems of `builds` and of the engine, if there is one.
    pub fn new(
        instance: &str,
        engine: Option<E>,
        space: S,
        builds: PathBuf,
        limits: Limits,
        end: GuardEnd,
    ) -> Self {
        Self {
            engine,
            space,
            limits,
            builds,
            end,
            instance: instance.to_owned(),
            data_root: None,
            old_pruned: None,
            unused_pruned: None,
        }
    }

    /// Guards for ever: looks at every interval, and when the jobs' doings change.
    pub async fn run(mut self, interval: Duration) {
        loop {
            self.look().await;
            let changed = tokio::time::timeout(interval, self.end.activity.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return; // The keeper has ended.
            }
        }
    }

    /// One look: prunes until there is nothing to be pruned now, then says how the disk is.
    pub async fn look(&mut self) {
        loop {
            let seen = Seen {
                enough: self.is_enough().await,
                activity: *self.end.activity.borrow_and_update(),
                verdict: *self.end.verdict.borrow(),
                old_pruned: self.old_pruned,
                unused_pruned: self.unused_pruned,
            };
            let now = Timestamp::now();
            match decide(&self.limits, &seen, now) {
                Next::Say(verdict) => return self.conclude(verdict),
                Next::PruneOld { before, cache } => {
                    self.old_pruned = Some(now);
                    if let Some(engine) = &self.engine {
                        self.say_pruned("old", before, engine.prune_old(before, cache).await);
                    }
                }
                Next::PruneUnused { before } => {
                    self.unused_pruned = Some(now);
                    if let Some(engine) = &self.engine {
                        self.say_pruned("unused", before, engine.prune_unused(before).await);
                    }
                }
            }
        }
    }

    /// Short room on one file system is short room. What cannot be measured is unknown, unless another one is short.
    async fn is_enough(&mut self) -> Option<bool> {
        if let (Some(engine), None) = (&self.engine, &self.data_root) {
            self.data_root = engine.data_root().await.ok();
        }
        let hold = |path: &PathBuf| (self.space)(path).ok().map(|space| self.limits.hold(space));
        let known = [hold(&self.builds), self.data_root.as_ref().and_then(hold)];
        if known.contains(&Some(false)) { Some(false) } else { known[0] }
    }

    fn conclude(&self, verdict: Disk) {
        let changed = self.end.verdict.send_if_modified(|known| {
            let changed = *known != verdict;
            *known = verdict;
            changed
        });
        if changed {
            self.say(serde_json::json!({ "disk": verdict }));
        }
    }

    fn say_pruned(&self, what: &str, before: Timestamp, pruned: Result<u64, String>) {
        match pruned {
            Ok(0) => {}
            Ok(bytes) => self.say(serde_json::json!({ "pruned": what, "before": before, "bytes": bytes })),
            Err(error) => self.say(serde_json::json!({ "pruned": what, "failed": error })),
        }
    }

    fn say(&self, mut line: serde_json::Value) {
        line["at"] = Timestamp::now().to_string().into();
        line["instance"] = self.instance.clone().into();
        eprintln!("{line}");
    }
}

#[cfg(test)]
mod tests;
