//! The parts of a running scaler, connected: one [`Scaler`] for each CI that the settings name, so that one that does not
//! answer delays nobody else's queues.

mod keep;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws::Session;
use aws::session::Patience;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::config::{Config, QueueConfig, Source};
use crate::gap::ScalingMode;
use crate::group::AutoScalingGroup;
use crate::groups::AutoScalingGroups;
use crate::hint::desk::{Desk, Ear};
use crate::hint::heard::Heard;
use crate::hint::secret::HintSecret;
use crate::job_counts::BuildkiteJobCounts;
use crate::keeps::Keeps;
use crate::lease::holder::{Holder, MayLower, name_of_this_process};
use crate::ledger::dynamodb::DynamoDbLedger;
use crate::metrics::CloudWatchMetrics;
use crate::pace;
use crate::ports::Problem;
use crate::schedule::Effective;
use crate::state::store::Store;
use crate::tick::{Kept, Order, Outcome, Served, Service, tick};

/// All of them, and where hints are taken.
#[derive(Debug)]
pub struct Scalers {
    /// One for each CI: endpoint and token.
    pub each: Vec<Scaler>,
    /// Where hints are taken, if they are believed at all.
    pub desk: Option<Arc<Desk>>,
}

impl Scalers {
    /// Connects as the configuration says.
    ///
    /// # Errors
    /// No region; no credentials.
    pub async fn connect(config: &Config) -> Result<Self, Problem> {
        let session = session().await?;
        let each = config.by_source().into_iter().map(|source| Scaler::new(config, source, &session));
        let mut each: Vec<Scaler> = each.collect();
        join_all(each.iter_mut().map(Scaler::recall)).await;
        let secret = config.hints.as_ref().map(|hints| HintSecret::new(hints.secret.clone(), &session));
        let ears = || each.iter().flat_map(Scaler::ears).collect();
        let desk = secret.map(|secret| Arc::new(Desk::new(secret, ears())));
        Ok(Self { each, desk })
    }

    /// One tick of all; what failed.
    pub async fn tick(&mut self, dry_run: bool) -> Vec<Problem> {
        join_all(self.each.iter_mut().map(|scaler| scaler.tick(dry_run)))
            .await
            .into_iter()
            .flat_map(|t| t.problems)
            .collect()
    }

    /// No tick comes for a while: others may lower, and know what was learned.
    pub async fn rest(&mut self) {
        join_all(self.each.iter_mut().map(Scaler::rest)).await;
    }

    /// One tick of all that leaves the metrics, and with a lease also lowering, to the ticks of the schedule, which may
    /// run elsewhere; what failed.
    pub async fn tick_unpublished(&mut self) -> Vec<Problem> {
        let each = self.each.iter_mut().map(|scaler| scaler.tick_with(false, false, true));
        join_all(each).await.into_iter().flat_map(|ticked| ticked.problems).collect()
    }
}

/// The session of this process.
///
/// # Errors
/// No region; no credentials.
pub async fn session() -> Result<Session, Problem> {
    Session::load(None, Patience::default()).await.map_err(|e| Problem::new(78, e.to_string()))
}

/// A queue as it is asked for in each tick.
#[derive(Debug)]
struct Queue {
    config: QueueConfig,
    heard: Arc<Heard>,
    /// What was learned of it, where that outlives this process.
    store: Option<Store<DynamoDbLedger>>,
}

/// How long until the next tick, and what failed in this one.
#[derive(Debug)]
pub struct Ticked {
    /// How long the CI asks us to wait, at most.
    pub poll_after: Option<Duration>,
    /// Empty when all went well.
    pub problems: Vec<Problem>,
}

/// Everything that ticks of one CI's queues need, kept from one tick to the next: connections, token, time of the last
/// publication, where AWS does not deliver.
#[derive(Debug)]
pub struct Scaler {
    queues: Vec<Queue>,
    mode: ScalingMode,
    publish: bool,
    publish_every: Duration,
    jobs: BuildkiteJobCounts,
    service: Service<AutoScalingGroup>,
    groups: AutoScalingGroups,
    metrics: CloudWatchMetrics,
    keeps: Keeps,
    keeps_are_by_stack: bool,
    published: Option<Instant>,
    /// It has done something else than a dry run.
    may_keep: bool,
    look: Arc<Notify>,
}

impl Scaler {
    fn new(config: &Config, source: Source<'_>, session: &Session) -> Self {
        let Source { endpoint, token, queues } = source;
        let kept = |name: &String| Kept::new(name, AutoScalingGroup::new(session, name));
        let ledger = config.state_table.as_ref().map(|table| DynamoDbLedger::new(session, table));
        let lease = |queue: &QueueConfig| -> Option<Arc<dyn MayLower>> {
            Some(Arc::new(Holder::new(ledger.clone()?, &queue.key(), &name_of_this_process())))
        };
        let served = queues
            .iter()
            .map(|queue| Served::new(queue.groups.iter().map(kept).collect()).under(lease(queue)));
        let service = Service::new(served.collect());
        let jobs = BuildkiteJobCounts::new(endpoint, token, session);
        let jobs = queues.iter().fold(jobs, |jobs, queue| jobs.with(queue));
        Self {
            service,
            queues: queues
                .into_iter()
                .cloned()
                .map(|config| {
                    let store = ledger.clone().map(|ledger| Store::new(ledger, &config.key()));
                    Queue { config, heard: Arc::default(), store }
                })
                .collect(),
            mode: config.mode,
            publish: config.publish,
            publish_every: config.publish_every,
            jobs,
            groups: AutoScalingGroups::new(session),
            metrics: CloudWatchMetrics::new(session, config.publish_every),
            keeps: Keeps::new(session, config.keeps_parameter.clone()),
            keeps_are_by_stack: config.queues.len() > 1,
            published: None,
            may_keep: false,
            look: Arc::default(),
        }
    }

