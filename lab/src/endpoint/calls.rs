//! Every call that was made: what, by whom, with which outcome.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// Single calls kept for looking at; the counts hold all.
const KEPT: usize = 20_000;

/// One call.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// When it came in.
    pub at: Timestamp,
    /// `service:Action`.
    pub action: String,
    /// The caller's short name; `anonymous` where unknown.
    pub caller: String,
    /// What it was about: an ARN, or the bucket and key.
    pub resource: Option<String>,
    /// The HTTP status; 0 where the connection was dropped on purpose.
    pub status: u16,
    /// How long the answer took.
    pub took_ms: u64,
}

/// How often one caller made one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// `service:Action`.
    pub action: String,
    /// The caller's short name.
    pub caller: String,
    /// All calls.
    pub count: u64,
    /// Those answered with 401 or 403, or refused for a missing permission.
    pub denied: u64,
    /// Those answered with another status of 400 or above, or not at all.
    pub failed: u64,
    /// The sum of their durations.
    pub took_ms: u64,
}

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<(String, String), CallCount>,
    latest: VecDeque<CallRecord>,
}

/// The endpoint's call log.
#[derive(Debug, Default)]
pub struct CallLog {
    inner: Mutex<Inner>,
}

impl CallLog {
    /// Adds a call that ended; `denied` when a permission was missing, whatever the protocol's status for it.
    pub fn add(&self, record: CallRecord, denied: bool, took: Duration) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let count =
            inner.counts.entry((record.action.clone(), record.caller.clone())).or_insert_with(|| CallCount {
                action: record.action.clone(),
                caller: record.caller.clone(),
                count: 0,
                denied: 0,
                failed: 0,
                took_ms: 0,
            });
        count.count += 1;
        count.took_ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if denied || matches!(record.status, 401 | 403) {
            count.denied += 1;
        } else if record.status == 0 || record.status >= 400 {
            count.failed += 1;
        }
        if inner.latest.len() == KEPT {
            inner.latest.pop_front();
        }
        inner.latest.push_back(record);
    }

    /// The counts, ordered by action and caller.
    pub fn counts(&self) -> Vec<CallCount> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.counts.values().cloned().collect()
    }

    /// The latest calls, oldest first.
    pub fn latest(&self) -> Vec<CallRecord> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.latest.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_action_and_caller() {
        let log = CallLog::default();
        for (caller, status, denied) in
            [("a", 200, false), ("a", 400, true), ("a", 404, false), ("b", 403, false)]
        {
            let record = CallRecord {
                at: Timestamp::UNIX_EPOCH,
                action: "s3:GetObject".into(),
                caller: caller.into(),
                resource: None,
                status,
                took_ms: 1,
            };
            log.add(record, denied, Duration::from_millis(1));
        }
        let counts: Vec<_> = log
            .counts()
            .into_iter()
            .map(|count| (count.caller, count.count, count.denied, count.failed))
            .collect();
        assert_eq!(counts, [("a".into(), 3, 1, 1), ("b".into(), 1, 1, 0)]);
        assert_eq!(log.latest().len(), 4);
    }
}
