//! What the services of an idle instance take: resident memory and time of a core.

use std::fmt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::instance::{Living, Surroundings};

/// For how long an idle instance is looked at: longer than its longest interval, which is a minute.
pub const LOOKED_AT: Duration = Duration::from_secs(75);

/// One service.
pub struct Service {
    pub name: &'static str,
    pub rss_kib: u64,
    /// Part of a core, in millionths.
    pub cpu_ppm: u128,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "megabytes and percents with few decimals")]
        let (rss, cpu) = (self.rss_kib as f64 / 1024.0, self.cpu_ppm as f64 / 1e4);
        write!(f, "| {} | {rss:.1} MB | {cpu:.3} % |", self.name)
    }
}

/// `watch` and `logs` on an instance where nothing happens.
pub fn idle(programs: &Path, around: &Surroundings) -> [Service; 2] {
    let living = Living::start(programs, around);
    // What starting takes is not idleness.
    std::thread::sleep(Duration::from_secs(3));
    let services = [("watch, idle", &living.watch), ("logs, idle", &living.logs)];
    let (began, before) = (Instant::now(), services.map(|(_, child)| cpu(child)));
    std::thread::sleep(LOOKED_AT);
    let took = began.elapsed().as_nanos();
    let mut before = before.into_iter();
    let measured = services.map(|(name, child)| {
        let spent = cpu(child) - before.next().unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        Service { name, rss_kib: rss_kib(&status), cpu_ppm: u128::from(spent) * 1_000_000 / took }
    });
    let _ = living.retire();
    measured
}

/// Nanoseconds on a core so far, of all its threads.
fn cpu(child: &Child) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
    let spent = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// Of a process' `/proc/PID/status`.
pub fn rss_kib(status: &str) -> u64 {
    kib(status, "VmRSS:")
}

/// The largest that a process ever had.
pub fn largest_rss_kib(child: &Child) -> u64 {
    kib(&std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs"), "VmHWM:")
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
