//! What must not be passed: the goals.

use std::time::Duration;

use crate::measure::Measured;

/// The goal for the slowest boots but one in twenty.
const SLOW_BOOT: Duration = Duration::from_millis(400);

const BOOT: &str = "boot to agent connected, 20 ms";

const RETIRE: &str = "idle instance retired, 20 ms";

const INIT: &str = "scaler, start to first question (Lambda)";

const REACTION: &str = "500 jobs runnable to capacity asked for, looks 2 s apart";

/// Rows whose slowest runs but one in twenty have a limit too.
const SLOW: [(&str, Duration); 2] = [(BOOT, SLOW_BOOT), (REACTION, Duration::from_millis(2100))];

/// Calls that set desired capacity for a burst of jobs on one group.
const WRITES: usize = 2;

/// Hints: the slowest but one in a hundred.
const HINT: Duration = Duration::from_millis(100);

/// Name of a row, longest median, largest resident set in KiB.
const LIMITS: [(&str, Duration, u64); 7] = [
    (BOOT, SLOW_BOOT, 15 * 1024),
    // A look a second, 100 ms until the agent has left, the logs' last round, and calls.
    (RETIRE, Duration::from_secs(5), 15 * 1024),
    ("environment hook, cold, 20 ms", Duration::from_millis(150), 15 * 1024),
    ("environment hook, warm, 20 ms", Duration::from_millis(50), 15 * 1024),
    ("agent-bootstrap --version", Duration::from_millis(10), 15 * 1024),
    (INIT, Duration::from_millis(15), 15 * 1024),
    (REACTION, Duration::from_millis(2100), 15 * 1024),
];

/// One line for each limit that is passed.
pub fn check(rows: &[Measured]) -> Vec<String> {
    let mut passed = Vec::new();
    for (name, longest, largest) in LIMITS {
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            passed.push(format!("{name} was not measured"));
            continue;
        };
        if row.median > longest {
            passed.push(format!("{name}: median {:?} is over {longest:?}", row.median));
        }
        for (_, slow) in SLOW.iter().filter(|(of, slow)| *of == name && row.p95 > *slow) {
            passed.push(format!("{name}: p95 {:?} is over {slow:?}", row.p95));
        }
        if row.rss_kib > largest {
            passed.push(format!("{name}: {} KiB resident is over {largest} KiB", row.rss_kib));
        }
    }
    passed
}

/// The same of hints.
pub fn check_hint(p99: Duration) -> Option<String> {
    (p99 > HINT).then(|| format!("a webhook took {p99:?} to the call for capacity, p99, over {HINT:?}"))
}

/// The same of calls for a burst.
pub fn check_writes(writes: usize) -> Option<String> {
    (writes > WRITES).then(|| format!("a burst of jobs took {writes} calls, over {WRITES}"))
}
