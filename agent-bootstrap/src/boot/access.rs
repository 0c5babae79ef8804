//! Who may log in (SSH keys from a URL, refreshed), and what jobs may do by sudo.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid};

use super::files::{self, AGENT_USER, Owner};
use super::settings::AccessSettings;
use crate::failure::Failure;
use crate::layout::Layout;

/// More keys than anybody has.
pub const MOST_BYTES: usize = 64 * 1024;

/// A file of keys that is larger is something else.
const MOST_PRESENT: u64 = 1024 * 1024;

/// Users that images come with for people.
const LOGIN_USERS: [&str; 4] = ["admin", "ec2-user", "debian", "ubuntu"];

const BEGIN: &str = "# tidemark: from authorized-keys-url; what stands here is written over";
const END: &str = "# tidemark: end";

/// Writes the keys of those who may log in between two marks; keys beside them (the key pair's) stay.
///
/// # Errors
/// What was fetched is no list of keys; there is no user to log in as.
pub fn authorize(layout: &Layout, settings: &AccessSettings, fetched: &[u8]) -> Result<(), Failure> {
    let from = settings.authorized_keys.as_ref().map(ToString::to_string).unwrap_or_default();
    let keys =
        keys(fetched).map_err(|what| Failure::config(format!("authorized-keys-url: {from} {what}")))?;
    let user = login_user(layout, settings.login_user.as_deref())?;
    let folder = user.home.join(".ssh");
    let owner = Owner::of(user.uid, user.gid);
    // The user may rename and link there as it likes, and this may be root: all goes through the folder that is open.
    let opened = files::open_folder(&folder, 0o700, owner)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/authorized_keys", opened.as_raw_fd()));
    let before = present(&path)
        .map_err(|e| Failure::failed(format!("{}: {e}", folder.join("authorized_keys").display())))?;
    let after = with_block(&before, &keys);
    if after != before {
        files::own_file(&path, after.as_bytes(), 0o600, owner)?;
    }
    Ok(())
}

/// The keys there are; only a plain file holds some.
fn present(path: &Path) -> std::io::Result<String> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MOST_PRESENT {
        return Err(std::io::Error::other("is no plain file of keys; remove it"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_PRESENT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines of keys, without comments.
fn keys(fetched: &[u8]) -> Result<Vec<&str>, &'static str> {
    let text = std::str::from_utf8(fetched).map_err(|_| "is no UTF-8 text")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() {
        return Err("holds no SSH key, and would lock everybody out");
    }
    if lines.iter().all(|line| is_key(line)) { Ok(lines) } else { Err("holds a line that is no SSH key") }
}

/// Options may come first; then a type and base64.
fn is_key(line: &str) -> bool {
    let kind = |word: &str| {
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|prefix| word.starts_with(prefix))
    };
    let mut words = line.split_whitespace();
    let base64 = |word: &str| word.starts_with("AAAA") && !word.contains(|c: char| !c.is_ascii_graphic());
    words.any(kind) && words.next().is_some_and(base64)
}

fn with_block(before: &str, keys: &[&str]) -> String {
    let (mut after, mut ours) = (String::new(), false);
    for line in before.lines() {
        ours |= line == BEGIN;
        if !ours {
            after.push_str(line);
            after.push('\n');
        }
        ours &= line != END;
    }
    for line in std::iter::once(&BEGIN).chain(keys).chain(std::iter::once(&END)) {
        after.push_str(line);
        after.push('\n');
    }
    after
}

struct LoginUser {
    home: PathBuf,
    uid: Uid,
    gid: Gid,
}

/// From the instance's own list of users.
fn login_user(layout: &Layout, wanted: Option<&str>) -> Result<LoginUser, Failure> {
    let path = layout.root().join("etc/passwd");
    let text =
        std::fs::read_to_string(&path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let find = |name: &str| text.lines().find_map(|line| user(layout, line, name));
    let found = match wanted {
        Some(name) => find(name),
        None => LOGIN_USERS.into_iter().find_map(find),
    };
    found.ok_or_else(|| {
        let names = wanted.map_or_else(|| LOGIN_USERS.join(", "), str::to_owned);
        Failure::config(format!("authorized-keys-user: this image has no user {names}; name one that it has"))
    })
}

fn user(layout: &Layout, line: &str, name: &str) -> Option<LoginUser> {
    let fields: Vec<&str> = line.split(':').collect();
    let [user, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    if *user != name {
        return None;
    }
    let home = layout.root().join(Path::new(home).strip_prefix("/").ok()?);
    Some(LoginUser { home, uid: Uid::from_raw(uid.parse().ok()?), gid: Gid::from_raw(gid.parse().ok()?) })
}

/// Writes the sudo rule, checked by visudo first, or takes an earlier one away.
///
/// # Errors
/// The rule is none, or there is no visudo to tell.
pub fn allow_sudo(layout: &Layout, rule: Option<&str>) -> Result<(), Failure> {
    let path = layout.root().join("etc/sudoers.d/tidemark");
    let Some(rule) = rule else {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("{}: {e}", path.display())))
            }
            _ => Ok(()),
        };
    };
    let text = format!("# From the setting sudo-rule.\n{AGENT_USER} {rule}\n");
    // Sudo leaves files with a dot in their names alone, so that nothing half-checked counts.
    let draft = layout.run().join("sudo-rule.draft");
    files::folder(&layout.run(), 0o755, Owner::own())?;
    files::file(&draft, text.as_bytes(), 0o440, Owner::own())?;
    check_sudo(layout, &draft)?;
    files::folder(path.parent().unwrap_or(layout.root()), 0o750, Owner::own())?;
    files::file(&path, text.as_bytes(), 0o440, Owner::own())?;
    std::fs::remove_file(&draft).map_err(|e| Failure::failed(format!("{}: {e}", draft.display())))
}

