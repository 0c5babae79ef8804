//! After boots that failed one after the other: when may the next instance be tried? Pure: times are given.
//!
//! Two hold back. The scaler desires no more than serves, and the probe when it is due. What AWS replaces whatever is
//! desired (the group's minimum, a warm pool) it cannot call off: there the instance whose boot failed holds its own
//! launch, as long as no successor may be tried.

use jiff::{SignedDuration, Timestamp};

use crate::boots::{Activity, Boot, boots, under_way};

/// So many boots in a row must have failed.
pub const FAILED_IN_A_ROW: usize = 3;

/// The pauses before the first, second, third and each later probe, as multiples of the first.
const PAUSES: [i32; 4] = [1, 2, 5, LONGEST];

/// No pause is longer than so many times the first.
pub const LONGEST: i32 = 10;

/// When the next instance may be tried after these boots, the last to end first. None where fewer than three have failed
/// since the last one that got ready: then nothing is to be waited for.
#[must_use]
pub fn next_probe(boots: &[Boot], pause: SignedDuration) -> Option<Timestamp> {
    let failed = &boots[..in_a_row(boots)];
    let last = failed.first()?;
    let third = failed.len().checked_sub(FAILED_IN_A_ROW).and_then(|at| failed.get(at))?;
    let probes = failed.iter().filter(|boot| boot.began > third.ended).count();
    let longer = PAUSES[probes.min(PAUSES.len() - 1)];
    Some(last.ended.checked_add(pause.saturating_mul(longer)).unwrap_or(Timestamp::MAX))
}

/// Boots that failed since the last that got ready.
fn in_a_row(boots: &[Boot]) -> usize {
    boots.iter().take_while(|boot| boot.failure.is_some()).count()
}

/// What an instance whose boot failed does with its launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Gives it up.
    GiveUp,
    /// Holds it until then: it is the probe, and its successor the next one.
    Hold {
        /// Boots that failed in a row, its own among them.
        in_a_row: usize,
        /// When a successor may be tried.
        until: Timestamp,
    },
    /// Holds it: a younger one is the probe. So only one at a time is tried, however many are missing.
    Behind {
        /// Boots that failed in a row, its own among them.
        in_a_row: usize,
        /// The probe.
        probe: String,
    },
}

/// The turn of `instance`, whose boot failed at `failed`, by what the group has recorded. An instance that the record does
/// not know gives up: there is nothing to go by.
#[must_use]
pub fn turn(activities: &[Activity], instance: &str, failed: Timestamp, pause: SignedDuration) -> Turn {
    let open = under_way(activities);
    let Some(own) = open.iter().find(|launch| launch.instance == instance) else { return Turn::GiveUp };
    let mut boots = boots(activities);
    let (began, failure) = (own.began, Some("its boot failed".to_owned()));
    let after = boots.partition_point(|boot| boot.ended > failed);
    boots.insert(after, Boot { instance: instance.to_owned(), began, ended: failed, failure });
    let (Some(until), Some(youngest)) = (next_probe(&boots, pause), open.first()) else {
        return Turn::GiveUp;
    };
    let in_a_row = in_a_row(&boots);
    if youngest.instance == instance {
        Turn::Hold { in_a_row, until }
    } else {
        Turn::Behind { in_a_row, probe: youngest.instance.clone() }
    }
}

#[cfg(test)]
mod tests;
