//! What is to be done to the instance's disks. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

/// The volume's label.
pub const LABEL: &str = "tidemark";

/// The array of several disks.
pub const ARRAY: &str = "/dev/md/tidemark";

/// What a new volume is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4
    Ext4,
    /// XFS
    Xfs,
}

/// A block device, as it is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// For example `/dev/nvme1n1`.
    pub path: String,
    /// What lies on it as a whole: `ext4`, `xfs`, `linux_raid_member`, …
    pub content: Option<String>,
    /// Where it is mounted.
    pub mounted: Vec<PathBuf>,
    /// Partitions, arrays and volumes made of it.
    pub parts: Vec<Device>,
    /// Is it an array of disks?
    pub is_array: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes one array of blank disks.
    Stripe(Vec<String>),
    /// Puts an array together again.
    Assemble(Vec<String>),
    /// Makes a filesystem on a blank device.
    Format(String, Filesystem),
    /// Mounts it.
    Mount(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stripe(disks) => write!(f, "RAID0 of {}", disks.join(", ")),
            Self::Assemble(disks) => write!(f, "RAID0 of {} is put together again", disks.join(", ")),
            Self::Format(device, Filesystem::Ext4) => write!(f, "ext4 on {device}"),
            Self::Format(device, Filesystem::Xfs) => write!(f, "XFS on {device}"),
            Self::Mount(device) => write!(f, "{device} is mounted"),
        }
    }
}

/// Decides. A device is formatted only if nothing at all is seen on it.
///
/// # Errors
/// What is on a disk, and what to do: it is neither blank nor mountable.
pub fn decide(disks: &[Device], mount_point: &Path, filesystem: Filesystem) -> Result<Vec<Step>, String> {
    match disks {
        [] => Ok(Vec::new()),
        [disk] if !is_member(disk) => volume(disk, mount_point, filesystem),
        disks => array(disks, mount_point, filesystem),
    }
}

/// Is one of them, or what is made of them, mounted there?
#[must_use]
pub fn is_mounted(devices: &[Device], mount_point: &Path) -> bool {
    devices.iter().any(|device| {
        device.mounted.iter().any(|at| at == mount_point) || is_mounted(&device.parts, mount_point)
    })
}

/// A single device, or an array that is there.
fn volume(device: &Device, mount_point: &Path, filesystem: Filesystem) -> Result<Vec<Step>, String> {
    if device.mounted.iter().any(|at| at == mount_point) {
        return Ok(Vec::new());
    }
    let path = device.path.clone();
    match device.content.as_deref() {
        _ if !device.parts.is_empty() => Err(foreign(device, "partitions or volumes")),
        _ if !device.mounted.is_empty() => Err(foreign(device, "a filesystem that is mounted elsewhere")),
        None => Ok(vec![Step::Format(path.clone(), filesystem), Step::Mount(path)]),
        Some("ext4" | "xfs") => Ok(vec![Step::Mount(path)]),
        Some(other) => Err(foreign(device, other)),
    }
}

fn array(disks: &[Device], mount_point: &Path, filesystem: Filesystem) -> Result<Vec<Step>, String> {
    let paths = || disks.iter().map(|d| d.path.clone()).collect::<Vec<_>>();
    if disks.iter().all(is_member) {
        let arrays: Vec<&Device> = disks.iter().flat_map(|d| d.parts.iter().filter(|p| p.is_array)).collect();
        return match arrays.as_slice() {
            // Assembled, it is looked at again: only then its content is seen.
            [] => Ok(vec![Step::Assemble(paths())]),
            [first, others @ ..]
                if arrays.len() == disks.len() && others.iter().all(|a| a.path == first.path) =>
            {
                // Each disk shows the array; if one shows more than another, blank is not certain.
                if others.iter().any(|a| a != first) {
                    return Err(foreign(first, "an array that looks different from each of its disks"));
                }
                volume(first, mount_point, filesystem)
            }
            [first, ..] => Err(foreign(first, "an array of other disks too")),
        };
    }
    for disk in disks {
        if let Some(content) = disk.content.as_deref() {
            return Err(foreign(disk, content));
        }
        if !disk.parts.is_empty() || !disk.mounted.is_empty() {
            return Err(foreign(disk, "partitions or volumes"));
        }
    }
    let made = ARRAY.to_owned();
    Ok(vec![Step::Stripe(paths()), Step::Format(made.clone(), filesystem), Step::Mount(made)])
}

fn is_member(disk: &Device) -> bool {
    disk.content.as_deref() == Some("linux_raid_member")
}

