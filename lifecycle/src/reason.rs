//! Why an instance is retired.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an instance stops taking jobs and leaves its group. The wire form is the kebab-case name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No job for the idle period.
    Idle,
    /// The stack gives every job a fresh instance.
    AfterJob,
    /// Older than the stack allows.
    MaxAge,
    /// The disk stays full although it was cleaned.
    DiskFull,
    /// EC2 takes the spot instance back in two minutes.
    SpotNotice,
    /// EC2 expects to take the spot instance back.
    Rebalance,
    /// EC2 will stop, reboot or retire the machine.
    Maintenance,
    /// A newer launch template or other settings are there.
    Update,
    /// Somebody terminates the instance by hand, or the group does for reasons of its own.
    Operator,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::AfterJob,
        Self::MaxAge,
        Self::DiskFull,
        Self::SpotNotice,
        Self::Rebalance,
        Self::Maintenance,
        Self::Update,
        Self::Operator,
    ];

    /// The wire form.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::AfterJob => "after-job",
            Self::MaxAge => "max-age",
            Self::DiskFull => "disk-full",
            Self::SpotNotice => "spot-notice",
            Self::Rebalance => "rebalance",
            Self::Maintenance => "maintenance",
            Self::Update => "update",
            Self::Operator => "operator",
        }
    }

    /// Does the machine go at a time that nobody on it can put off?
    #[must_use]
    pub fn is_imposed(self) -> bool {
        self == Self::SpotNotice
    }

    /// The stronger of two reasons: one that cannot be put off wins over one that can.
    #[must_use]
    pub fn or_stronger(self, other: Self) -> Self {
        if other.is_imposed() { other } else { self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reason to retire an instance")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_match_the_wire_form() {
        for reason in Reason::ALL {
            assert_eq!(reason.name().parse(), Ok(reason));
            let wire = format!("\"{reason}\"");
            assert_eq!(serde_json::to_string(&reason).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Reason>(&wire).unwrap(), reason);
        }
        assert!("Idle".parse::<Reason>().is_err());
    }

    #[test]
    fn an_imposed_reason_wins() {
        assert_eq!(Reason::Idle.or_stronger(Reason::SpotNotice), Reason::SpotNotice);
        assert_eq!(Reason::SpotNotice.or_stronger(Reason::Update), Reason::SpotNotice);
        assert_eq!(Reason::Idle.or_stronger(Reason::Update), Reason::Idle);
    }
}
