//! How much room is left.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::decide::Space;

/// Room on the file system that `path` lies on, as an ordinary user may use it.
///
/// # Errors
/// The path is not there.
pub fn of(path: &Path) -> std::io::Result<Space> {
    let found = statvfs(path)?;
    let block = found.fragment_size();
    Ok(Space {
        total: found.blocks() * block,
        free: found.blocks_available() * block,
        // Some file systems make inodes as they need them, and say 0 of 0.
        inodes: (found.files() > 0).then(|| (found.files_available(), found.files())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::mount::{MsFlags, mount, umount};

    /// A small file system of its own, gone at the end of the test.
    struct Small(tempfile::TempDir);

    impl Small {
        fn new(options: &str) -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let mounted = mount(Some("none"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(options));
            mounted.is_ok().then_some(Self(folder))
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = umount(self.0.path());
        }
    }

    #[test]
    fn a_filling_file_system_is_seen() {
        let Some(small) = Small::new("size=4m,nr_inodes=64") else {
            eprintln!("skipped: this user may not mount a tmpfs");
            return;
        };
        let empty = of(small.0.path()).unwrap();
        assert_eq!(empty.total, 4 << 20);
        assert!(
            empty.free > 3 << 20
                && empty.inodes.is_some_and(|(free, all)| (50..64).contains(&free) && all == 64),
            "{empty:?}"
        );
        std::fs::write(small.0.path().join("large"), vec![0; 3 << 20]).unwrap();
        let full = of(small.0.path()).unwrap();
        assert!(full.free <= 1 << 20, "{full:?}");
        for number in 0..40 {
            std::fs::write(small.0.path().join(number.to_string()), "").unwrap();
        }
        assert!(of(small.0.path()).unwrap().inodes.is_some_and(|(free, _)| free < 24));
        assert!(of(Path::new("/no/such/path")).is_err());
    }
}
