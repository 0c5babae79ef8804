//! Which allows the calls used, and so what the template could do without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde::Serialize;

use super::Shared;
use super::caller::Caller;

/// An allow of a role's own policies that no call used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusedAllow {
    /// The role.
    pub role: String,
    /// The policy's name.
    pub policy: String,
    /// The statement's id or number.
    pub statement: String,
    /// The action, as the policy spells it.
    pub action: String,
    /// The resources of the statement.
    pub resources: Vec<String>,
}

/// (Policy, statement) → actions that it allowed.
type Statements = BTreeMap<(String, String), BTreeSet<String>>;

/// What each role's statements allowed.
#[derive(Debug, Default)]
pub struct Used(Mutex<BTreeMap<String, Statements>>);

impl Used {
    /// Remembers that a role was used at all.
    pub fn saw(&self, caller: &Caller) {
        if let Some(role) = caller.role() {
            self.add(role, Vec::new(), "");
        }
    }

    /// Remembers what statements allowed.
    pub fn add(&self, role: &str, statements: Vec<(String, String)>, action: &str) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let role = used.entry(role.to_owned()).or_default();
        for statement in statements {
            role.entry(statement).or_default().insert(action.to_owned());
        }
    }
}

/// The allows of the callers' own policies that no call used, by role. AWS's managed policies are left out: nobody can
/// narrow them.
///
/// # Errors
/// When policies cannot be read.
pub(super) async fn unused_allows(shared: &Shared) -> Result<Vec<UnusedAllow>> {
    let used = shared.used.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut unused = Vec::new();
    for (name, statements) in used {
        let role = shared.policies.role(&name).await?;
        for policy in &role.policies[..role.own] {
            for statement in policy.statements.iter().filter(|statement| statement.allows) {
                let place = (policy.name.clone(), statement.sid.clone());
                let actions = statements.get(&place);
                let idle = statement.actions.patterns.iter().filter(|pattern| {
                    !actions
                        .into_iter()
                        .flatten()
                        .any(|action| crate::iam::pattern::matches_action(pattern, action))
                });
                unused.extend(idle.map(|action| UnusedAllow {
                    role: name.clone(),
                    policy: policy.name.clone(),
                    statement: statement.sid.clone(),
                    action: action.clone(),
                    resources:
                        statement.resources.iter().flat_map(|listed| listed.patterns.clone()).collect(),
                }));
            }
        }
    }
    Ok(unused)
}
