//! Settings of the disk guard.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::reader::Reader;

/// What the disk guard goes by; kept in the instance file. A field that an older boot did not write has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DiskSettings {
    /// GiB that shall be free; `None` is 5, or a tenth of a small disk.
    pub free_gib: Option<u64>,
    /// Inodes that shall be free; `None` is 250,000, or a tenth of a small disk's.
    pub free_inodes: Option<u64>,
    /// What nobody used for so long may be removed.
    pub unused_for: SignedDuration,
    /// Time from one look to the next.
    pub check: SignedDuration,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            free_gib: None,
            free_inodes: None,
            unused_for: SignedDuration::from_hours(4),
            check: SignedDuration::from_mins(1),
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> DiskSettings {
    let usual = DiskSettings::default();
    let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    DiskSettings {
        free_gib: number(reader.optional_number("disk-free-gib", 0..=65_536)),
        free_inodes: number(reader.optional_number("disk-free-inodes", 0..=1_000_000_000)),
        unused_for: reader.period("docker-prune-until", usual.unused_for, Duration::from_secs(1)),
        check: reader.period("disk-check", usual.check, Duration::from_millis(10)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, read};
    use super::*;

    fn of(settings: &str) -> Result<DiskSettings, Faults> {
        read(&[format!("{{stack: ci, queue: q, agent-token: 'ssm:/t', {settings}}}")]).map(|s| s.disk)
    }

    #[test]
    fn room_is_asked_for_in_gib_and_inodes() {
        assert_eq!(of(""), Ok(DiskSettings::default()));
        let given =
            of("disk-free-gib: 20, disk-free-inodes: 0, docker-prune-until: 1h, disk-check: 5s").unwrap();
        assert_eq!((given.free_gib, given.free_inodes), (Some(20), Some(0)));
        assert_eq!(
            (given.unused_for, given.check),
            (SignedDuration::from_hours(1), SignedDuration::from_secs(5))
        );
        let faults =
            of("disk-free-gib: -1, disk-free-inodes: many, docker-prune-until: 0s").unwrap_err().to_string();
        for name in ["disk-free-gib", "disk-free-inodes", "docker-prune-until"] {
            assert!(faults.contains(name), "{faults}");
        }
        assert_eq!(serde_json::from_str::<DiskSettings>("{}").unwrap(), DiskSettings::default());
    }
}
