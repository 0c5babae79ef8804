//! The tables, and how an older database becomes a newer one.

use rusqlite::Connection;

use crate::refusal::Refusal;

/// One script for each version; `user_version` counts those that ran. Never edit one that was released.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Sets durability, then runs the migrations that this database lacks.
pub fn prepare(connection: &mut Connection) -> Result<(), Refusal> {
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    // Exclusive: a second server on the same folder fails at its start instead of dispatching the same jobs.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let have: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as u32;
    if have > known {
        return Err(Refusal::invalid(format!(
            "the database has schema {have}, this build-server knows up to {known}: use a newer one"
        )));
    }
    for migration in MIGRATIONS.iter().skip(have as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preparing_twice_is_harmless_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        for _ in 0..2 {
            prepare(&mut Connection::open(&path).unwrap()).unwrap();
        }
        let mut connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refusal = prepare(&mut connection).unwrap_err().to_string();
        assert!(refusal.contains("schema 99"), "{refusal}");
    }

    #[test]
    fn an_older_database_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let older = Connection::open(&path).unwrap();
        older.execute_batch(MIGRATIONS[0]).unwrap();
        older.pragma_update(None, "user_version", 1).unwrap();
        let build = "INSERT INTO builds (id, definition, digest, created_at) VALUES ('b', '{}', x'', 1)";
        older.execute_batch(build).unwrap();
        drop(older);
        let mut connection = Connection::open(&path).unwrap();
        prepare(&mut connection).unwrap();
        let count = |table: &str| -> i64 {
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("builds"), count("paused_queues"), count("stacks")), (1, 0, 0));
    }

    #[test]
    fn commits_reach_the_disk_and_only_one_server_opens_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut first = Connection::open(&path).unwrap();
        prepare(&mut first).unwrap();
        let mode: String = first.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        let synchronous: i64 = first.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        assert!(prepare(&mut Connection::open(&path).unwrap()).is_err());
    }
}
