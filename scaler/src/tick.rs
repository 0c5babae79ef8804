//! One tick: observe jobs and groups, decide, apply, publish, and say why.

mod apply;
mod decision;
pub mod fake_group;
mod look;
mod remember;
mod rest;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::brake::{Brake, Seen};
use crate::decide::{Plan, Policy};
use crate::gap::ScalingMode;
use crate::lease::holder::MayLower;
use crate::phantom::BootWatch;
use crate::ports::{Counts, Group, Groups, Metrics, Problem, Publication, Troubles};
use crate::price::HourlyPrice;
use crate::record::{Inputs, Moved, Record, Wanted};
use crate::sharing::{FixedShare, Memory, Sharing};
use crate::shortage::{Patience, Shortage};
use apply::apply;
use decision::Came;
pub use decision::Decision;
use look::{Found, look};

/// What one tick is asked to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The queue whose jobs count.
    pub queue: String,
    /// The owner's wishes.
    pub policy: Policy,
    /// Instances of all groups together, beyond each group's own maximum.
    pub most: u32,
    /// The period of the schedule that both are of.
    pub period: Option<String>,
    /// How long AWS may owe launches.
    pub patience: Patience,
    /// After three failed boots, the pause before another one is tried.
    pub probe_after: SignedDuration,
    /// Who changes desired capacity.
    pub mode: ScalingMode,
    /// The part of the queue's jobs that is for this account and region.
    pub share: FixedShare,
    /// What an instance of each group costs for an hour, where that is told.
    pub prices: Vec<HourlyPrice>,
    /// Decide and say, but change and publish nothing.
    pub dry_run: bool,
    /// Publish metrics in this tick.
    pub publish: bool,
    /// Where a lease says who lowers, leave that to other ticks: this one is here for a hint, and gone in a moment.
    pub raise_only: bool,
}

impl Order {
    fn wanted(&self) -> Wanted {
        Wanted {
            policy: self.policy,
            most: self.most,
            patience: self.patience,
            mode: self.mode,
            period: self.period.clone(),
            share: self.share,
        }
    }
}

/// A group, its name for the record, and what is remembered of it from tick to tick.
#[derive(Debug)]
pub struct Kept<G> {
    /// Its name.
    pub name: String,
    /// Its adapter.
    pub group: G,
    /// Does AWS deliver there?
    pub shortage: Shortage,
    /// Do its instances boot?
    pub brake: Brake,
    /// For how long do they?
    pub boots: BootWatch,
    /// The last look at it.
    pub seen: Option<Seen>,
}

impl<G> Kept<G> {
    /// A group of which nothing is known yet.
    pub fn new(name: impl Into<String>, group: G) -> Self {
        Self {
            name: name.into(),
            group,
            shortage: Shortage::default(),
            brake: Brake::default(),
            boots: BootWatch::default(),
            seen: None,
        }
    }
}

/// A queue's groups, the cheapest first, and what is remembered of the queue from tick to tick.
#[derive(Debug)]
pub struct Served<G> {
    /// The groups.
    pub groups: Vec<Kept<G>>,
    /// Of the other stacks on the queue.
    memory: Memory,
    /// What the last look found, where that left nothing to do.
    at_rest: Option<Inputs>,
    /// The stack that the groups are of, by their tags.
    stack: Option<String>,
    /// Who may lower, where other scalers may serve the queue, too.
    lease: Option<Arc<dyn MayLower>>,
}

impl<G> Served<G> {
    /// A queue of which nothing is known yet.
    #[must_use]
    pub fn new(groups: Vec<Kept<G>>) -> Self {
        Self { groups, memory: Memory::new(), at_rest: None, stack: None, lease: None }
    }

    /// Desired capacity is lowered only as the lease says.
    #[must_use]
    pub fn under(self, lease: Option<Arc<dyn MayLower>>) -> Self {
        Self { lease, ..self }
    }

    /// Nothing is lowered for a while: others may.
    pub async fn release(&self) {
        if let Some(lease) = &self.lease {
            lease.release().await;
        }
    }

    /// The next tick looks at its groups, whatever its jobs are: something was heard of it.
    pub fn wake(&mut self) {
        self.at_rest = None;
    }

    /// The stack that its groups are of, if they are tagged and were looked at.
    #[must_use]
    pub fn stack(&self) -> Option<&str> {
        self.stack.as_deref()
    }
}