pub(super) fn foreign(device: &Device, what: &str) -> String {
    format!(
        "instance-storage: {} holds {what}, and nothing that exists is ever formatted: wipe it (wipefs) in the image's \
         or your own script, or set instance-storage: false",
        device.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: &str = "/mnt/instance-storage";

    fn disk(path: &str, content: Option<&str>) -> Device {
        Device { path: path.to_owned(), content: content.map(str::to_owned), ..Device::default() }
    }

    fn array_of(content: Option<&str>, mounted: &[&str]) -> Device {
        let mounted = mounted.iter().map(PathBuf::from).collect();
        Device { is_array: true, mounted, ..disk("/dev/md127", content) }
    }

    fn member(path: &str, arrays: Vec<Device>) -> Device {
        Device { parts: arrays, ..disk(path, Some("linux_raid_member")) }
    }

    fn steps(disks: &[Device]) -> Result<Vec<String>, String> {
        Ok(decide(disks, Path::new(AT), Filesystem::Ext4)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_seen_decides() {
        let done: [&str; 0] = [];
        let mounted = Device { mounted: vec![AT.into()], ..disk("/dev/nvme1n1", Some("ext4")) };
        let array = |content, at: &[&str]| {
            vec![
                member("/dev/nvme1n1", vec![array_of(content, at)]),
                member("/dev/nvme2n1", vec![array_of(content, at)]),
            ]
        };
        let blank = [disk("/dev/nvme1n1", None), disk("/dev/nvme2n1", None)];
        assert_eq!(steps(&[]).unwrap(), done);
        assert_eq!(
            steps(&blank[..1]).unwrap(),
            ["ext4 on /dev/nvme1n1", "/dev/nvme1n1 is mounted"],
            "a new disk"
        );
        assert_eq!(
            steps(&[disk("/dev/nvme1n1", Some("xfs"))]).unwrap(),
            ["/dev/nvme1n1 is mounted"],
            "after a reboot"
        );
        assert_eq!(steps(&[mounted]).unwrap(), done, "a second boot");
        assert_eq!(
            steps(&blank).unwrap(),
            [
                "RAID0 of /dev/nvme1n1, /dev/nvme2n1",
                "ext4 on /dev/md/tidemark",
                "/dev/md/tidemark is mounted"
            ]
        );
        assert_eq!(
            steps(&array(None, &[])).unwrap(),
            ["ext4 on /dev/md127", "/dev/md127 is mounted"],
            "cut off before the format"
        );
        assert_eq!(steps(&array(Some("ext4"), &[])).unwrap(), ["/dev/md127 is mounted"]);
        assert_eq!(steps(&array(Some("ext4"), &[AT])).unwrap(), done);
        assert_eq!(
            steps(&[member("/dev/nvme1n1", vec![]), member("/dev/nvme2n1", vec![])]).unwrap(),
            ["RAID0 of /dev/nvme1n1, /dev/nvme2n1 is put together again"]
        );
    }

    #[test]
    fn what_is_neither_blank_nor_mountable_is_told_and_left_alone() {
        let with_part = Device { parts: vec![disk("/dev/nvme1n1p1", None)], ..disk("/dev/nvme1n1", None) };
        let elsewhere = Device { mounted: vec!["/data".into()], ..disk("/dev/nvme1n1", Some("ext4")) };
        for disks in [
            vec![with_part.clone()],
            vec![elsewhere],
            vec![disk("/dev/nvme1n1", Some("LVM2_member"))],
            vec![disk("/dev/nvme1n1", Some("ext4")), disk("/dev/nvme2n1", None)],
            vec![disk("/dev/nvme1n1", None), with_part],
            vec![member("/dev/nvme1n1", vec![array_of(None, &[])]), member("/dev/nvme2n1", vec![])],
            vec![member("/dev/nvme1n1", vec![]), disk("/dev/nvme2n1", None)],
        ] {
            let fault = steps(&disks).unwrap_err();
            assert!(fault.contains("/dev/") && fault.contains("ever formatted"), "{fault}");
        }
    }

    fn any_device() -> impl Strategy<Value = Device> {
        let content = proptest::option::of(prop_oneof![
            Just("ext4"),
            Just("xfs"),
            Just("linux_raid_member"),
            Just("LVM2_member"),
            Just("swap")
        ]);
        let mounted =
            prop_oneof![Just(vec![]), Just(vec![PathBuf::from(AT)]), Just(vec![PathBuf::from("/x")])];
        let part = proptest::option::of((content.clone(), mounted.clone(), any::<bool>()));
        ("[ab]", content, mounted, part).prop_map(|(name, content, mounted, part)| {
            let parts = part.map(|(content, mounted, is_array)| Device {
                mounted,
                is_array,
                ..disk("/dev/md127", content)
            });
            Device { mounted, parts: parts.into_iter().collect(), ..disk(&format!("/dev/{name}"), content) }
        })
    }

    proptest! {
        #[test]
        fn only_blank_devices_are_ever_formatted_or_striped(disks in proptest::collection::vec(any_device(), 0..4)) {
            let Ok(steps) = decide(&disks, Path::new(AT), Filesystem::Xfs) else { return Ok(()) };
            let all: Vec<&Device> = disks.iter().chain(disks.iter().flat_map(|d| &d.parts)).collect();
            let mut new = Vec::new();
            for step in steps {
                let touched = match step {
                    Step::Stripe(disks) => { new.push(ARRAY.to_owned()); disks }
                    Step::Format(device, _) => vec![device],
                    Step::Assemble(_) | Step::Mount(_) => Vec::new(),
                };
                for path in touched.iter().filter(|p| !new.contains(p)) {
                    for device in all.iter().filter(|d| d.path == *path) {
                        let blank = device.content.is_none() && device.mounted.is_empty() && device.parts.is_empty();
                        prop_assert!(blank, "{device:?}");
                    }
                }
            }
        }
    }
}
