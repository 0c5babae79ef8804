//! What the services of an idle instance take: resident memory and time of a core.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::instance::{Living, Surroundings};
use crate::service::{LOOKED_AT, Service, kib};

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
        Service { name, rss_kib: kib(&status, "VmRSS:"), cpu_ppm: u128::from(spent) * 1_000_000 / took }
    });
    let _ = living.retire();
    measured
}

/// Nanoseconds on a core so far, of all its threads.
pub fn cpu(child: &Child) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
    let spent = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// The largest that a process ever had resident.
pub fn largest_rss_kib(child: &Child) -> u64 {
    kib(&std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs"), "VmHWM:")
}