/// Queues that are served together, in one tick.
#[derive(Debug)]
pub struct Service<G> {
    /// The queues.
    pub queues: Vec<Served<G>>,
    /// When all groups were looked at.
    looked: Option<Timestamp>,
    any_untagged: bool,
    /// The longest that a tick took since the last publication, from its first question to the last answer.
    slowest: Duration,
}

impl<G> Service<G> {
    /// Queues of which nothing is known yet.
    #[must_use]
    pub fn new(queues: Vec<Served<G>>) -> Self {
        Self { queues, looked: None, any_untagged: false, slowest: Duration::ZERO }
    }
}

/// Outcome of a tick for one queue: what goes on record, what failed, and what the CI asked for.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// For the decision log: one for each group.
    pub decisions: Vec<Decision>,
    /// The whole tick, to be told and replayed; none where it was quiet.
    pub record: Option<Record>,
    /// Were the groups looked at?
    pub looked: bool,
    /// Were metrics published?
    pub published: bool,
    /// Empty when all went well.
    pub problems: Vec<Problem>,
    /// How long the CI asks us to wait.
    pub poll_after: Option<Duration>,
    /// Idle instances stay that could go: it was decided so.
    pub keeps_idle: bool,
}

/// What a tick has come to for one queue.
struct Decided {
    counts: Option<Counts>,
    inputs: Inputs,
    plans: Vec<Option<Plan>>,
    gaps: Vec<Option<i64>>,
    moved: Vec<Moved>,
    /// Who lowers instead.
    left_to: Option<String>,
    looked: bool,
    published: bool,
    problems: Vec<Problem>,
}

/// Runs one tick of all queues; `orders` and `counts` are in the order of the service's. An unknown (jobs or any of a
/// queue's groups) means no step at all for that queue; a failed publication does not stop the steps. A queue
/// [at rest](rest) is not looked at.
pub async fn tick<G: Group, A: Groups, M: Metrics>(
    orders: &[Order],
    counts: impl Future<Output = Vec<Result<Counts, Problem>>>,
    service: &mut Service<G>,
    groups: &A,
    metrics: &M,
    at: Timestamp,
) -> Vec<Outcome> {
    let began = Instant::now();
    let all = service.queues.iter().map(|served| served.groups.len()).sum();
    let whole = rest::is_due(service.looked, all, service.any_untagged, at);
    let busy = |served: &Served<G>| whole || served.at_rest.is_none();
    let busy: Vec<bool> = service.queues.iter().map(busy).collect();
    let (counts, mut found) = tokio::join!(counts, look(orders, &service.queues, groups, &busy));
    let woken = service.queues.iter().zip(orders.iter().zip(&counts));
    let woken: Vec<bool> =
        woken.map(|(served, (order, counts))| served.is_woken(order, counts, at)).collect();
    if woken.contains(&true) {
        let more = look(orders, &service.queues, groups, &woken).await;
        found.iter_mut().zip(more).filter(|(_, more)| more.is_some()).for_each(|(found, more)| *found = more);
    }
    if whole {
        let is_untagged = |found: &Option<Found>| found.as_ref().is_some_and(|found| found.any_untagged);
        (service.looked, service.any_untagged) = (Some(at), found.iter().any(is_untagged));
    }
    let each = service.queues.iter_mut().zip(orders).zip(counts.into_iter().zip(found));
    let each = each.map(|((served, order), (counts, found))| served.decide(order, counts, found, at));
    let mut decided: Vec<Decided> = join_all(each).await;
    apply(orders, &service.queues, &mut decided).await;
    service.slowest = service.slowest.max(began.elapsed());
    if publish(orders, service, &mut decided, metrics, at).await {
        service.slowest = Duration::ZERO;
    }
    orders.iter().zip(decided).map(|(order, decided)| decided.outcome(order)).collect()
}

impl<G: Group> Served<G> {
    /// Is it at rest, and do its jobs now ask for something? What is unknown asks for nothing.
    fn is_woken(&self, order: &Order, counts: &Result<Counts, Problem>, at: Timestamp) -> bool {
        let Some((before, counts)) = self.at_rest.as_ref().zip(counts.as_ref().ok()) else { return false };
        !rest::asks_nothing(&again(before, order, Some(counts), at))
    }