    fn ears(&self) -> impl Iterator<Item = Ear> {
        self.queues.iter().map(|Queue { config, heard, .. }| Ear {
            queue: config.queue.clone(),
            heard: Arc::clone(heard),
            look: Arc::clone(&self.look),
        })
    }

    /// No tick comes for a while: others may lower, and know what was learned.
    pub async fn rest(&mut self) {
        if self.may_keep {
            self.keep(true).await;
        }
        join_all(self.service.queues.iter().map(Served::release)).await;
    }

    /// Waits for a hint that asks for a look.
    pub fn hinted(&self) -> impl Future<Output = ()> + 'static {
        let look = Arc::clone(&self.look);
        async move { look.notified().await }
    }

    /// One tick; its decisions go to stdout, a JSON line for each group that was looked at, and its records, where it was
    /// not quiet.
    pub async fn tick(&mut self, dry_run: bool) -> Ticked {
        let due = pace::publication_due(self.published.map(|at| at.elapsed()), self.publish_every);
        self.tick_with(dry_run, due, false).await
    }

    async fn tick_with(&mut self, dry_run: bool, due: bool, raise_only: bool) -> Ticked {
        let now = Timestamp::now();
        let publish = self.publish && due;
        let order =
            |queue: &Queue| Order { raise_only, ..queue.config.order(now, self.mode, dry_run, publish) };
        let orders: Vec<Order> = self.queues.iter().map(order).collect();
        for (served, _) in self.service.queues.iter_mut().zip(&self.queues).filter(|(_, q)| q.heard.is_news())
        {
            served.wake();
        }
        let counts = async {
            let names: Vec<&str> = self.queues.iter().map(|queue| queue.config.queue.as_str()).collect();
            let mut counts = self.jobs.read_each(&names).await;
            let told = counts.iter_mut().zip(&self.queues);
            told.filter_map(|(counts, queue)| Some((counts.as_mut().ok()?, queue)))
                .for_each(|(counts, queue)| queue.heard.expect(counts, Timestamp::now()));
            counts
        };
        let outcomes = tick(&orders, counts, &mut self.service, &self.groups, &self.metrics, now).await;
        if outcomes.iter().any(|outcome| outcome.published) {
            self.published = Some(Instant::now());
        }
        let several = outcomes.len() > 1;
        outcomes.iter().for_each(|outcome| log(outcome, several));
        let asked = outcomes.iter().filter_map(|outcome| outcome.poll_after).max();
        // A tick in between would see nothing.
        let poll_after = asked.max(self.jobs.paused_for());
        let mut problems = if dry_run { Vec::new() } else { self.say_what_is_kept(&outcomes, now).await };
        problems.splice(0..0, outcomes.into_iter().flat_map(|outcome| outcome.problems));
        if !dry_run {
            self.may_keep = true;
            self.keep(false).await;
        }
        Ticked { poll_after, problems }
    }

    async fn say_what_is_kept(&mut self, outcomes: &[Outcome], now: Timestamp) -> Vec<Problem> {
        let mut problems = Vec::new();
        let keeping = self.service.queues.iter().zip(outcomes).filter(|(_, outcome)| outcome.keeps_idle);
        for (served, _) in keeping {
            let stack = served.stack().filter(|_| self.keeps_are_by_stack);
            if let Err(problem) = self.keeps.say(stack, now).await {
                // The decisions are logged already, and a daemon goes on after a failed tick.
                eprintln!("scaler: idle instances that are kept may retire by themselves: {problem}");
                problems.push(problem);
            }
        }
        problems
    }
}

impl QueueConfig {
    fn order(&self, now: Timestamp, mode: ScalingMode, dry_run: bool, publish: bool) -> Order {
        let Effective { policy, most, period } = self.effective_at(now);
        Order {
            queue: self.queue.clone(),
            policy,
            most,
            period,
            patience: self.patience,
            probe_after: self.probe_after,
            mode,
            share: self.share,
            prices: self.prices.clone(),
            dry_run,
            publish,
            raise_only: false,
        }
    }

    /// What the queue is called in the state table: a queue may have groups in several stacks, each with a scaler of its
    /// own.
    fn key(&self) -> String {
        format!("{} {}", self.queue, self.groups.first().map_or("", String::as_str))
    }
}

/// Of several queues, one at rest says nothing: many of them would fill the log.
fn log(outcome: &Outcome, several: bool) {
    // First: whoever follows the decisions takes the last line for the newest.
    outcome.record.iter().for_each(print);
    if !several || outcome.looked || outcome.published || !outcome.problems.is_empty() {
        outcome.decisions.iter().for_each(print);
    }
}

#[expect(clippy::print_stdout, reason = "the decision log is the program's machine-readable output")]
fn print(line: &impl serde::Serialize) {
    match serde_json::to_string(line) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("scaler: decision log: {error}"),
    }
}
