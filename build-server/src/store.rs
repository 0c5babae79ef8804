//! Everything durable, in one SQLite database behind one thread.
//!
//! The thread takes all operations that wait, runs each in a savepoint, and commits them together: one disk flush
//! answers many agents. An operation is answered only after that commit; one that refuses leaves nothing behind.

pub mod agents;
pub mod builds;
pub mod counts;
pub mod jobs;
pub mod logs;
pub mod meta_data;
pub mod queues;
pub mod schema;
pub mod stacks;
pub mod views;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::refusal::Refusal;

/// Most operations in one commit.
const BATCH: usize = 64;
/// Most operations that wait; more callers wait outside.
const WAITING: usize = 256;

/// Says how the commit went, to whoever asked.
type Reply = Box<dyn FnOnce(bool) + Send>;

/// Runs against the open transaction: whether its changes are to be kept, and the answer.
type Operation = Box<dyn FnOnce(&Connection) -> (bool, Reply) + Send>;

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Store {
    operations: mpsc::Sender<Operation>,
}

impl Store {
    /// Opens or makes the database and brings its schema up to date. Only one process can have it open.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let mut connection = Connection::open(path)?;
        schema::prepare(&mut connection)?;
        let (operations, queue) = mpsc::channel(WAITING);
        thread::spawn(move || work(&connection, queue));
        Ok(Self { operations })
    }

    /// Runs one operation; its changes are on disk when this answers with success.
    pub async fn run<T, F>(&self, operation: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let boxed: Operation = Box::new(move |connection| {
            let outcome = operation(connection);
            let keep = outcome.is_ok();
            let reply = move |committed: bool| {
                // A caller that went away needs no answer.
                let _ = answer.send(if committed || !keep { outcome } else { Err(not_committed()) });
            };
            (keep, Box::new(reply))
        });
        self.operations.send(boxed).await.map_err(|_| Refusal::Stopping)?;
        answered.await.map_err(|_| Refusal::Stopping)?
    }
}

fn not_committed() -> Refusal {
    Refusal::Store(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
        Some("the commit failed".into()),
    ))
}

fn work(connection: &Connection, mut queue: mpsc::Receiver<Operation>) {
    while let Some(first) = queue.blocking_recv() {
        let mut replies = Vec::new();
        let mut good = connection.execute_batch("BEGIN IMMEDIATE").is_ok();
        let mut next = Some(first);
        while let Some(operation) = next {
            let (intact, reply) = in_savepoint(connection, operation);
            good &= intact;
            replies.push(reply);
            next = if good && replies.len() < BATCH { queue.try_recv().ok() } else { None };
        }
        let committed = good && connection.execute_batch("COMMIT").is_ok();
        if !committed {
            tracing::error!("the store could not commit; nothing was changed");
            // Nothing to roll back when SQLite has done so itself.
            let _ = connection.execute_batch("ROLLBACK");
        }
        replies.into_iter().for_each(|reply| reply(committed));
    }
}

/// Runs an operation so that it leaves all of its changes or none. False when the whole transaction is broken.
fn in_savepoint(connection: &Connection, operation: Operation) -> (bool, Reply) {
    let saved = connection.execute_batch("SAVEPOINT operation").is_ok();
    // A fault in one operation must not end the thread that serves all: its caller gets a 503, its changes go.
    let (keep, reply) = catch_unwind(AssertUnwindSafe(|| operation(connection))).unwrap_or_else(|_| {
        tracing::error!("an operation on the store panicked; its changes are undone");
        (false, Box::new(|_| ()))
    });
    let end = if keep { "RELEASE operation" } else { "ROLLBACK TO operation; RELEASE operation" };
    (saved && connection.execute_batch(end).is_ok(), reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with_table() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        store.run(|db| Ok(db.execute_batch("CREATE TABLE t (x INTEGER)")?)).await.unwrap();
        (dir, store)
    }

    fn add(db: &Connection, x: i64) -> Result<(), Refusal> {
        db.execute("INSERT INTO t VALUES (?)", [x])?;
        Ok(())
    }

    async fn sum(store: &Store) -> i64 {
        let sum =
            |db: &Connection| Ok(db.query_row("SELECT coalesce(sum(x), 0) FROM t", [], |row| row.get(0))?);
        store.run(sum).await.unwrap()
    }

    #[tokio::test]
    async fn a_refused_operation_leaves_nothing_and_its_neighbours_stay() {
        let (_dir, store) = with_table().await;
        let refused = store.run(|db| add(db, 1).and_then(|()| Err::<(), _>(Refusal::invalid("no"))));
        let (refused, kept) = tokio::join!(refused, store.run(|db| add(db, 10)));
        assert!(matches!(refused, Err(Refusal::Invalid(_))));
        kept.unwrap();
        assert_eq!(sum(&store).await, 10);
    }

    #[tokio::test]
    async fn a_failed_commit_is_told_to_everyone_in_it() {
        let (_dir, store) = with_table().await;
        let broken = store.run(|db| {
            db.execute_batch("PRAGMA defer_foreign_keys = ON")?;
            db.execute("INSERT INTO chunks (job, sequence, offset, bytes) VALUES (99, 1, 0, x'')", [])?;
            add(db, 1)
        });
        assert!(matches!(broken.await, Err(Refusal::Store(_))));
        store.run(|db| add(db, 10)).await.unwrap();
        assert_eq!(sum(&store).await, 10);
    }

    #[tokio::test]
    async fn a_panic_in_one_operation_does_not_stop_the_store() {
        let (_dir, store) = with_table().await;
        let panicked = store.run(|db| {
            add(db, 1)?;
            if db.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        });
        assert!(matches!(panicked.await, Err(Refusal::Stopping)));
        store.run(|db| add(db, 10)).await.unwrap();
        assert_eq!(sum(&store).await, 10);
    }
}
