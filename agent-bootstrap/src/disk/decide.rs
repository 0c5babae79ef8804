//! What to do about the room that is left on the disk. Pure.

use jiff::{SignedDuration, Timestamp};
use lifecycle::Disk;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Inodes that are free, and in all; none where the file system does not count them.
    pub inodes: Option<(u64, u64)>,
}

/// What the stack wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that shall be free; by default 5 GiB, or a tenth of a small disk.
    pub free: Option<u64>,
    /// Inodes that shall be free; by default 250,000, or a tenth of a small disk's.
    pub inodes: Option<u64>,
    /// What nobody used for so long may be removed.
    pub unused_for: SignedDuration,
}

const GIB: u64 = 1 << 30;
const USUAL: u64 = 5 * GIB;
const USUAL_INODES: u64 = 250_000;

impl Limits {
    /// Is there enough room?
    #[must_use]
    pub fn hold(&self, space: Space) -> bool {
        let wanted = self.free.unwrap_or(USUAL.min(space.total / 10));
        let inodes = |(free, total): (u64, u64)| free >= self.inodes.unwrap_or(USUAL_INODES.min(total / 10));
        space.free >= wanted && space.inodes.is_none_or(inodes)
    }
}

/// What the jobs of the instance are up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// When the eldest running job was let in.
    pub eldest_job: Option<Timestamp>,
    /// Since when no job runs and none can come: the agents have left.
    pub quiet_since: Option<Timestamp>,
}

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Is there enough room? `None` is unknown.
    pub enough: Option<bool>,
    /// The jobs.
    pub activity: Activity,
    /// What was found last.
    pub verdict: Disk,
    /// When what is old was pruned last, well or not.
    pub old_pruned: Option<Timestamp>,
    /// When all that is unused was pruned last, well or not.
    pub unused_pruned: Option<Timestamp>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing but to say so.
    Say(Disk),
    /// Remove what was made before `before`: stopped containers, networks.
    PruneOld {
        /// Older than the setting, and than every running job.
        before: Timestamp,
        /// Build cache too, if it was not used since. While there is room it makes jobs quick.
        cache: bool,
    },
    /// Remove that and the images and volumes that no container uses. Only where no job runs and none can come.
    PruneUnused {
        /// Older than the setting.
        before: Timestamp,
    },
}

/// Time between two rounds of cleaning while there is room.
const ROUTINE: SignedDuration = SignedDuration::from_hours(1);
/// And while room is short.
const SHORT: SignedDuration = SignedDuration::from_mins(5);

