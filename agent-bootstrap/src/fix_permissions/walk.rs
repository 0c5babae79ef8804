//! Through all folders below one, by several threads. Every thing is opened without following it and without leaving
//! the mount, then looked at, then given away: each step on the same open descriptor.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, fchownat};

use super::judge::{Owner, Verdict, is_folder, judge};

/// Folders deeper than this are not gone through: each level of one that is being gone through is a descriptor.
const DEEPEST: u32 = 400;

/// Folders that wait for a free thread; more are gone through by the thread that found them.
const WAITING: usize = 128;

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Things below the folder, and itself.
    pub seen: u64,
    /// Given back.
    pub given: u64,
    /// Left, for another name may lie outside.
    pub shared: u64,
    /// Left, for they are devices.
    pub devices: u64,
    /// Left, for something else is mounted there.
    pub mounts: u64,
    /// Could not be given back.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.given += other.given;
        self.shared += other.shared;
        self.devices += other.devices;
        self.mounts += other.mounts;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} things given back", self.given, self.seen)?;
        for (count, what) in [
            (self.shared, "left with several names"),
            (self.devices, "devices left"),
            (self.mounts, "mounts left"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Gives all below `top`, and itself, to `owner`.
///
/// # Errors
/// When `top` itself cannot be looked at.
pub fn walk(top: OwnedFd, owner: Owner) -> Result<Counts, Errno> {
    let mut counts = Counts { seen: 1, ..Counts::default() };
    give(&top, &fstat(top.as_fd())?, owner, &mut counts);
    let shared =
        Shared { queue: Mutex::new(Queue { folders: vec![(top, 0)], busy: 0 }), changed: Condvar::new() };
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    let each = || {
        let mut worker = Worker { shared: &shared, owner, counts: Counts::default() };
        worker.work();
        worker.counts
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
        for thread in running {
            match thread.join() {
                Ok(found) => counts.add(found),
                Err(_) => counts.failed += 1,
            }
        }
    });
    Ok(counts)
}

/// What the threads share: folders to go through, by depth.
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    folders: Vec<(OwnedFd, u32)>,
    /// Threads that go through one, and may find more.
    busy: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; `None` when all are done.
    fn next(&self) -> Option<(OwnedFd, u32)> {
        let mut queue = self.lock();
        loop {
            if let Some(folder) = queue.folders.pop() {
                queue.busy += 1;
                return Some(folder);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        self.lock().busy -= 1;
        self.changed.notify_all();
    }

    /// Leaves a folder to another thread; gives it back where enough of them wait.
    fn offer(&self, folder: OwnedFd, depth: u32) -> Option<OwnedFd> {
        let mut queue = self.lock();
        if queue.folders.len() >= WAITING {
            return Some(folder);
        }
        queue.folders.push((folder, depth));
        drop(queue);
        self.changed.notify_one();
        None
    }
}

/// One thread.
struct Worker<'a> {
    shared: &'a Shared,
    owner: Owner,
    counts: Counts,
}

impl Worker<'_> {
    fn work(&mut self) {
        while let Some((folder, depth)) = self.shared.next() {
            self.folder(&folder, depth);
            self.shared.done();
        }
    }

    fn folder(&mut self, folder: &OwnedFd, depth: u32) {
        if depth >= DEEPEST {
            eprintln!("fix-permissions: folders more than {DEEPEST} deep are left as they are");
            self.counts.failed += 1;
            return;
        }
        // "." of what is open is the same folder, whatever its name means by now.
        let readable = open(folder, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).and_then(Dir::from_fd);
        let mut entries = match readable {
            Ok(entries) => entries,
            Err(error) => return self.fail(error),
        };
        for entry in entries.iter() {
            match entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => self.entry(folder, entry.file_name(), depth),
                Err(error) => return self.fail(error),
            }
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &std::ffi::CStr, depth: u32) {
        let opened = open(folder, name, OFlag::O_PATH | OFlag::O_NOFOLLOW);
        let found = opened.and_then(|thing| Ok((fstat(thing.as_fd())?, thing)));
        let (found, thing) = match found {
            Ok(found) => found,
            // Removed since it was listed.
            Err(Errno::ENOENT) => return,
            Err(Errno::EXDEV) => {
                self.counts.mounts += 1;
                return;
            }
            Err(error) => return self.fail(error),
        };
        self.counts.seen += 1;
        give(&thing, &found, self.owner, &mut self.counts);
        if is_folder(&found)
            && let Some(own) = self.shared.offer(thing, depth + 1)
        {
            self.folder(&own, depth + 1);
        }
    }

    fn fail(&mut self, error: Errno) {
        // The first of each thread tells what is wrong; a flood would tell no more.
        if self.counts.failed == 0 {
            eprintln!("fix-permissions: {error}");
        }
        self.counts.failed += 1;
    }
}

/// Opens a name in an open folder: never through a symlink, never out of the folder or onto another mount.
fn open(folder: &OwnedFd, name: &std::ffi::CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let within =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    openat2(folder, name, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(within))
}

fn give(thing: &OwnedFd, found: &nix::sys::stat::FileStat, owner: Owner, counts: &mut Counts) {
    match judge(found, owner) {
        Verdict::Right => {}
        Verdict::Shared => counts.shared += 1,
        Verdict::Device => counts.devices += 1,
        Verdict::Give => {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            match fchownat(thing, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH) {
                Ok(()) => counts.given += 1,
                Err(error) => {
                    if counts.failed == 0 {
                        eprintln!("fix-permissions: {error}");
                    }
                    counts.failed += 1;
                }
            }
        }
    }
}
