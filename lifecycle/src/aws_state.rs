//! Auto Scaling's own names of an instance's lifecycle states, as its API and the instance metadata
//! (`autoscaling/target-lifecycle-state`) spell them.

use std::fmt;
use std::str::FromStr;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A lifecycle state of an instance in its group. Names that AWS may add later are kept as
        /// [`AwsState::Other`].
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum AwsState {
            $($(#[$doc])* $variant,)*
            /// A name that this version does not know.
            Other(String),
        }

        impl AwsState {
            /// AWS's spelling.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for AwsState {
            fn from(name: &str) -> Self {
                match name.trim() {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

states! {
    /// Launching.
    Pending = "Pending",
    /// Launched, held by a launching lifecycle hook.
    PendingWait = "Pending:Wait",
    /// The launching hook is completed.
    PendingProceed = "Pending:Proceed",
    /// Leaves quarantine after a failed hook.
    Quarantined = "Quarantined",
    /// Part of the capacity.
    InService = "InService",
    /// On its way out.
    Terminating = "Terminating",
    /// On its way out, held by a terminating lifecycle hook: there is time to finish.
    TerminatingWait = "Terminating:Wait",
    /// The terminating hook is completed.
    TerminatingProceed = "Terminating:Proceed",
    /// Held by a retained hook outcome.
    TerminatingRetained = "Terminating:Retained",
    /// Gone.
    Terminated = "Terminated",
    /// Being taken out of the group, still running.
    Detaching = "Detaching",
    /// Taken out of the group, still running.
    Detached = "Detached",
    /// On its way to standby.
    EnteringStandby = "EnteringStandby",
    /// In the group but not part of the capacity.
    Standby = "Standby",
    /// Warm pool: launching.
    WarmedPending = "Warmed:Pending",
    /// Warm pool: held by a launching hook.
    WarmedPendingWait = "Warmed:Pending:Wait",
    /// Warm pool: hook completed.
    WarmedPendingProceed = "Warmed:Pending:Proceed",
    /// Warm pool: waiting, running.
    WarmedRunning = "Warmed:Running",
    /// Warm pool: waiting, stopped.
    WarmedStopped = "Warmed:Stopped",
    /// Warm pool: waiting, hibernated.
    WarmedHibernated = "Warmed:Hibernated",
    /// Warm pool: on its way out.
    WarmedTerminating = "Warmed:Terminating",
    /// Warm pool: on its way out, held by a hook.
    WarmedTerminatingWait = "Warmed:Terminating:Wait",
    /// Warm pool: hook completed.
    WarmedTerminatingProceed = "Warmed:Terminating:Proceed",
    /// Warm pool: gone.
    WarmedTerminated = "Warmed:Terminated",
}

impl AwsState {
    /// Does AWS accept SetInstanceProtection here? Only in service and in standby.
    #[must_use]
    pub fn takes_protection(&self) -> bool {
        matches!(self, Self::InService | Self::Standby)
    }

    /// Is the instance leaving (or is this, as a target, the way out)?
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(
            self,
            Self::Terminating
                | Self::TerminatingWait
                | Self::TerminatingProceed
                | Self::Terminated
                | Self::WarmedTerminating
                | Self::WarmedTerminatingWait
                | Self::WarmedTerminatingProceed
                | Self::WarmedTerminated
        )
    }

    /// Does it wait in the warm pool?
    #[must_use]
    pub fn is_warmed(&self) -> bool {
        self.name().starts_with("Warmed:")
    }
}

impl fmt::Display for AwsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AwsState {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl serde::Serialize for AwsState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for AwsState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self::from(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_unknown_ones_are_kept() {
        for name in NAMES {
            let state = AwsState::from(*name);
            assert!(!matches!(state, AwsState::Other(_)), "{name}");
            assert_eq!(state.name(), *name);
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(AwsState::from("Dreaming"), AwsState::Other("Dreaming".to_owned()));
        assert_eq!(AwsState::from("InService\n"), AwsState::InService);
    }

    #[test]
    fn what_a_state_allows() {
        for name in NAMES {
            let state = AwsState::from(*name);
            assert_eq!(state.takes_protection(), ["InService", "Standby"].contains(name), "{name}");
            let leaving = name.contains("Terminat") && *name != "Terminating:Retained";
            assert_eq!(state.is_leaving(), leaving, "{name}");
        }
        // An unknown state is not a reason to leave.
        assert!(!AwsState::from("Terminally:New").is_leaving());
    }
}
