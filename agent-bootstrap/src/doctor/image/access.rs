//! Who may change what is run as root or by every job: units, hooks, our own programs, the sudo rule.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::doctor::report::Check;

/// The sudo rule, below the root.
pub const SUDO_RULE: &str = "etc/sudoers.d/60-tidemark";

/// sudo itself warns of any other mode of its files.
const SUDO_RULE_MODE: u32 = 0o440;

/// A file of ours, as it was seen; links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// Where it lies.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
}

/// Those of the files that are there: what is missing is another check's matter.
#[must_use]
pub fn look(paths: impl Iterator<Item = PathBuf>) -> Vec<Guarded> {
    let seen = paths.filter_map(|path| {
        let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Guarded { path, mode: meta.permissions().mode() & 0o7777, owner: meta.uid() })
    });
    seen.collect()
}

/// One check of all of them. A folder on someone's machine belongs to whom it may (`whole` is false then).
#[must_use]
pub fn check(files: &[Guarded], whole: bool) -> Check {
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for file in files {
        let path = file.path.display();
        if whole && file.owner != 0 {
            found.push(format!("{path} belongs to user {}", file.owner));
            fixes.push(format!("chown root:root {path}"));
        }
        if is_sudo_rule(&file.path) {
            if file.mode != SUDO_RULE_MODE {
                found.push(format!("{path} has mode {:04o}", file.mode));
                fixes.push(format!("chmod 0440 {path}"));
            }
        } else if file.mode & 0o022 != 0 {
            found.push(format!("{path} has mode {:04o}", file.mode));
            fixes.push(format!("chmod go-w {path}"));
        }
    }
    if found.is_empty() {
        return Check::ok(
            "access",
            format!("{} files of Tidemark, which root alone may change", files.len()),
        );
    }
    Check::fail("access", found.join(", "), fixes.join("; "))
}

fn is_sudo_rule(path: &Path) -> bool {
    path.ends_with(SUDO_RULE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Verdict;

    const UNIT: &str = "/etc/systemd/system/tidemark-boot.service";
    const RULE: &str = "/etc/sudoers.d/60-tidemark";

    fn file(path: &str, mode: u32, owner: u32) -> Guarded {
        Guarded { path: path.into(), mode, owner }
    }

    #[test]
    fn what_root_alone_may_change_passes() {
        let files =
            [file(UNIT, 0o644, 0), file("/usr/local/bin/agent-bootstrap", 0o755, 0), file(RULE, 0o440, 0)];
        let check = check(&files, true);
        assert_eq!((check.verdict, check.fix), (Verdict::Ok, None));
        assert_eq!(check.found, "3 files of Tidemark, which root alone may change");
    }

    #[test]
    fn each_mode_and_owner_that_lets_others_in_is_said_with_its_repair() {
        for (seen, found, fix) in [
            (file(UNIT, 0o664, 0), "has mode 0664", format!("chmod go-w {UNIT}")),
            (file(UNIT, 0o646, 0), "has mode 0646", format!("chmod go-w {UNIT}")),
            (file(UNIT, 0o644, 997), "belongs to user 997", format!("chown root:root {UNIT}")),
            (file(RULE, 0o644, 0), "has mode 0644", format!("chmod 0440 {RULE}")),
            (file(RULE, 0o400, 0), "has mode 0400", format!("chmod 0440 {RULE}")),
        ] {
            let check = check(std::slice::from_ref(&seen), true);
            assert_eq!(check.verdict, Verdict::Fail, "{seen:?}");
            assert!(check.found.contains(found), "{check:?}");
            assert_eq!(check.fix, Some(fix), "{seen:?}");
        }
        let both = check(&[file(UNIT, 0o666, 5), file(RULE, 0o666, 0)], true);
        assert_eq!(
            both.found,
            format!("{UNIT} belongs to user 5, {UNIT} has mode 0666, {RULE} has mode 0666")
        );
        let fix = format!("chown root:root {UNIT}; chmod go-w {UNIT}; chmod 0440 {RULE}");
        assert_eq!(both.fix, Some(fix));
    }

    #[test]
    fn a_folder_of_someones_may_be_theirs_but_no_others() {
        assert_eq!(check(&[file(UNIT, 0o644, 1000)], false).verdict, Verdict::Ok);
        assert_eq!(check(&[file(UNIT, 0o666, 1000)], false).verdict, Verdict::Fail);
    }

    #[test]
    fn files_are_seen_through_links_and_those_missing_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let (file, link) = (root.path().join("file"), root.path().join("link"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let owner = fs::metadata(&file).unwrap().uid();
        let seen = look([link.clone(), root.path().join("absent"), root.path().to_owned()].into_iter());
        assert_eq!(seen, [Guarded { path: link, mode: 0o664, owner }]);
    }
}