/// The next thing to do.
///
/// Images are left alone while a job runs: nothing tells when one was pulled, and a job may be about to use it. So short
/// room first asks for quiet ([`Disk::Low`]: the agents leave), and only what quiet cannot mend is [`Disk::Full`].
#[must_use]
pub fn decide(limits: &Limits, seen: &Seen, now: Timestamp) -> Next {
    let Some(enough) = seen.enough else { return Next::Say(seen.verdict) };
    let before = now.checked_sub(limits.unused_for).unwrap_or(Timestamp::MIN);
    let before_jobs = seen.activity.eldest_job.map_or(before, |eldest| eldest.min(before));
    let since = |at: Option<Timestamp>| at.map(|at| now.duration_since(at));
    let pause = if enough { ROUTINE } else { SHORT };
    // What was done in the future was done before the clock was set back.
    if since(seen.old_pruned).is_none_or(|past| past >= pause || past.is_negative()) {
        return Next::PruneOld { before: before_jobs, cache: !enough };
    }
    if enough {
        return Next::Say(Disk::Fine);
    }
    let Some(quiet_since) = seen.activity.quiet_since.filter(|_| seen.activity.eldest_job.is_none()) else {
        return Next::Say(Disk::Low);
    };
    if seen.unused_pruned.is_none_or(|at| at < quiet_since || at > now) {
        return Next::PruneUnused { before };
    }
    Next::Say(Disk::Full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn limits() -> Limits {
        Limits { free: None, inodes: None, unused_for: SignedDuration::from_hours(4) }
    }

    #[test]
    fn a_clock_that_is_set_back_puts_off_nothing() {
        let before = Some(at(1_000_000));
        let quiet = Activity { eldest_job: None, quiet_since: Some(at(900_000)) };
        let seen = Seen {
            enough: Some(false),
            activity: quiet,
            verdict: Disk::Low,
            old_pruned: before,
            unused_pruned: before,
        };
        let now = at(900_010);
        let next = decide(&limits(), &seen, now);
        assert!(matches!(next, Next::PruneOld { .. }), "{next:?}");
        let next = decide(&limits(), &Seen { old_pruned: Some(now), ..seen }, now);
        assert!(matches!(next, Next::PruneUnused { .. }), "{next:?}");
        let pruned = Seen { old_pruned: Some(now), unused_pruned: Some(now), ..seen };
        assert_eq!(decide(&limits(), &pruned, now), Next::Say(Disk::Full));
    }

    #[test]
    fn room_is_measured_in_bytes_and_inodes() {
        let space = |total: u64, free: u64, inodes| Space { total: total * GIB, free: free * GIB, inodes };
        for (name, space, enough) in [
            ("large", space(100, 5, Some((250_000, 6_000_000))), true),
            ("short", space(100, 4, Some((250_000, 6_000_000))), false),
            ("no inodes", space(100, 50, Some((249_999, 6_000_000))), false),
            ("few inodes", space(100, 50, Some((65_536, 655_360))), true),
            ("few inodes, and fewer free", space(100, 50, Some((65_535, 655_360))), false),
            ("inodes are not counted", space(100, 50, None), true),
            ("a small disk", space(10, 1, None), true),
            ("a small full disk", space(20, 1, None), false),
        ] {
            assert_eq!(limits().hold(space), enough, "{name}");
        }
        let asked = Limits { free: Some(50 * GIB), ..limits() };
        let asked_inodes = Limits { inodes: Some(10), ..limits() };
        assert!(
            !asked_inodes.hold(space(100, 50, Some((9, 20))))
                && asked_inodes.hold(space(100, 50, Some((10, 20))))
        );
        assert!(!asked.hold(space(100, 49, None)) && asked.hold(space(100, 50, None)));
    }

    #[test]
    fn short_room_is_pruned_then_asks_for_quiet_then_is_given_up() {
        let now = at(100_000);
        let long_ago = at(100_000 - 4 * 3600);
        let fine = Seen {
            enough: Some(true),
            activity: Activity::default(),
            verdict: Disk::Fine,
            old_pruned: Some(at(99_000)),
            unused_pruned: None,
        };
        let short = Seen { enough: Some(false), old_pruned: Some(at(99_999)), ..fine };
        let job = Activity { eldest_job: Some(at(50_000)), quiet_since: None };
        let young = Activity { eldest_job: Some(at(99_000)), quiet_since: None };
        let quiet = Activity { eldest_job: None, quiet_since: Some(at(99_990)) };
        let old = |before| Next::PruneOld { before, cache: false };
        let short_of = |before| Next::PruneOld { before, cache: true };
        for (name, seen, expected) in [
            ("fine", fine, Next::Say(Disk::Fine)),
            ("never pruned", Seen { old_pruned: None, ..fine }, old(long_ago)),
            ("an hour ago", Seen { old_pruned: Some(at(96_400)), ..fine }, old(long_ago)),
            ("a long job", Seen { old_pruned: None, activity: job, ..fine }, old(at(50_000))),
            ("a young job", Seen { old_pruned: None, activity: young, ..fine }, old(long_ago)),
            ("unknown", Seen { enough: None, verdict: Disk::Low, ..fine }, Next::Say(Disk::Low)),
            ("short", Seen { old_pruned: Some(at(99_700)), ..short }, short_of(long_ago)),
            ("still short, a job", Seen { activity: job, ..short }, Next::Say(Disk::Low)),
            ("still short, idle", short, Next::Say(Disk::Low)),
            ("quiet", Seen { activity: quiet, ..short }, Next::PruneUnused { before: long_ago }),
            (
                "quiet, pruned before",
                Seen { activity: quiet, unused_pruned: Some(at(99_989)), ..short },
                Next::PruneUnused { before: long_ago },
            ),
            (
                "in vain",
                Seen { activity: quiet, unused_pruned: Some(at(99_995)), ..short },
                Next::Say(Disk::Full),
            ),
        ] {
            assert_eq!(decide(&limits(), &seen, now), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_running_job_could_use_is_pruned(
            enough in proptest::option::of(any::<bool>()),
            job in proptest::option::of(0..100_000i64),
            quiet in proptest::option::of(0..100_000i64),
            old in proptest::option::of(0..100_000i64),
            unused in proptest::option::of(0..100_000i64),
        ) {
            let activity = Activity { eldest_job: job.map(at), quiet_since: quiet.map(at) };
            let (old_pruned, unused_pruned) = (old.map(at), unused.map(at));
            let seen = Seen { enough, activity, verdict: Disk::Fine, old_pruned, unused_pruned };
            let now = at(100_000);
            match decide(&limits(), &seen, now) {
                Next::PruneUnused { before } => {
                    prop_assert!(job.is_none() && quiet.is_some() && enough == Some(false));
                    prop_assert!(now.duration_since(before) >= limits().unused_for);
                }
                Next::PruneOld { before, cache } => {
                    prop_assert_eq!(Some(!cache), enough);
                    prop_assert!(job.is_none_or(|job| before <= at(job)));
                    prop_assert!(now.duration_since(before) >= limits().unused_for && enough.is_some());
                }
                Next::Say(Disk::Full) => prop_assert!(job.is_none() && quiet.is_some() && enough == Some(false)),
                Next::Say(_) => {}
            }
        }
    }
}
