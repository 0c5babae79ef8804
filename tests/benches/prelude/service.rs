//! What a service of an idle instance takes: resident memory and time of a core. Both benches have this file.

use std::fmt;
use std::time::Duration;

/// For how long an idle instance is looked at: longer than its longest interval, which is a minute.
pub const LOOKED_AT: Duration = Duration::from_secs(75);

/// The goals for each service: KiB, and millionths of a core.
const LIMITS: (u64, u128) = (15 * 1024, 1000);

/// One service.
pub struct Service {
    pub name: &'static str,
    pub rss_kib: u64,
    /// Part of a core, in millionths.
    pub cpu_ppm: u128,
}

impl Service {
    /// One line for each limit that is passed.
    pub fn check(&self) -> Vec<String> {
        let ((largest, busiest), Self { name, rss_kib, cpu_ppm }) = (LIMITS, self);
        let memory =
            (*rss_kib > largest).then(|| format!("{name}: {rss_kib} KiB resident is over {largest} KiB"));
        let core =
            (*cpu_ppm > busiest).then(|| format!("{name}: {cpu_ppm} millionths of a core is over {busiest}"));
        memory.into_iter().chain(core).collect()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "megabytes and percents with few decimals")]
        let (rss, cpu) = (self.rss_kib as f64 / 1024.0, self.cpu_ppm as f64 / 1e4);
        write!(f, "| {} | {rss:.1} MB | {cpu:.3} % |", self.name)
    }
}

/// KiB of a field of a process' `/proc/PID/status`: `VmRSS:` now, `VmHWM:` at most.
pub fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
