//! What all policies add up to, within one account.

use super::policy::{Named, Policy, Request};

/// The policies that have a say.
#[derive(Debug, Clone, Copy)]
pub struct Policies<'a> {
    /// The caller's own.
    pub identity: &'a [Policy],
    /// The caller's permissions boundary.
    pub boundary: Option<&'a Policy>,
    /// The resource's.
    pub resource: Option<&'a Policy>,
    /// A resource policy is needed to allow anything (KMS keys, a role's trust policy).
    pub resource_decides: bool,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, by these statements of the caller's own policies (policy, statement); empty when the resource's
    /// policy alone allows.
    Allowed(Vec<(String, String)>),
    /// Denied.
    Denied(Denial),
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A statement of the caller's own policies denies it.
    ByIdentity,
    /// A statement of the permissions boundary denies it.
    ByBoundary,
    /// A statement of the resource's policy denies it.
    ByResource,
    /// No policy of the caller allows it.
    NoIdentity,
    /// The permissions boundary does not allow it.
    NoBoundary,
    /// The resource's policy does not allow it.
    NoResource,
}

impl Denial {
    /// The end of AWS's message: `… because <this>`.
    #[must_use]
    pub fn because(self, action: &str) -> String {
        match self {
            Self::ByIdentity => "with an explicit deny in an identity-based policy".into(),
            Self::ByBoundary => "with an explicit deny in a permissions boundary".into(),
            Self::ByResource => "with an explicit deny in a resource-based policy".into(),
            Self::NoIdentity => format!("because no identity-based policy allows the {action} action"),
            Self::NoBoundary => format!("because no permissions boundary allows the {action} action"),
            Self::NoResource => format!("because no resource-based policy allows the {action} action"),
        }
    }
}

/// Decides: an explicit deny anywhere wins; else the resource's policy may allow alone where it names the caller, and
/// the caller's own policies allow within the boundary.
#[must_use]
pub fn decide(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let denies = |policy: &Policy| policy.matching(request).any(|statement| !statement.allows);
    if policies.identity.iter().any(denies) {
        return Decision::Denied(Denial::ByIdentity);
    }
    if policies.boundary.is_some_and(denies) {
        return Decision::Denied(Denial::ByBoundary);
    }
    let mut granted = None;
    for (statement, named) in policies.resource.into_iter().flat_map(|policy| policy.naming(request)) {
        if !statement.allows {
            return Decision::Denied(Denial::ByResource);
        }
        granted = granted.max(Some(named));
    }
    let in_boundary =
        policies.boundary.is_none_or(|policy| policy.matching(request).any(|statement| statement.allows));
    let own: Vec<(String, String)> = policies
        .identity
        .iter()
        .flat_map(|policy| {
            policy.matching(request).map(|statement| (policy.name.clone(), statement.sid.clone()))
        })
        .collect();
    match granted {
        Some(Named::Itself) => Decision::Allowed(own),
        Some(Named::Role) if in_boundary => Decision::Allowed(own),
        None if policies.resource_decides => Decision::Denied(Denial::NoResource),
        _ if own.is_empty() => Decision::Denied(Denial::NoIdentity),
        _ if in_boundary => Decision::Allowed(own),
        _ => Decision::Denied(Denial::NoBoundary),
    }
}

#[cfg(test)]
mod tests;
