//! The lease on the ledger: may this scaler lower now?

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::{Held, Lease, Moment, Next};
use crate::ledger::{Item, Ledger};
use crate::ports::Problem;

/// A ledger that does not answer is left alone for so long.
const DEAF: Duration = Duration::from_secs(60);

/// May it?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within this time.
    Yes(Duration),
    /// That scaler does.
    LeftTo(String),
    /// Nobody can tell, so it may, as without a lease: all scalers come to the same numbers. Why, where it was just found
    /// out.
    Unguarded(Option<Problem>),
}

/// Says whether desired capacity may be lowered.
pub trait MayLower: fmt::Debug + Send + Sync {
    /// Asked when there is something to lower.
    fn ask(&self) -> BoxFuture<'_, Verdict>;
    /// Nothing will be lowered for a while.
    fn release(&self) -> BoxFuture<'_, ()>;
}

/// Tells a scaler its own time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// By both clocks.
    fn now(&self) -> Moment;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct OfMachine {
    began: Instant,
}

impl Clock for OfMachine {
    fn now(&self) -> Moment {
        Moment { steady: self.began.elapsed(), wall: Timestamp::now() }
    }
}

/// A lease and the ledger it lies on.
#[derive(Debug)]
pub struct Holder<L, C = OfMachine> {
    ledger: L,
    id: String,
    clock: C,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    lease: Lease,
    /// By the clock that is never set.
    deaf_since: Option<Duration>,
}

impl<L: Ledger> Holder<L> {
    /// The lease of a queue, for a scaler with this name.
    pub fn new(ledger: L, queue: &str, owner: &str) -> Self {
        Self::by(OfMachine { began: Instant::now() }, ledger, queue, owner)
    }
}

impl<L: Ledger, C: Clock> Holder<L, C> {
    /// The same by these clocks.
    pub fn by(clock: C, ledger: L, queue: &str, owner: &str) -> Self {
        let inside = Inside { lease: Lease::new(owner), deaf_since: None };
        Self { ledger, id: format!("lease {queue}"), clock, inside: Mutex::new(inside) }
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    /// There is something to lower: may it be?
    pub async fn may_lower(&self) -> Verdict {
        let mut inside = self.inside.lock().await;
        let steady = self.now().steady;
        if inside.deaf_since.is_some_and(|since| steady.saturating_sub(since) < DEAF) {
            return Verdict::Unguarded(None);
        }
        match self.settle(&mut inside.lease).await {
            Ok(verdict) => {
                inside.deaf_since = None;
                verdict
            }
            Err(problem) => {
                inside.deaf_since = Some(self.now().steady);
                Verdict::Unguarded(Some(problem))
            }
        }
    }

    async fn settle(&self, lease: &mut Lease) -> Result<Verdict, Problem> {
        let mut next = lease.wish(&self.now());
        // Read, take; where somebody was faster, the same once more.
        for _ in 0..6 {
            next = match next {
                Next::Lower(within) => return Ok(Verdict::Yes(within)),
                Next::Leave(owner) => return Ok(Verdict::LeftTo(owner)),
                Next::Read => {
                    let there = self.ledger.read(&self.id).await?;
                    let there = there.map(|item| self.held(&item)).transpose()?;
                    lease.read(there, &self.now())
                }
                Next::Take { over, to_be } => {
                    lease.asks(&to_be);
                    let asked = self.now();
                    let over = over.as_ref().map(version);
                    let item = Item { version: version(&to_be), body: to_be.owner.clone() };
                    let won = self.ledger.put(&self.id, &item, over.as_deref()).await?;
                    lease.took(&to_be, won, asked);
                    lease.wish(&self.now())
                }
            };
        }
        Ok(Verdict::LeftTo("others, in turns".to_owned()))
    }

    fn held(&self, item: &Item) -> Result<Held, Problem> {
        let read = item
            .version
            .split_once(' ')
            .and_then(|(turn, owner)| Some(Held { owner: owner.to_owned(), turn: turn.parse().ok()? }));
        read.ok_or_else(|| {
            Problem::new(1, format!("{}: version `{}` is none of a lease", self.id, item.version))
        })
    }

    /// Leaves the lease to others, if it is this scaler's. Where that fails they wait a little longer.
    pub async fn release(&self) {
        let held = self.inside.lock().await.lease.give_up();
        if let Some(held) = held
            && let Err(problem) = self.ledger.remove(&self.id, &version(&held)).await
        {
            eprintln!("scaler: the lease stays for a while: {problem}");
        }
    }
}

impl<L: Ledger + fmt::Debug + Send + Sync, C: Clock> MayLower for Holder<L, C> {
    fn ask(&self) -> BoxFuture<'_, Verdict> {
        Box::pin(async {
            let verdict = self.may_lower().await;
            if let Verdict::Unguarded(Some(problem)) = &verdict {
                eprintln!("scaler: lowering without a lease, as other scalers may, too: {problem}");
            }
            verdict
        })
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(Holder::release(self))
    }
}

fn version(held: &Held) -> String {
    format!("{} {}", held.turn, held.owner)
}

/// A name that no other process has, and that people can find the process by.
#[must_use]
pub fn name_of_this_process() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let process = || format!("{}:{}", host().unwrap_or_default().trim(), std::process::id());
    let stream = std::env::var("AWS_LAMBDA_LOG_STREAM_NAME").ok();
    format!("{}#{:08x}", stream.unwrap_or_else(process), rand::random::<u32>())
}

#[cfg(test)]
mod tests;
