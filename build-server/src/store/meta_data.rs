//! A build's meta-data: what its jobs tell each other.

use agent_api::wire::MetaDataItem;
use rusqlite::{Connection, OptionalExtension, params};

use crate::refusal::Refusal;

const KEY_LIMIT: usize = 1024;
const VALUE_LIMIT: usize = 100 * 1024;
const KEYS_LIMIT: i64 = 10_000;

/// Sets all items, or none.
pub fn set(db: &Connection, build: i64, items: &[MetaDataItem]) -> Result<(), Refusal> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO meta_data (build, key, value) VALUES (?, ?, ?)
         ON CONFLICT (build, key) DO UPDATE SET value = excluded.value",
    )?;
    for item in items {
        if item.key.trim().is_empty() || item.key.len() > KEY_LIMIT {
            return Err(Refusal::invalid(format!("meta-data: a key has 1 to {KEY_LIMIT} bytes")));
        }
        if item.value.len() > VALUE_LIMIT {
            return Err(Refusal::invalid(format!(
                "meta-data {}: a value has at most {VALUE_LIMIT} bytes",
                item.key
            )));
        }
        upsert.execute(params![build, item.key, item.value])?;
    }
    let mut count = db.prepare_cached("SELECT count(*) FROM meta_data WHERE build = ?")?;
    let keys: i64 = count.query_row([build], |row| row.get(0))?;
    if keys > KEYS_LIMIT {
        return Err(Refusal::invalid(format!("meta-data: a build has at most {KEYS_LIMIT} keys")));
    }
    Ok(())
}

/// The value of a key, if it is set.
pub fn get(db: &Connection, build: i64, key: &str) -> Result<Option<String>, Refusal> {
    let mut statement = db.prepare_cached("SELECT value FROM meta_data WHERE build = ? AND key = ?")?;
    Ok(statement.query_row(params![build, key], |row| row.get(0)).optional()?)
}

/// All keys, in order.
pub fn keys(db: &Connection, build: i64) -> Result<Vec<String>, Refusal> {
    let mut statement = db.prepare_cached("SELECT key FROM meta_data WHERE build = ? ORDER BY key")?;
    let rows = statement.query_map([build], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
