//! The stacks' tables: what lies on them, calls that fail or whose answers are lost, and who lowers by the lease there.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use scaler::lease::Moment;
use scaler::lease::holder::{Clock, Holder, MayLower, Verdict};
use scaler::ledger::fake::FakeLedger;
use scaler::ledger::{Item, Ledger};
use scaler::ports::Problem;

use crate::aws::{Aws, stands};
use crate::world::lock;

/// How a table answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    Now,
    /// It is down, or denied.
    Not,
    /// Two of three calls are throttled.
    Throttled,
    /// It does what it shall, and the caller does not hear of it.
    Lost,
}

/// The table of one stack.
#[derive(Debug, Clone, Default)]
pub struct Table {
    items: FakeLedger,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    answers: Answers,
    counted: u32,
    /// Who may lower by the lease, and until when.
    lowers: Option<(String, Timestamp)>,
}

impl Table {
    /// From now on it answers so.
    pub fn answer(&self, answers: Answers) {
        lock(&self.inside).answers = answers;
    }

    /// How the next call ends: does the table do what it shall, and is that heard?
    fn next(&self) -> (bool, bool) {
        let mut inside = lock(&self.inside);
        inside.counted = inside.counted.wrapping_add(1);
        match inside.answers {
            Answers::Now => (true, true),
            Answers::Not => (false, false),
            Answers::Throttled => {
                let works = inside.counted.is_multiple_of(3);
                (works, works)
            }
            Answers::Lost => (true, false),
        }
    }
}

/// A table as a scaler calls it.
#[derive(Clone)]
pub struct Port {
    pub table: Table,
    pub aws: Arc<Mutex<Aws>>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)
    }
}

impl Port {
    async fn call<T>(&self, call: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        stands(&self.aws).await;
        let (works, heard) = self.table.next();
        let answer = if works { Some(call.await) } else { None };
        // It falls before it hears what became of it.
        stands(&self.aws).await;
        answer.filter(|_| heard).unwrap_or_else(|| Err(Problem::new(69, "the table does not answer")))
    }
}

impl Ledger for Port {
    async fn read(&self, id: &str) -> Result<Option<Item>, Problem> {
        self.call(self.table.items.read(id)).await
    }

    async fn put(&self, id: &str, item: &Item, over: Option<&str>) -> Result<bool, Problem> {
        self.call(self.table.items.put(id, item, over)).await
    }

    async fn remove(&self, id: &str, over: &str) -> Result<bool, Problem> {
        self.call(self.table.items.remove(id, over)).await
    }
}

/// The time as a scaler has it: seconds that its clock on the wall goes wrong, and one that is never set.
#[derive(Clone)]
pub struct Watch {
    pub aws: Arc<Mutex<Aws>>,
    pub skew: Arc<AtomicI64>,
}

impl Watch {
    /// The time on its wall.
    pub fn wall(&self, now: Timestamp) -> Timestamp {
        now + SignedDuration::from_secs(self.skew.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s wrong", self.skew.load(Ordering::Relaxed))
    }
}

impl Clock for Watch {
    fn now(&self) -> Moment {
        let now = lock(&self.aws).now;
        let steady = Duration::from_millis(now.as_millisecond().unsigned_abs());
        Moment { steady, wall: self.wall(now) }
    }
}

/// A scaler's lease, and the law of leases: no two scalers lower by it at a time.
#[derive(Debug)]
pub struct Lease {
    owner: String,
    table: Table,
    clock: Watch,
    holder: Holder<Port, Watch>,
}

impl Lease {
    pub fn new(port: Port, clock: Watch, owner: String) -> Self {
        let table = port.table.clone();
        let holder = Holder::by(clock.clone(), port, "default", &owner);
        Self { owner, table, clock, holder }
    }

    fn note(&self, verdict: &Verdict) {
        let Verdict::Yes(within) = verdict else { return };
        let now = lock(&self.clock.aws).now;
        let mut inside = lock(&self.table.inside);
        if let Some((owner, until)) = &inside.lowers {
            let over = *owner == self.owner || now >= *until;
            assert!(over, "{} lowers at {now}, and {owner} may until {until}", self.owner);
        }
        inside.lowers = Some((self.owner.clone(), now + *within));
    }
}

impl MayLower for Lease {
    fn ask(&self) -> BoxFuture<'_, Verdict> {
        Box::pin(async {
            let verdict = self.holder.may_lower().await;
            self.note(&verdict);
            verdict
        })
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Whatever becomes of the call, it does not lower any more.
            lock(&self.table.inside).lowers.take_if(|(owner, _)| *owner == self.owner);
            self.holder.release().await;
        })
    }
}
