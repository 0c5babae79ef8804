//! Looks at the groups of many queues at once, and what is taken note of.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Kept, Order, Served};
use crate::brake::Seen;
use crate::decide::Capacity;
use crate::ports::{Group, Groups, Problem};
use crate::record::{GroupSeen, Known, Moved, NAMED};
use crate::sharing::{Sharing, TaggedGroup};

/// What a look found of one queue.
pub(super) struct Found {
    /// The groups that are tagged with the queue.
    tagged: Result<Vec<TaggedGroup>, Problem>,
    /// This stack's groups, in their order.
    own: Vec<Result<Seen, Problem>>,
    /// Some of them are not tagged with the queue.
    pub any_untagged: bool,
}

/// Looks at the groups of those queues that are `wanted`. A stack's own groups are tagged, too, so that one call tells of
/// all; those that are not cost another one.
pub(super) async fn look<G: Group, A: Groups>(
    orders: &[Order],
    queues: &[Served<G>],
    groups: &A,
    wanted: &[bool],
) -> Vec<Option<Found>> {
    let those = || orders.iter().zip(queues).zip(wanted).filter(|(_, wanted)| **wanted).map(|(both, _)| both);
    let names: Vec<String> = those().map(|(order, _)| order.queue.clone()).collect();
    if names.is_empty() {
        return wanted.iter().map(|_| None).collect();
    }
    let tagged = groups.tagged(&names).await;
    let mut of_queue: BTreeMap<&str, Vec<&TaggedGroup>> = BTreeMap::new();
    for group in tagged.iter().flatten() {
        of_queue.entry(&group.queue).or_default().push(group);
    }
    let of = |order: &Order| of_queue.get(order.queue.as_str()).map_or(&[][..], Vec::as_slice);
    let told = |order: &Order, name: &str| of(order).iter().find(|group| group.name == name).copied();
    let own = those().flat_map(|(order, served)| served.groups.iter().map(move |kept| (order, &kept.name)));
    let untagged: Vec<String> =
        own.filter(|(order, name)| told(order, name).is_none()).map(|(_, name)| name.clone()).collect();
    let seen = if untagged.is_empty() { Vec::new() } else { groups.named(&untagged).await };
    let mut seen = seen.into_iter();
    let mut found = |order: &Order, served: &Served<G>| {
        let mut any_untagged = false;
        let own = served.groups.iter().map(|kept| match told(order, &kept.name) {
            Some(group) => Ok(group.seen.clone()),
            None => {
                any_untagged = true;
                // In the order in which they were asked for.
                let missing = || Err(Problem::new(69, format!("group {} was not described", kept.name)));
                seen.next().unwrap_or_else(missing)
            }
        });
        let own = own.collect();
        let tagged = match &tagged {
            Ok(_) => Ok(of(order).iter().map(|group| (*group).clone()).collect()),
            Err(problem) => Err(problem.clone()),
        };
        Found { tagged, own, any_untagged }
    };
    let each = orders.iter().zip(queues).zip(wanted);
    each.map(|((order, served), wanted)| wanted.then(|| found(order, served))).collect()
}

impl<G: Group> Served<G> {
    /// What was seen, with what is remembered of it: the groups, who else serves the queue, and which instances came or
    /// went.
    pub(super) async fn note(
        &mut self,
        order: &Order,
        found: Option<Found>,
        at: Timestamp,
        problems: &mut Vec<Problem>,
    ) -> (Vec<GroupSeen>, Sharing, Vec<Moved>) {
        let Some(Found { tagged, own, .. }) = found else {
            let unknown = |kept: &Kept<G>| GroupSeen { name: kept.name.clone(), known: None };
            let moved = vec![Moved::default(); self.groups.len()];
            return (self.groups.iter().map(unknown).collect(), Sharing::Unknown, moved);
        };
        let (mut groups, mut moved) = (Vec::new(), Vec::new());
        for (kept, seen) in self.groups.iter_mut().zip(own) {
            let (known, came) = match seen {
                Ok(seen) => {
                    let (known, came) = note(kept, seen, order, at, problems).await;
                    (Some(known), came)
                }
                Err(problem) => {
                    problems.push(problem);
                    (None, Moved::default())
                }
            };
            groups.push(GroupSeen { name: kept.name.clone(), known });
            moved.push(came);
        }
        let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
        let sharing = match tagged {
            Ok(tagged) => {
                let of_own = tagged.iter().find(|group| names.contains(&group.name));
                self.stack = of_own.and_then(|group| group.stack.clone());
                Sharing::of(&names, &tagged, &self.memory)
            }
            Err(problem) => {
                problems.push(problem);
                Sharing::Unknown
            }
        };
        (groups, sharing, moved)
    }
}

/// What was seen, with what is remembered of it, and which instances came or went. Boots that cannot be asked about
/// leave the brake as it was: what is unknown neither stops a group nor sets a failing one free.
async fn note<G: Group>(
    kept: &mut Kept<G>,
    seen: Seen,
    order: &Order,
    at: Timestamp,
    problems: &mut Vec<Problem>,
) -> (Known, Moved) {
    if kept.brake.look(&seen, at) {
        match kept.group.boots().await {
            Ok(boots) => {
                kept.boots.learn(&boots);
                kept.brake.learn(boots, at);
            }
            Err(problem) => problems.push(problem),
        }
    }
    kept.boots.look(&seen.booting, at);
    let booting = seen.capacity.live.saturating_sub(seen.capacity.in_service);
    let late = kept.boots.phantoms(at);
    let phantom = u32::try_from(late.len()).unwrap_or(u32::MAX).min(booting);
    let known = Known {
        capacity: Capacity { phantom, ..seen.capacity },
        boot_budget: (phantom > 0).then(|| kept.boots.budget()),
        phantoms: late.into_iter().take(if phantom > 0 { NAMED } else { 0 }).map(str::to_owned).collect(),
        shortage: kept.shortage,
        boots_failing: kept.brake.failing(order.probe_after),
    };
    kept.shortage = known.weigh(order.patience, at).1;
    // After a start of the program nobody knows what came meanwhile.
    let moved = kept.seen.as_ref().map(|before| Moved::between(before, &seen)).unwrap_or_default();
    kept.seen = Some(seen);
    (known, moved)
}
