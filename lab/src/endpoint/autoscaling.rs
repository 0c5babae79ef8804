//! The seam to whoever keeps the groups' state: sees each Auto Scaling call before moto does.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use super::answer::Answer;
use super::caller::Caller;

/// The parameters of a call in the query protocol, by their full names (`Filters.member.1.Name`).
pub type Params = BTreeMap<String, String>;

/// Answers Auto Scaling calls in moto's place. Permission was decided before; faults were injected before.
pub trait AutoScaling: Send + Sync {
    /// Answers `action`, or leaves it to moto with `None`.
    fn handle<'a>(
        &'a self,
        action: &'a str,
        params: &'a Params,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Option<Answer>>;
}

/// The values of the list `name` (`name.member.1`, `name.member.2`, …) in order.
#[must_use]
pub fn members<'a>(params: &'a Params, name: &str) -> Vec<&'a str> {
    (1..).map_while(|at| params.get(&format!("{name}.member.{at}"))).map(String::as_str).collect()
}

/// The structures of the list `name`, each with its fields' names relative to it
/// (`Filters.member.1.Name` becomes `Name`).
#[must_use]
pub fn structures(params: &Params, name: &str) -> Vec<Params> {
    (1..)
        .map(|at| {
            let prefix = format!("{name}.member.{at}.");
            params
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
                .collect::<Params>()
        })
        .take_while(|fields| !fields.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_order_and_end_at_the_first_gap() {
        let params: Params = [
            ("InstanceIds.member.1", "i-1"),
            ("InstanceIds.member.2", "i-2"),
            ("InstanceIds.member.4", "i-4"),
            ("Filters.member.1.Name", "tag:stack"),
            ("Filters.member.1.Values.member.1", "ci"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        assert_eq!(members(&params, "InstanceIds"), ["i-1", "i-2"]);
        let filters = structures(&params, "Filters");
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0]["Name"], "tag:stack");
        assert_eq!(members(&filters[0], "Values"), ["ci"]);
    }
}
