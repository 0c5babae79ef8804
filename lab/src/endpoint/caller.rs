//! Who makes a request.

use super::ACCOUNT;

/// The identity behind an access key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The lab's user: allowed everything that no resource policy denies.
    Admin,
    /// A session of a role, made by `sts:AssumeRole` or minted by the lab.
    Role {
        /// The role's name, without path.
        role: String,
        /// The session's name; the instance id for an instance's credentials.
        session: String,
    },
}

impl Caller {
    /// The identity's ARN as `sts:GetCallerIdentity` tells it.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::Admin => format!("arn:aws:iam::{ACCOUNT}:user/lab"),
            Self::Role { role, session } => {
                format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}")
            }
        }
    }

    /// A short name for reports: `lab`, or `<role>/<session>`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "lab".into(),
            Self::Role { role, session } => format!("{role}/{session}"),
        }
    }

    /// The identity's unique id: `aws:userid` in policies.
    #[must_use]
    pub fn unique_id(&self) -> String {
        match self {
            Self::Admin => "AIDALAB".into(),
            Self::Role { role, session } => format!("AROA{}:{session}", role.to_uppercase()),
        }
    }

    /// The role's name, for a session of a role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Admin => None,
            Self::Role { role, .. } => Some(role),
        }
    }
}
