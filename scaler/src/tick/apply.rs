//! What was decided is set: growth by anybody, lowering by whoever has the lease.

use std::time::Duration;

use futures::StreamExt as _;

use super::{Decided, Kept, Order, Served};
use crate::decide::{Plan, Step};
use crate::lease::holder::Verdict;
use crate::ports::{Group, Problem};

/// Queues whose groups are set at a time.
const AT_A_TIME: usize = 16;

/// Sets what was decided, some queues at a time.
pub(super) async fn apply<G: Group>(orders: &[Order], queues: &[Served<G>], decided: &mut [Decided]) {
    let each = orders.iter().zip(queues).zip(decided);
    let each = each.filter(|((order, _), _)| !order.dry_run && order.mode.is_direct());
    futures::stream::iter(each)
        .for_each_concurrent(AT_A_TIME, |((order, served), decided)| served.set(order, decided))
        .await;
}

impl<G: Group> Served<G> {
    /// Growth comes first: what one group cannot launch, another one has then been asked for. And it asks nobody. But
    /// where all groups would pass the most of all by it, what makes room has to be called off before.
    async fn set(&self, order: &Order, decided: &mut Decided) {
        let fits = self.fits(order.most, &decided.plans);
        let Decided { plans, left_to, problems, .. } = decided;
        for growth in [fits, !fits] {
            let failed = problems.len();
            for (kept, plan) in self.groups.iter().zip(plans.iter()) {
                let grows = |plan: &Plan| matches!(plan.step, Step::ScaleOut { .. });
                let Some(target) = plan.filter(|plan| grows(plan) == growth).and_then(|plan| plan.target())
                else {
                    continue;
                };
                match self.may_set(order, growth).await {
                    Ok(within) => problems.extend(kept.set(target, within).await.err()),
                    Err(owner) => *left_to = Some(owner),
                }
            }
            let made_room = problems.len() == failed && left_to.is_none();
            if !fits && !made_room {
                return;
            }
        }
    }

    /// Would growth keep within the most of all, before anything is lowered?
    fn fits(&self, most: u32, plans: &[Option<Plan>]) -> bool {
        let grown = |(kept, plan): (&Kept<G>, &Option<Plan>)| {
            let desired = kept.seen.as_ref().map_or(0, |seen| seen.capacity.desired);
            plan.and_then(|plan| plan.target()).map_or(desired, |target| target.max(desired))
        };
        self.groups.iter().zip(plans).map(grown).fold(0u32, u32::saturating_add) <= most
    }

    /// Within which time a group may be set, if there is a limit; or who sets it instead.
    async fn may_set(&self, order: &Order, growth: bool) -> Result<Option<Duration>, String> {
        match self.lease.as_ref().filter(|_| !growth) {
            Some(_) if order.raise_only => Err("the ticks of the schedule".to_owned()),
            Some(lease) => match lease.ask().await {
                Verdict::Yes(within) => Ok(Some(within)),
                Verdict::Unguarded(_) => Ok(None),
                Verdict::LeftTo(owner) => Err(owner),
            },
            None => Ok(None),
        }
    }
}

impl<G: Group> Kept<G> {
    /// Sets desired capacity; `within`: as long as the lease is held.
    async fn set(&self, target: u32, within: Option<Duration>) -> Result<(), Problem> {
        let set = self.group.set_desired(target);
        let Some(within) = within else { return set.await };
        let late = |_| {
            let what =
                format!("autoscaling:SetDesiredCapacity on {}: no answer within {within:?}", self.name);
            Problem::new(69, format!("{what}, while the lease was held"))
        };
        tokio::time::timeout(within, set).await.map_err(late)?
    }
}