fn check_sudo(layout: &Layout, draft: &Path) -> Result<(), Failure> {
    let mut search: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    search.extend(["usr/sbin", "sbin"].map(|folder| layout.root().join(folder)));
    let visudo = files::program("visudo", &search).ok_or_else(|| {
        Failure::config(
            "sudo-rule: this image has no visudo that could check it; install sudo, or remove the setting",
        )
    })?;
    let checked = Command::new(visudo)
        .args(["-c", "-q", "-f"])
        .arg(draft)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Failure::failed(format!("sudo-rule: visudo: {e}")))?;
    if checked.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(Failure::config(format!("sudo-rule: visudo refuses it: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0 ada@example.com";

    #[test]
    fn only_keys_are_keys() {
        let options = format!("command=\"/bin/true\",no-pty {KEY}");
        let both = format!("# team\n\n{KEY}\r\n{options}\n");
        assert_eq!(keys(both.as_bytes()), Ok(vec![KEY, options.as_str()]));
        for (text, fault) in [
            ("", "holds no SSH key"),
            ("# nobody\n", "holds no SSH key"),
            ("<!doctype html>\n<p>ssh-ed25519 is a key</p>", "no SSH key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAA=", "no SSH key"),
            ("ssh-ed25519", "no SSH key"),
        ] {
            assert!(keys(text.as_bytes()).unwrap_err().contains(fault), "{text}");
        }
    }

    #[test]
    fn keys_are_read_from_a_plain_file_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("authorized_keys");
        assert_eq!(present(&path).unwrap(), "");
        let secret = home.path().join("shadow");
        std::fs::write(&secret, "root:secret\n").unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert!(present(&path).is_err(), "a link leads to others' files");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(present(&path).unwrap_err().to_string().contains("no plain file"), "a pipe is waited for");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "ssh-rsa AAAA gr\u{fc}n\n").unwrap();
        assert_eq!(present(&path).unwrap(), "ssh-rsa AAAA gr\u{fc}n\n");
    }

    #[test]
    fn keys_of_others_stay_and_ours_are_renewed() {
        let first = with_block("ssh-rsa AAAAkeypair aws\n", &["ssh-ed25519 AAAAold"]);
        let second = with_block(&first, &["ssh-ed25519 AAAAnew"]);
        insta::assert_snapshot!(second, @r"
        ssh-rsa AAAAkeypair aws
        # tidemark: from authorized-keys-url; what stands here is written over
        ssh-ed25519 AAAAnew
        # tidemark: end
        ");
        assert_eq!(with_block(&second, &["ssh-ed25519 AAAAnew"]), second);
    }
}