    async fn decide(
        &mut self,
        order: &Order,
        counts: Result<Counts, Problem>,
        found: Option<Found>,
        at: Timestamp,
    ) -> Decided {
        let mut problems = Vec::new();
        let looked = found.is_some();
        let counts = counts.map_err(|problem| problems.push(problem)).ok();
        let (inputs, moved) = match (found, &self.at_rest) {
            (None, Some(before)) => {
                (again(before, order, counts.as_ref(), at), vec![Moved::default(); self.groups.len()])
            }
            (found, _) => {
                let (groups, sharing, moved) = self.note(order, found, at, &mut problems).await;
                (Inputs { groups, sharing, ..told(order, counts.as_ref(), at) }, moved)
            }
        };
        let plans = inputs.decide();
        self.memory = inputs.remember().unwrap_or_else(|| std::mem::take(&mut self.memory));
        if looked {
            self.at_rest = rest::is_at_rest(&inputs, &plans).then(|| inputs.clone());
        }
        let gaps = inputs.gaps(&plans);
        Decided { counts, inputs, plans, gaps, moved, left_to: None, looked, published: false, problems }
    }

    fn troubles(&self, inputs: &Inputs) -> Troubles {
        let failed = self.groups.iter().map(|kept| kept.brake.in_a_row()).max().unwrap_or(0);
        Troubles {
            boots_failing: failed as u64,
            capacity_short: inputs.capacity_short(),
            phantom_instances: inputs.phantoms(),
        }
    }
}

/// All that is decided from but the groups.
fn told(order: &Order, counts: Option<&Counts>, at: Timestamp) -> Inputs {
    Inputs {
        at,
        queue: order.queue.clone(),
        wanted: order.wanted(),
        jobs: counts.map(|counts| counts.jobs),
        expected: counts.map_or(0, |counts| counts.expected),
        paused: counts.is_some_and(|counts| counts.paused == Some(true)),
        unmatched: counts.map_or(0, |counts| counts.unmatched),
        doubt: counts.and_then(|counts| counts.reading.doubt(at)),
        groups: Vec::new(),
        sharing: Sharing::Alone,
    }
}

/// What was seen before, with the jobs and the wishes of now.
fn again(before: &Inputs, order: &Order, counts: Option<&Counts>, at: Timestamp) -> Inputs {
    Inputs { groups: before.groups.clone(), sharing: before.sharing.clone(), ..told(order, counts, at) }
}

impl Decided {
    fn outcome(self, order: &Order) -> Outcome {
        let Self { counts, inputs, plans, gaps, moved, left_to, looked, published, problems } = self;
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let came = Came {
            order,
            counts: counts.as_ref(),
            inputs: &inputs,
            plans: &plans,
            gaps: &gaps,
            looked,
            left_to: left_to.as_deref(),
            published,
            problems: &told,
        };
        let decisions = came.decisions();
        let record = Record { left_to, ..Record::new(&inputs, &plans, moved, &told, order.dry_run) };
        let record = (!record.is_quiet()).then_some(record);
        let keeps_idle = inputs.keep_idle(&plans);
        let poll_after = counts.and_then(|counts| counts.poll_after);
        Outcome { decisions, record, looked, published, problems, poll_after, keeps_idle }
    }
}

/// Publishes what is known of all queues whose turn it is; was anything?
async fn publish<G: Group, M: Metrics>(
    orders: &[Order],
    service: &Service<G>,
    decided: &mut [Decided],
    metrics: &M,
    at: Timestamp,
) -> bool {
    let mut publications = Vec::new();
    for ((order, served), decided) in orders.iter().zip(&service.queues).zip(decided.iter_mut()) {
        let due = order.publish && !order.dry_run;
        let Some(counts) = decided.counts.clone().filter(|_| due) else { continue };
        let named = served.groups.iter().zip(&decided.gaps);
        let gaps = named.filter_map(|(kept, gap)| Some((kept.name.clone(), (*gap)?))).collect();
        let troubles = served.troubles(&decided.inputs);
        publications.push(Publication {
            queue: order.queue.clone(),
            counts,
            troubles,
            decision: service.slowest,
            hourly_cost: decided.inputs.hourly_cost(&order.prices),
            gaps,
        });
        decided.published = true;
    }
    if publications.is_empty() {
        return false;
    }
    if let Err(problem) = metrics.publish(&publications, at).await {
        for decided in decided.iter_mut().filter(|decided| decided.published) {
            decided.published = false;
            decided.problems.push(problem.clone());
        }
        return false;
    }
    true
}

#[cfg(test)]
mod leases;
#[cfg(test)]
mod phantoms;
#[cfg(test)]
mod records;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod tests;
