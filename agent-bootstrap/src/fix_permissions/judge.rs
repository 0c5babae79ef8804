//! What happens to a thing in the build folder. Pure.

use nix::libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT};
use nix::sys::stat::FileStat;

/// Whom all shall belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What is done with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to them already.
    Right,
    /// It is given to them.
    Give,
    /// It stays as it is: another of its names may lie outside, where it is not theirs.
    Shared,
    /// It stays as it is: who owns a device reads and writes what it stands for.
    Device,
}

/// Decides by what the open thing is. A file with several names stays even if its names are all here: to count them
/// would be a race against whoever renames them. Its folder is given back, so it can be removed.
#[must_use]
pub fn judge(found: &FileStat, owner: Owner) -> Verdict {
    let kind = found.st_mode & S_IFMT;
    if found.st_uid == owner.uid && found.st_gid == owner.gid {
        Verdict::Right
    } else if matches!(kind, S_IFBLK | S_IFCHR) {
        Verdict::Device
    } else if kind != S_IFDIR && found.st_nlink > 1 {
        Verdict::Shared
    } else {
        Verdict::Give
    }
}

/// Is it a folder to be gone through?
#[must_use]
pub fn is_folder(found: &FileStat) -> bool {
    found.st_mode & S_IFMT == S_IFDIR
}

#[cfg(test)]
mod tests {
    use nix::libc::{S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK};

    use super::*;

    #[test]
    fn only_what_has_one_name_and_is_no_device_changes_hands() {
        let mut found = nix::sys::stat::stat("/").unwrap();
        let owner = Owner { uid: 990, gid: 991 };
        for (kind, links, uid, gid, expected) in [
            (S_IFREG, 1, 0, 0, Verdict::Give),
            (S_IFREG, 1, 990, 0, Verdict::Give),
            (S_IFREG, 1, 990, 991, Verdict::Right),
            (S_IFREG, 2, 990, 991, Verdict::Right),
            (S_IFREG, 2, 0, 0, Verdict::Shared),
            (S_IFREG, 2, 990, 0, Verdict::Shared),
            (S_IFDIR, 7, 0, 0, Verdict::Give),
            (S_IFLNK, 1, 0, 0, Verdict::Give),
            (S_IFLNK, 2, 0, 0, Verdict::Shared),
            (S_IFIFO, 1, 999, 0, Verdict::Give),
            (S_IFSOCK, 1, 999, 0, Verdict::Give),
            (S_IFBLK, 1, 0, 0, Verdict::Device),
            (S_IFCHR, 1, 0, 0, Verdict::Device),
        ] {
            (found.st_mode, found.st_nlink, found.st_uid, found.st_gid) = (kind | 0o644, links, uid, gid);
            assert_eq!(judge(&found, owner), expected, "{kind:o} {links} {uid}");
        }
    }
}
