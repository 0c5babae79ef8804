//! Log chunks, by sequence: agents send them in any order, and again when an answer was lost.

use rusqlite::{Connection, params};

use crate::refusal::Refusal;

/// Most header times of a job; later ones are not kept.
const HEADER_TIMES_LIMIT: i64 = 10_000;

/// A piece of a log.
#[derive(Debug, Default)]
pub struct Page {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The last sequence in it: the next page comes after this.
    pub last: i64,
}

/// Keeps a chunk; the first of a sequence stays. Refused when the log would pass `limit` bytes.
pub fn add(
    db: &Connection,
    place: i64,
    sequence: i64,
    offset: i64,
    bytes: &[u8],
    limit: u64,
) -> Result<(), Refusal> {
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO chunks (job, sequence, offset, bytes) VALUES (?, ?, ?, ?)")?;
    if insert.execute(params![place, sequence, offset, bytes])? == 0 {
        return Ok(());
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let mut count = db.prepare_cached(
        "UPDATE jobs SET log_bytes = log_bytes + ? WHERE place = ? AND log_bytes + ?1 <= ?",
    )?;
    if count.execute(params![length, place, limit])? == 0 {
        return Err(Refusal::invalid(format!("the job's log is full: it may hold {limit} bytes")));
    }
    Ok(())
}

/// The log after a sequence, in order, about `bytes` long. Empty at its end.
pub fn page(db: &Connection, place: i64, after: i64, bytes: usize) -> Result<Page, Refusal> {
    let mut statement = db.prepare_cached(
        "SELECT sequence, bytes FROM chunks WHERE job = ? AND sequence > ? ORDER BY sequence",
    )?;
    let mut rows = statement.query(params![place, after])?;
    let mut page = Page { bytes: Vec::new(), last: after };
    while let Some(row) = rows.next()? {
        page.last = row.get(0)?;
        page.bytes.extend_from_slice(row.get_ref(1)?.as_blob().unwrap_or_default());
        if page.bytes.len() >= bytes {
            break;
        }
    }
    Ok(page)
}

/// Keeps the times of header lines; the first of a line stays.
pub fn add_header_times(
    db: &Connection,
    place: i64,
    times: impl Iterator<Item = (i64, String)>,
) -> Result<(), Refusal> {
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO header_times (job, line, at) VALUES (?, ?, ?)")?;
    for (line, at) in times.filter(|(line, at)| (0..HEADER_TIMES_LIMIT).contains(line) && at.len() <= 64) {
        insert.execute(params![place, line, at])?;
    }
    Ok(())
}
