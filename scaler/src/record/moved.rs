//! Instances that came or went from one look to the next. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::brake::Seen;

/// So many instances are named; the others are counted.
pub(crate) const NAMED: usize = 20;

/// What became of a group's instances since the look before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// They are on their way in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub booting: Vec<String>,
    /// They got ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_service: Vec<String>,
    /// They are on their way out, or gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Others that are not named here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Moved {
    /// From one look to the next.
    #[must_use]
    pub fn between(before: &Seen, now: &Seen) -> Self {
        let there = |seen: &Seen, id: &String| seen.booting.contains(id) || seen.serving.contains(id);
        let mut more = 0;
        let mut named = |ids: &BTreeSet<String>, came: &dyn Fn(&String) -> bool| {
            let ids: Vec<String> = ids.iter().filter(|id| came(id)).cloned().collect();
            more += ids.len().saturating_sub(NAMED);
            ids.into_iter().take(NAMED).collect::<Vec<_>>()
        };
        let booting = named(&now.booting, &|id| !there(before, id));
        let in_service = named(&now.serving, &|id| !before.serving.contains(id));
        let all: BTreeSet<String> = before.booting.union(&before.serving).cloned().collect();
        let left = named(&all, &|id| !there(now, id));
        Self { booting, in_service, left, more }
    }

    /// Is it about this instance?
    #[must_use]
    pub fn names(&self, instance: &str) -> bool {
        [&self.booting, &self.in_service, &self.left].into_iter().flatten().any(|id| id == instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(booting: &[&str], serving: &[&str]) -> Seen {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Seen { booting: set(booting), serving: set(serving), ..Seen::default() }
    }

    #[test]
    fn each_way_in_and_out_is_told_once() {
        let moved = |before: &Seen, now: &Seen| {
            let Moved { booting, in_service, left, more } = Moved::between(before, now);
            assert_eq!(more, 0);
            [booting, in_service, left].map(|ids| ids.join(","))
        };
        let before = seen(&["b"], &["s", "t"]);
        assert_eq!(moved(&before, &before), ["", "", ""]);
        assert_eq!(moved(&before, &seen(&["b", "n"], &["s", "t"])), ["n", "", ""]);
        assert_eq!(moved(&before, &seen(&[], &["b", "s", "t"])), ["", "b", ""]);
        assert_eq!(moved(&before, &seen(&[], &["s"])), ["", "", "b,t"]);
        assert_eq!(moved(&before, &seen(&["b"], &["s", "t", "quick"])), ["", "quick", ""]);
    }

    #[test]
    fn a_crowd_is_counted() {
        let ids: Vec<String> = (0..500).map(|n| format!("i-{n:017x}")).collect();
        let crowd = Seen { booting: ids.into_iter().collect(), ..Seen::default() };
        let moved = Moved::between(&Seen::default(), &crowd);
        assert_eq!((moved.booting.len(), moved.more), (20, 480));
        assert!(moved.names("i-00000000000000000") && !moved.names("i-000000000000001f3"));
    }
}
